"""The interface of trackers: live logs of a run in a tool of the user's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar


class Tracker(ABC):
    """The log of one run.

    Args:
        folder: of the tracker's own files, next to the run folders; it may not exist yet.
        run_id: name of the run.
        options: of the run, by dotted key.
        images: training images seen before; more than 0 if the run resumes. Later values are logged
            again, because a run resumes from its last checkpoint.

    Attributes:
        library: that it needs, by the name that Python imports; empty for none. An extra of the
            tracker's name installs it.

    """

    # Asked for before the training, so that a missing package costs no run.
    library: ClassVar[str] = ""

    @abstractmethod
    def __init__(self, folder: Path, run_id: str, options: Mapping[str, object], images: int):
        raise NotImplementedError

    @abstractmethod
    def values(self, values: Mapping[str, float], images: int) -> None:
        """Log values by name, such as ``loss``, after so many training images."""

    @abstractmethod
    def picture(self, name: str, path: Path, images: int) -> None:
        """Log a picture, a PNG file."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """Write what is left; ``failed`` is True if the run failed or was stopped."""

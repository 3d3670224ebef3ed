"""Live logs of runs: ``--log tensorboard``. One file of this folder is one tracker.

``contract.py`` says what a tracker is. A tracker of a user's own is any module that Python can
import, such as ``my_project.tracker``. They only read: a run has the same numbers with any of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bench.config import ConfigError, RunConfig
from bench.record import Measurement, RunFolder, flatten, one_line

if TYPE_CHECKING:
    from bench.training.trackers.contract import Tracker

PACKAGE = "bench.training.trackers"


def refuse_unknown(names: Sequence[str]) -> None:
    """Refuse trackers that do not exist or whose library is missing.

    Raises:
        ConfigError: naming the extra that installs it.

    """
    for name in names:
        tracker = _load(name)
        if tracker.library and find_spec(tracker.library) is None:
            from couplings.extras import install

            raise ConfigError(f"--log {name}: {tracker.library} is not installed: {install(name)}")


class Log:
    """The trackers of one run; empty for the other ranks, and where none was asked for.

    A tracker that fails is left out with one line, and the training continues.

    Args:
        names: of the trackers.
        config: of the run.
        folder: of the run.

    """

    def __init__(self, names: Sequence[str], config: RunConfig, folder: RunFolder):
        self._names = names
        self._config = config
        self._folder = folder
        self._open: dict[str, Tracker] = {}

    @property
    def is_open(self) -> bool:
        """True if a tracker receives values."""
        return bool(self._open)

    def begin(self, images: int) -> None:
        """Open the trackers of a training that has seen so many images: more than 0 resumes."""
        if self._open:
            return
        for name in self._names:
            self._guarded(name, self._add, name, images)

    def values(self, values: Mapping[str, float], images: int) -> None:
        """Log values after so many training images."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.values, values, images)

    def measured(self, rows: Sequence[Measurement], images: int) -> None:
        """Log measurements of samples, one curve for each metric and NFE, and the pictures."""
        found = {}
        for row in rows:
            if row.nfe is not None and row.sigma is None and not row.metric.startswith("grid_"):
                place = f"{row.split}/" if row.split else ""
                found[f"{row.metric}/{place}nfe{row.nfe}"] = row.value
        self.values(found, images)
        for path in sorted((self._folder.path / "samples").glob("*.png")):
            for name, tracker in list(self._open.items()):
                self._guarded(name, tracker.picture, path.stem, path, images)

    def close(self, failed: bool) -> None:
        """Close the trackers; ``begin`` opens them again."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.close, failed)
        self._open.clear()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def _add(self, name: str, images: int) -> None:
        # Next to the run folders, so that one view shows all runs of a comparison.
        place = self._folder.path.parent / name.rpartition(".")[2]
        options = flatten(self._config.identity)
        self._open[name] = _load(name)(place, self._folder.run_id, options, images)

    def _guarded(self, name: str, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        # A lost server or a full disk: days of training must not end for a log.
        except Exception as error:  # noqa: BLE001 - see above
            self._open.pop(name, None)
            print(f"warning: --log {name} stops: {one_line(error)}", file=sys.stderr, flush=True)


def _load(name: str) -> type[Tracker]:
    from bench import plugins
    from bench.training.trackers.contract import Tracker

    try:
        module = plugins.load("tracker", name, PACKAGE)
        return plugins.class_in("tracker", module, Tracker)
    except plugins.PluginError as error:
        raise ConfigError(f"--log: {error}") from error.__cause__

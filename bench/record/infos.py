"""Descriptions of metrics (sentence, better side, place), kept in a run's ``metrics.json``.

Reports read this file instead of keeping lists of metrics, so a user's own metric has its sentence
and its verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Literal

from bench.record.files import write_json

FILE = "metrics.json"
# Names of a distance without one of so many blocks of latents: block_fd_1_classifier and so on
BLOCK = "block_fd_"
BLOCKS = 4
_FLOOR = "_floor"
_FLOOR_SD = "_floor_sd"
# Earlier versions did not record which metrics are distances, or which of them the terminal shows.
_DISTANCES_THEN = ("w2", "fid")
_NOT_IN_TERMINAL_THEN = (
    "path_excess_fm",
    "path_excess_sigma",
    "turning_angle_fm",
    "turning_angle_sigma",
    "transport_cost_independent",
    "coupling_wait_share",
    "evaluate_seconds",
    "train_seconds",
)


@dataclass(frozen=True)
class Info:
    """Description of a metric.

    Attributes:
        name: as in the column ``metric``, such as ``fd_classifier``.
        about: one sentence for the reader of a report, without the better side.
        better: the better side; None if neither is.
        per: the thing that has a value: a number of evaluations, a noise level, or the run.
        kind: the part of the report that shows it.
        ratio: True if its ratio to that of random pairing means something.
        figure: True if the report draws it.
        family: name without the features, ``kid`` of ``kid_classifier``, or "" for a metric that
            stands alone.
        share: True if a value is a share, which reports show in percent.
        distance: True for a distance between samples and data, the lower the better, by which the
            summary of a report judges couplings.
        terminal: False for a value per run that the short table in the terminal omits.
        place: where it stands in a report; metrics with lower numbers come first.
        floor: True if it is also measured of as many real training images as there are samples,
            against the test split: the best value that a perfect model can expect.
        title: name in words for axes and tables, such as ``Path curvature``; by default its name.

    """

    name: str
    about: str
    better: Literal["lower", "higher"] | None = None
    per: Literal["nfe", "sigma", "run"] = "nfe"
    # Parts of the report; a metric of the user's own is a quality unless it says otherwise.
    # Floors and noise have no part of their own: reports show them with the metric.
    kind: Literal["quality", "path", "cost", "signal", "guidance", "start", "floor", "noise"] = (
        "quality"
    )
    ratio: bool = True
    figure: bool = True
    family: str = ""
    share: bool = False
    distance: bool = False
    terminal: bool = True
    place: int = 1000
    floor: bool = False
    title: str = ""

    @property
    def words(self) -> str:
        """The name in words."""
        return self.title or self.name

    @property
    def full_title(self) -> str:
        """``Path curvature (curvature_fm)``: in words, and as in the column ``metric``."""
        return f"{self.title} ({self.name})" if self.title not in ("", self.name) else self.name

    @property
    def floor_name(self) -> str:
        """The metric that holds its floor: ``fd_floor_classifier`` of ``fd_classifier``."""
        # The features come last, as in all names.
        family = self.family or self.name
        return f"{family}{_FLOOR}{self.name.removeprefix(family)}"

    @property
    def floor_sd_name(self) -> str:
        """The metric that holds the standard deviation of a draw's floor."""
        family = self.family or self.name
        return f"{family}{_FLOOR_SD}{self.name.removeprefix(family)}"

    def floors(self) -> tuple[Info, ...]:
        """Descriptions of its floor and the standard deviation; none if it declares no floor."""
        if not self.floor:
            return ()
        told = replace(self, better=None, per="run", kind="floor", ratio=False, figure=False)
        told = replace(told, distance=False, terminal=False, floor=False)
        family = self.family or self.name
        mean = replace(
            told,
            name=self.floor_name,
            family=f"{family}{_FLOOR}",
            about=f"{self.name} of as many real training images, mean over draws: the best that a"
            " perfect model can expect.",
            title=self.title and f"{self.title} of real images",
        )
        spread = replace(
            told,
            name=self.floor_sd_name,
            family=f"{family}{_FLOOR_SD}",
            about=f"Standard deviation of {self.name} of as many real training images, from draw to"
            " draw.",
            title=self.title and f"{self.title} of real images, standard deviation",
        )
        return mean, spread


class Described:
    """Base of all metrics: a class that says what its values mean.

    Attributes:
        infos: a description of each metric that it measures.

    """

    infos: ClassVar[tuple[Info, ...]]


def write_infos(folder: Path, infos: Iterable[Info]) -> None:
    """Write ``metrics.json`` of a run folder; the order is that of the report."""
    # With a title in any case: reports look up those of earlier versions, which wrote none.
    entries = [asdict(info) | {"title": info.words} for info in infos]
    write_json(folder / FILE, {"metrics": entries})


def read_infos(folder: Path) -> dict[str, Info]:
    """The metrics of a run folder by name; empty for a run of an earlier version, without the file.

    Raises:
        ValueError: the file is damaged.

    """
    # Reports fall back on the descriptions of the shipped metrics then.
    path = folder / FILE
    if not path.exists():
        return {}
    infos = {}
    try:
        for entry in json.loads(path.read_text(encoding="utf-8"))["metrics"]:
            # A later version may write more: what is not known here is left out.
            known = {f.name: entry[f.name] for f in fields(Info) if f.name in entry}
            info = Info(**(_unrecorded(entry["name"]) | known))
            _check_types(info)
            infos[info.name] = info
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ValueError(
            f"{path} is damaged: delete it, and reports describe the metrics as this version does"
        ) from None
    return infos


def _unrecorded(name: str) -> dict[str, bool]:
    """The fields that earlier versions did not write, by the name of a metric of theirs."""
    # The extrapolated distance is so noisy that it may fall below zero, so it judges nothing.
    is_frechet = name.startswith("fd_") and not name.startswith("fd_infinity_")
    return {
        "distance": is_frechet or name in _DISTANCES_THEN,
        "terminal": name not in _NOT_IN_TERMINAL_THEN,
    }


def _check_types(info: Info) -> None:
    """Refuse values of another type, which would end a report in the middle of a sort."""
    for field in fields(Info):
        value = getattr(info, field.name)
        default = "" if field.default is MISSING else field.default
        if field.name == "better":
            valid = value in (None, "lower", "higher")
        elif isinstance(default, bool):
            valid = isinstance(value, bool)
        elif isinstance(default, int | float):
            valid = isinstance(value, int | float)
        else:
            valid = isinstance(value, str)
        if not valid:
            raise ValueError(f"{field.name}: {value!r}")

"""Descriptions of the metrics in a report: order, sentence, better side, and what values mean.

They come from the ``metrics.json`` of the runs, so a metric of the user's own has its sentence and
its verdict. Runs of earlier versions lack this file; the metrics of this repository describe their
rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from bench.record.infos import Info
from reports.tables.statistics import Cell

TRUNCATION = ("truncation_error", None)
PIXELS = "fd_pixels"


@dataclass(frozen=True)
class Metrics:
    """The metrics of a report, in its order.

    Attributes:
        infos: name to description.

    """

    infos: dict[str, Info] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Info:
        """The description; one without a sentence for a metric that nobody described."""
        return self.infos.get(metric) or Info(metric, "")

    def rank(self, metric: str) -> tuple[int, str]:
        """Sort key; metrics that nobody described come last, by name."""
        return (self._places.get(metric, len(self.infos)), metric)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.infos)}

    def ordered(self, metrics: Iterable[str]) -> list[str]:
        """Metrics in the order of the report."""
        return sorted(set(metrics), key=self.rank)

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the metrics of some kinds, in order."""
        return [info.name for info in self.infos.values() if info.kind in kinds]

    def of_family(self, family: str) -> list[str]:
        """Names of the metrics of one family, in order."""
        return [info.name for info in self.infos.values() if info.family == family]

    def about(self, metric: str) -> str:
        """The sentence of a metric, with the better side; empty if nobody described it."""
        info = self[metric]
        if info.better is None:
            return info.about
        return f"{info.about} {info.better.capitalize()} is better."

    def distances(self, metrics: Iterable[str]) -> list[str]:
        """The distances between samples and data among some metrics, that of the summary first."""
        return [metric for metric in self.ordered(metrics) if self[metric].distance]

    def judged(self, measured: Collection[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """The metrics, with their splits, that the summary speaks of, of those measured.

        First the distances to the test split. A distance in pixels says little about how images
        look, so it counts only if there is no other. Then the truncation error. Lower is better in
        all of them.
        """
        # Of the test split, because a network that copies its training images is best on train.
        on_test = self.distances(metric for metric, split in measured if split == "test")
        # An exact distance, of points in the plane, comes before all others by its place.
        better = [metric for metric in on_test if metric != PIXELS]
        found = [(metric, "test") for metric in better or on_test]
        if TRUNCATION in measured:
            found.append(TRUNCATION)
        return found


def verdict(info: Info, cell: Cell) -> str:
    """``better`` or ``worse`` than random pairing; ``unclear`` without a clear difference, and for
    a metric that has no better side.
    """
    if info.better is None or cell.side == "unclear":
        return "unclear"
    return "better" if cell.side == info.better else "worse"


def claim(info: Info, cell: Cell) -> str:
    """A verdict in words: ``lower (better)``, or ``no clear difference``."""
    if cell.side == "unclear":
        return "no clear difference"
    if info.better is None:
        return cell.side
    return f"{cell.side} ({verdict(info, cell)})"


def collect(described: Iterable[Iterable[Info]], measured: Iterable[str]) -> Metrics:
    """The metrics of a report.

    Args:
        described: the descriptions of each run.
        measured: names of all metrics in the results; for those that no run described, the
            descriptions of this repository are used.

    """
    infos: dict[str, Info] = {}
    for own in described:
        infos |= {info.name: info for info in own}
    # A folder may hold runs of several versions.
    untitled = {name for name, info in infos.items() if not info.title}
    missing = set(measured) - infos.keys()
    for info in _shipped(missing | untitled) if missing or untitled else ():
        # What a run recorded comes first: it describes the metric as it was when it was measured.
        recorded = infos.get(info.name, info)
        infos[info.name] = replace(recorded, title=info.title)
    return Metrics({info.name: info for info in sorted(infos.values(), key=_place)})


def _place(info: Info) -> tuple[int, str]:
    # By name as well, or the order of the run folders would decide between equal places.
    return (info.place, info.name)


def _shipped(metrics: Iterable[str]) -> list[Info]:
    """Descriptions of metrics of this repository; others are left out."""
    # Only for runs of earlier versions, because it imports torch.
    from bench.metrics import infos

    return infos(metrics)

"""Floors: what as many real training images have in place of the samples of a run.

A distance near its floor says nothing about a model, and a ratio of two distances compares the
floor with itself in part. What is above the floor is the excess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record.infos import Info
from reports import text
from reports.tables.metrics import Metrics
from reports.tables.statistics import Cell

if TYPE_CHECKING:
    import pandas as pd

REAL = "real images"
NEAR = 3  # floors, or standard deviations above it, within which a value is near the floor

Floors = Mapping[tuple[str, str | None, int], "Floor"]
"""By the metric that holds the floor, split and number of images."""


@dataclass(frozen=True)
class Floor:
    """The floor of one metric at one number of images.

    Attributes:
        value: mean over draws of real images.
        sd: standard deviation of a draw; None if it is not known.

    """

    value: float
    sd: float | None = None

    @property
    def words(self) -> str:
        """``7.20 ± 1.10``."""
        spread = "" if self.sd is None else f" ± {text.short(self.sd)}"
        return f"{text.number(self.value)}{spread}"

    @property
    def reach(self) -> float:
        """The largest value that is near the floor.

        An unbiased distance has a floor of about 0, of which three times are nothing: there the
        deviation of a draw counts.
        """
        return max(NEAR * self.value, self.value + NEAR * (self.sd or 0.0))

    def is_near(self, value: float) -> bool:
        """True for a value at which ratios mean little."""
        return value <= self.reach

    def excess(self, cell: Cell) -> float | None:
        """Ratio to random pairing of what is above the floor; None where one of them is not."""
        own, reference = cell.shared_means
        # Not "own < floor": a value that is nan has no excess either.
        if not (own >= self.value and reference > self.value):
            return None
        ratio = (own - self.value) / (reference - self.value)
        return ratio if math.isfinite(ratio) else None


def is_floor_of_samples(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True for rows that hold a floor: shown with their metric, not on their own."""
    return rows["metric"].isin(metrics.of_kind("floor"))


def floors(rows: pd.DataFrame, infos: Iterable[Info]) -> Floors:
    """The floors that some rows hold for the metrics ``infos``; empty for runs of earlier versions.

    Real images do not depend on the run, so each is the mean over equal values.
    """
    # By the names: runs of earlier versions do not describe which of their metrics are floors.
    spread_of = {info.floor_name: info.floor_sd_name for info in infos}
    held = rows[rows["metric"].isin([*spread_of, *spread_of.values()]) & rows["n"].notna()]
    means = _means(held)
    found = {}
    for (metric, split, n), value in means.items():
        if metric in spread_of and math.isfinite(value):
            found[metric, split, n] = Floor(value, means.get((spread_of[metric], split, n)))
    return found


def _means(held: pd.DataFrame) -> dict[tuple[str, str | None, int], float]:
    # None for an empty cell, because nan is not equal to itself and would find no panel.
    keys = held["split"].astype(object).where(held["split"].notna(), None)
    by = [held["metric"].astype(object), keys, held["n"].astype(int)]
    grouped = held["value"].groupby(by, dropna=False).mean()
    found = {}
    for (metric, split, n), value in grouped.items():
        found[str(metric), split if isinstance(split, str) else None, int(n)] = float(value)
    return found


def floor_of(info: Info, split: str | None, rows: pd.DataFrame, known: Floors) -> Floor | None:
    """The floor of a metric's rows, all of one split; None if none was measured at their number of
    images.
    """
    images = rows["n"].dropna().unique()
    # The floor falls with the number of images, so that of another number says nothing.
    if len(images) != 1:
        return None
    # A metric may compare with both splits at once, so that its floor has no split.
    name = info.floor_name
    n = int(images[0])
    return known.get((name, split, n)) or known.get((name, None, n))


def change(cell: Cell, floor: Floor | None) -> str:
    """The change against random pairing, where there is a floor also that of the excess over it:
    ``−38 % of the distance, −55 % of the excess over real images``.
    """
    if floor is None or cell.ratio is None:
        return cell.change
    parts = [f"{cell.change} of the distance"]
    excess = floor.excess(cell)
    if excess is not None:
        parts.append(f"{text.change(excess)} of the excess over real images")
    # Either side makes the ratio one of two floors.
    if any(map(floor.is_near, cell.shared_means)):
        parts.append("near the floor")
    return ", ".join(parts)

"""Quality of the discriminators: how well they distinguish real from generated images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record.infos import Info
from reports.sections._weights import name_of
from reports.tables.arms import baseline_first
from reports.tables.metrics import Metrics
from reports.tables.statistics import Cell, values_by

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Discriminators:
    """All discriminators of a comparison.

    Attributes:
        infos: name to metric, in order.
        rows: coupling, noising, split and a Cell for each metric, over all noise levels.
        split: that the profiles are of, ``test`` if it was measured.
        profiles: metric to line to noise level to Cell.

    """

    infos: dict[str, Info]
    rows: list[tuple[str, str, str, list[Cell | None]]]
    split: str
    profiles: dict[str, dict[str, dict[float, Cell]]]


def discriminators(rows: pd.DataFrame, metrics: Metrics) -> Discriminators | None:
    """The discriminators; None if their quality was not measured.

    Args:
        rows: of the discriminators themselves, with the column ``noising``.
        metrics: descriptions of all metrics.

    """
    if rows.empty:
        return None
    names = metrics.ordered(rows["metric"])
    bins = rows[rows["sigma"].notna()]
    # The train split chose the checkpoint, so the test split is the honest one.
    split = "test" if bins["split"].eq("test").any() else "train"
    profiles = {}
    for name in names:
        part = bins[bins["metric"].eq(name) & bins["split"].eq(split)]
        if len(part):
            profiles[name] = _over_sigma(part)
    infos = {name: metrics[name] for name in names}
    return Discriminators(infos, _rows(rows[rows["sigma"].isna()], names), split, profiles)


def _rows(rows: pd.DataFrame, names: list[str]) -> list[tuple[str, str, str, list[Cell | None]]]:
    """Coupling, noising, split, and a Cell for each metric."""
    cells: dict[tuple[str, str, str], dict[str, Cell]] = {}
    measured = values_by(rows, "noising", "split", "metric")
    for (noising, split, metric), by_coupling in measured.items():
        for coupling, seeds in by_coupling.items():
            # No baseline: a discriminator is compared with guessing, not with random pairing.
            cells.setdefault((coupling, noising, split), {})[metric] = Cell(seeds, {})
    found = []
    for place in sorted(cells, key=lambda place: (baseline_first(place[0]), *place[1:])):
        found.append((*place, [cells[place].get(name) for name in names]))
    return found


def _over_sigma(rows: pd.DataFrame) -> dict[str, dict[float, Cell]]:
    """Line to noise level to Cell."""
    lines: dict[str, dict[float, Cell]] = {}
    for noising, part in rows.groupby("noising"):
        for (sigma,), by_coupling in sorted(values_by(part, "sigma").items()):
            for coupling, seeds in by_coupling.items():
                points = lines.setdefault(name_of(coupling, noising), {})
                points[sigma] = Cell(seeds, {})
    return dict(sorted(lines.items()))

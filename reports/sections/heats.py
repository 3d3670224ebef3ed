"""Heat maps of the search for the best rho."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import text as words
from reports.tables.metrics import metric_rank
from reports.tables.rho import _PLACE, _SETTING, best_rho, is_grid
from reports.tables.statistics import cells, ordered

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Heat:
    """The first pass of one arm.

    Attributes:
        title: the grid metric and, where several were made, its setting.
        arm: the coupling.
        images: how many were generated at each place.
        means: rho to NFE to the mean over seeds.
        best: NFE to the rho with the lowest mean.
        chosen: NFE to the best rho of each seed's run, by which that run is compared.

    """

    title: str
    arm: str
    images: tuple[int, ...]
    means: dict[float, dict[int, float]]
    best: dict[int, float]
    chosen: dict[int, tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.means) * len(self.best)

    def shade(self, rho: float, nfe: int) -> float:
        """How near a value is to the best of its NFE: 1 for that, 0 from half as much again on."""
        value, least = (
            self.means[rho][nfe],
            (self.means[self.best[nfe]][nfe] if nfe in self.best else math.nan),
        )
        near = (
            1 - math.log(value / least) / math.log(1.5)
            if least > 0 and math.isfinite(value)
            else 0.0
        )
        return max(0.0, near)


def heats(rows: pd.DataFrame) -> list[Heat]:
    """The first passes of a group, a grid metric and an arm each, random first."""
    grid = rows[is_grid(rows) & rows["split"].eq("train")]
    chosen, found = best_rho(rows), []
    for (metric, *setting), part in grid.groupby(["metric", *_SETTING], dropna=False, sort=False):
        varying = [name for name in _SETTING if grid[name].nunique(dropna=False) > 1]
        named = [
            words.setting(name, value)
            for name, value in zip(_SETTING, setting, strict=True)
            if name in varying
        ]
        for arm in ordered(part["coupling"]):
            own = part[part["coupling"].eq(arm)]
            mine = chosen[chosen["metric"].eq(metric)].merge(
                own[_PLACE].drop_duplicates(), on=_PLACE
            )
            found.append(_heat(", ".join([metric, *named]), arm, own, mine))
    return sorted(found, key=lambda heat: metric_rank(heat.title.split(",")[0]))


def _heat(title: str, arm: str, rows: pd.DataFrame, chosen: pd.DataFrame) -> Heat:
    rows = rows.sort_values("n", kind="stable").drop_duplicates([*_PLACE, "rho"], keep="last")
    means = {
        rho: {nfe: row[arm].mean for nfe, row in cells(part).items()}
        for rho, part in rows.groupby("rho", sort=True)
    }
    best = {}
    for nfe in sorted({nfe for row in means.values() for nfe in row}):
        finite = {
            rho: row[nfe] for rho, row in means.items() if math.isfinite(row.get(nfe, math.nan))
        }
        if finite:
            best[nfe] = min(finite, key=finite.get)
    by_nfe = {int(nfe): tuple(sorted(part["rho"])) for nfe, part in chosen.groupby("nfe")}
    return Heat(
        title, arm, tuple(sorted({int(n) for n in rows["n"].dropna()})), means, best, by_nfe
    )

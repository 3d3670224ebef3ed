"""Heat maps of the search for the best rho."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from reports.figures.style import Look, looks
from reports.tables.groups import Group
from reports.tables.rho import PLACE, SETTING, is_grid
from reports.tables.statistics import cells, ordered
from reports.text import join, listed, setting

if TYPE_CHECKING:
    import pandas as pd

title = "The first pass over rho"
place = 110
_COLD = math.log(1.5)  # values that are half as much again as the best have no colour


@dataclass(frozen=True)
class Heat:
    """The first pass of one coupling.

    Attributes:
        metric: the grid metric.
        setting: its sampler, start and guidance in words, if there are several.
        coupling: its name.
        images: numbers of images that were generated at each place.
        means: rho to NFE to the mean over seeds.
        best: NFE to the rho with the lowest mean.
        chosen: NFE to the best rho of each run, at which that run is compared.

    """

    metric: str
    setting: str
    coupling: str
    images: tuple[int, ...]
    means: dict[float, dict[int, float]]
    best: dict[int, float]
    chosen: dict[int, tuple[float, ...]]

    @property
    def title(self) -> str:
        """Metric, setting and number of images."""
        counted = f"{join([str(n) for n in self.images])} images" if self.images else ""
        return listed([self.metric, self.setting, counted.replace(" and ", " or ")])

    def shade(self, rho: float, nfe: int) -> float:
        """Strength of the colour of a place: 1 for the best of its NFE, 0 from half as much again
        on.
        """
        value = self.means[rho][nfe]
        least = self.means[self.best[nfe]][nfe] if nfe in self.best else math.nan
        if not least > 0 or not math.isfinite(value):
            return 0.0
        # By the ratio, because distances at few evaluations are many times those at many.
        return max(0.0, 1 - math.log(value / least) / _COLD)


@dataclass(frozen=True)
class Heats:
    """All first passes of a comparison.

    Attributes:
        tables: those of one metric and setting together.
        look: of the couplings.

    """

    tables: list[list[Heat]]
    look: dict[str, Look]


def build(group: Group) -> Heats | None:
    """The first passes; None if none was made."""
    found = heats(group)
    if not found:
        return None
    alike = groupby(found, key=lambda heat: (heat.metric, heat.setting))
    return Heats([list(part) for _, part in alike], looks(group.couplings))


def heats(group: Group) -> list[Heat]:
    """The first passes by metric, setting and coupling, random first."""
    rows = group.plain.rows
    # The train split chooses; the test split of a first pass is never looked at.
    grid = rows[is_grid(rows) & rows["split"].eq("train")]
    varying = [name for name in SETTING if grid[name].nunique(dropna=False) > 1]
    found = []
    for key, part in grid.groupby(["metric", *SETTING], dropna=False, sort=False):
        metric = str(key[0])
        values = dict(zip(SETTING, key[1:], strict=True))
        words = ", ".join(setting(name, values[name]) for name in varying)
        best = group.best[group.best["metric"].eq(metric)]
        for coupling in ordered(part["coupling"]):
            own = part[part["coupling"].eq(coupling)]
            found.append(_heat(metric, words, coupling, own, best))
    return sorted(found, key=lambda heat: group.metrics.rank(heat.metric))


def _heat(metric: str, words: str, coupling: str, rows: pd.DataFrame, best: pd.DataFrame) -> Heat:
    # If the pass was made with several numbers of images, that with most of them counts.
    most = rows.sort_values("n", kind="stable").drop_duplicates([*PLACE, "rho"], keep="last")
    means = {}
    for rho, part in most.groupby("rho", sort=True):
        means[rho] = {nfe: row[coupling].mean for nfe, row in cells(part).items()}
    chosen = best.merge(rows[PLACE].drop_duplicates(), on=PLACE)
    by_nfe = {int(nfe): tuple(sorted(part["rho"])) for nfe, part in chosen.groupby("nfe")}
    images = tuple(sorted(set(map(int, most["n"].dropna()))))
    return Heat(metric, words, coupling, images, means, _best(means), by_nfe)


def _best(means: dict[float, dict[int, float]]) -> dict[int, float]:
    """NFE to the rho with the lowest finite mean, rising."""
    nfes: set[int] = set()
    for row in means.values():
        nfes.update(row)
    best = {}
    for nfe in sorted(nfes):
        column = {rho: row.get(nfe, math.nan) for rho, row in means.items()}
        finite = {rho: mean for rho, mean in column.items() if math.isfinite(mean)}
        if finite:
            best[nfe] = min(finite, key=finite.get)
    return best

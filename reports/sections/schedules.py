"""Heat maps of the search for the best schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from bench.record.best_schedule import GRID, SEEDS
from reports.figures.style import Look, looks
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.schedules import PLACE, SETTING, by_parameter, first_pass, noun
from reports.tables.statistics import cells
from reports.text import join, listed, schedule_label, setting

if TYPE_CHECKING:
    import pandas as pd

title = "Search for the best schedule"
place = 110
folded = True
_COLD = math.log(1.5)  # values that are half as much again as the best have no colour


@dataclass(frozen=True)
class Heat:
    """The first pass of one coupling.

    Attributes:
        metric: the grid metric.
        setting: its sampler, start and guidance in words, if there are several.
        coupling: its name.
        images: numbers of images that were generated at each place.
        means: schedule to NFE to the mean over seeds.
        best: NFE to the schedule with the lowest mean.
        chosen: NFE to the best schedule of each run, at which that run is compared.
        seeds: numbers of seeds that chose together, 1 for runs that chose by themselves; none in
            runs of earlier versions.
        words: the metric in words.

    """

    metric: str
    setting: str
    coupling: str
    images: tuple[int, ...]
    means: dict[str, dict[int, float]]
    best: dict[int, str]
    chosen: dict[int, tuple[str, ...]]
    seeds: tuple[int, ...] = ()
    words: str = ""

    @property
    def title(self) -> str:
        """Metric, setting and number of images."""
        counted = f"{join([str(n) for n in self.images])} images" if self.images else ""
        return listed([self.words, self.setting, counted.replace(" and ", " or ")])

    @property
    def chosen_by(self) -> str:
        """The seeds that chose together, in words; empty if each run chose by itself."""
        together = [str(count) for count in self.seeds if count > 1]
        return f", chosen by {' or '.join(together)} seeds together" if together else ""

    @property
    def noun(self) -> str:
        """The name of the parameter that its schedules differ in, such as ``rho``."""
        return noun(self.means)

    def short(self, schedule: str) -> str:
        """``7`` in a table of rho; with its noun in a table of several families."""
        return schedule_label(schedule).removeprefix(f"{self.noun} ")

    def shade(self, schedule: str, nfe: int) -> float:
        """Strength of the colour of a place: 1 for the best of its NFE, 0 from half as much again
        on.
        """
        value = self.means[schedule][nfe]
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
        noun: what the schedules differ in, such as ``rho``.

    """

    tables: list[list[Heat]]
    look: dict[str, Look]
    noun: str


def build(group: Group) -> Heats | None:
    """The first passes; None if none was made."""
    found = heats(group)
    if not found:
        return None
    schedules: set[str] = set()
    for heat in found:
        schedules.update(heat.means)
    word = noun(schedules)
    alike = groupby(found, key=lambda heat: (heat.metric, heat.setting))
    return Heats([list(part) for _, part in alike], looks(group.couplings), word)


def heats(group: Group) -> list[Heat]:
    """The first passes by metric, setting and coupling, random first."""
    rows = group.plain.rows
    grid = first_pass(rows)
    seeds = rows[rows["metric"].str.startswith(SEEDS)]
    varying = [name for name in SETTING if grid[name].nunique(dropna=False) > 1]
    found = []
    for key, part in grid.groupby(["metric", *SETTING], dropna=False, sort=False):
        metric = str(key[0])
        values = dict(zip(SETTING, key[1:], strict=True))
        words = ", ".join(setting(name, values[name]) for name in varying)
        best = group.best[group.best["metric"].eq(metric)]
        for coupling in ordered(part["coupling"]):
            own = part[part["coupling"].eq(coupling)]
            count = seeds[seeds["metric"].eq(metric.replace(GRID, SEEDS))]
            # Runs that were evaluated at different times may have chosen with different seeds.
            together = count["value"][count["run_id"].isin(own["run_id"])].unique()
            heat = _heat(metric, words, coupling, own, best)
            seen = tuple(sorted(map(int, together)))
            found.append(replace(heat, seeds=seen, words=group.metrics[metric].full_title))
    return sorted(found, key=lambda heat: group.metrics.rank(heat.metric))


def _heat(metric: str, words: str, coupling: str, rows: pd.DataFrame, best: pd.DataFrame) -> Heat:
    # If the pass was made with several numbers of images, that with most of them counts.
    most = rows.sort_values("n", kind="stable").drop_duplicates([*PLACE, "schedule"], keep="last")
    means = {}
    for schedule in sorted(most["schedule"].unique(), key=by_parameter):
        part = most[most["schedule"].eq(schedule)]
        means[schedule] = {nfe: row[coupling].mean for nfe, row in cells(part).items()}
    chosen = best.merge(rows[PLACE].drop_duplicates(), on=PLACE)
    by_nfe = {}
    for nfe, part in chosen.groupby("nfe"):
        by_nfe[int(nfe)] = tuple(sorted(part["schedule"], key=by_parameter))
    images = tuple(sorted(set(map(int, most["n"].dropna()))))
    return Heat(metric, words, coupling, images, means, _best(means), by_nfe)


def _best(means: dict[str, dict[int, float]]) -> dict[int, str]:
    """NFE to the schedule with the lowest finite mean, rising."""
    nfes: set[int] = set()
    for row in means.values():
        nfes.update(row)
    best = {}
    for nfe in sorted(nfes):
        column = {name: row.get(nfe, math.nan) for name, row in means.items()}
        finite = {name: mean for name, mean in column.items() if math.isfinite(mean)}
        if finite:
            best[nfe] = min(finite, key=finite.get)
    return best

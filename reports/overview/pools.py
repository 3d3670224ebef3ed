"""Effect of the pool size on transport cost and curvature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reports.figures.charts import Chart, Line, figure_of
from reports.figures.style import Look, level_look, looks
from reports.figures.svg import Figure
from reports.overview.cards import FACT, Card
from reports.tables.arms import baseline_of, is_baseline, ordered, with_arms
from reports.tables.groups import group_keys
from reports.tables.overhead import overhead
from reports.tables.panels import marks
from reports.tables.select import begins_elsewhere, is_guided
from reports.tables.statistics import Cell, by_coupling, cost_cuts, values_by
from reports.text import added, number, percent, setting

if TYPE_CHECKING:
    import pandas as pd

CUT = "transport cost saved"
CURVATURE = "curvature_fm"
_METRICS = ("transport_cost", "transport_cost_independent", CURVATURE)

_TITLES = {CUT: "Transport cost saved", CURVATURE: "Path curvature (curvature_fm)"}
_MOST_CARDS = 8

Lines = dict[str, dict[int, Cell]]


@dataclass(frozen=True)
class Pools:
    """Runs that differ in coupling, seed and pool only.

    Attributes:
        title: the data, and the settings that distinguish these runs from others.
        pools: the sizes.
        measured: quantity to coupling to pool to Cell.
        charts: the same as lines.
        look: of the lines.
        work: coupling to pool to the work that it adds to the training, as a fraction of it.

    """

    title: str
    pools: list[int]
    measured: dict[str, Lines]
    charts: list[Chart]
    look: dict[str, Look]
    work: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def cards(self) -> list[Card]:
        """Gain and cost of the smallest and the largest pool, for each coupling with both."""
        found = []
        for coupling, points in self.measured.get(CUT, {}).items():
            if len(points) > 1 and not is_baseline(coupling):
                for pool in (min(points), max(points)):
                    found.append(self._card(coupling, pool, points[pool]))
        # More than that are no answer any more, and the tables have them.
        return found if len(found) <= _MOST_CARDS else []

    def _card(self, coupling: str, pool: int, saved: Cell) -> Card:
        lines = [f"{coupling}: of the transport cost"]
        curved = self.measured.get(CURVATURE, {})
        if pool in curved.get(coupling, {}):
            # Random pairing does not depend on the pool, so that one pool is enough.
            random = [*curved.get(baseline_of(coupling), {}).values()]
            against = f", random {number(random[0].mean)}" if random else ""
            lines.append(f"curvature {number(curved[coupling][pool].mean)}{against}")
        if pool in self.work.get(coupling, {}):
            lines.append(f"training work {added(self.work[coupling][pool])}")
        return Card(f"pool {pool:,}", f"{percent(saved.mean)} saved", tuple(lines), FACT, coupling)

    @staticmethod
    def words(quantity: str) -> str:
        """A quantity in words, with the name of the metric."""
        return _TITLES.get(quantity, quantity)

    @property
    def figure(self) -> Figure:
        """The charts side by side."""
        about = ""
        if any(chart.levels for chart in self.charts):
            about = (
                "Dashed: random pairing, which was measured at one pool size and does not depend on"
                " it."
            )
        return figure_of(f"Effect of pool size, {self.title}", self.charts, self.look, about)


def pools(table: pd.DataFrame) -> list[Pools]:
    """Transport cost saved and curvature by pool size, for runs with several pools."""
    # Guided sampling and other starts would repeat values of the same training.
    plain = table[~is_guided(table) & ~begins_elsewhere(table)]
    rows = plain[plain["metric"].isin(_METRICS)]
    keys = [key for key in group_keys(rows) if key != "pool"]
    parts = {}
    arms = set(table["coupling"])
    for values, part in rows.groupby(keys, dropna=False, sort=False):
        parts[values] = with_arms(part)
        arms.update(parts[values]["coupling"])
    look = looks(arms)
    works = {}
    for values, part in plain.groupby(keys, dropna=False, sort=False):
        works[values] = _work(with_arms(part))
    found = []
    for values, part in parts.items():
        measured = {CUT: _cuts(part), CURVATURE: _curvature(part)}
        measured = {name: lines for name, lines in measured.items() if _has_several(lines)}
        if measured:
            same = rows[rows["data"].eq(values[0])]
            title = _title(dict(zip(keys, values, strict=True)), same, part)
            charts = [_chart(name, lines) for name, lines in measured.items()]
            sizes = _sizes(measured)
            # Levels after couplings, because the legend has the order of the looks.
            own = look | _levels(charts, look)
            found.append(Pools(title, sizes, measured, charts, own, works.get(values, {})))
    return found


def _work(rows: pd.DataFrame) -> dict[str, dict[int, float]]:
    """Coupling to pool to the work that it adds to the training."""
    found: dict[str, dict[int, float]] = {}
    for pool, part in rows[rows["pool"].notna()].groupby("pool", sort=True):
        for coupling, cell in overhead(part).items():
            found.setdefault(coupling, {})[int(pool)] = cell.mean
    return found


def _title(values: dict[str, object], same: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Data and the settings in which runs of this data set differ."""
    parts = [str(values.pop("data"))]
    for name, value in values.items():
        if same[name].nunique(dropna=False) > 1:
            parts.append(setting(name, value))
    return ", ".join([*parts, *marks(rows)])


def _has_several(lines: Lines) -> bool:
    return any(len(points) > 1 for points in lines.values())


def _sizes(measured: dict[str, Lines]) -> list[int]:
    sizes: set[int] = set()
    for lines in measured.values():
        for points in lines.values():
            sizes.update(points)
    return sorted(sizes)


def _levels(charts: Sequence[Chart], look: dict[str, Look]) -> dict[str, Look]:
    """Levels are dashed and have no markers, because nothing was measured along them."""
    found: dict[str, Look] = {}
    for chart in charts:
        found |= dict.fromkeys(chart.levels, level_look())
    return dict(sorted(found.items()))


def _chart(name: str, lines: Lines) -> Chart:
    """Lines through the measured pools; random pairing of one pool is a level across all of them,
    because pairs drawn at random do not depend on the pool.
    """
    drawn = []
    levels = {}
    for coupling, points in lines.items():
        if is_baseline(coupling) and len(points) == 1:
            ((pool, cell),) = points.items()
            if math.isfinite(cell.mean):
                levels[f"{coupling}, pool {pool}"] = cell.mean
        else:
            drawn.append(Line(coupling, points))
    return Chart(Pools.words(name), "pool size", drawn, levels)


def _cuts(rows: pd.DataFrame) -> Lines:
    # The cut of each run first, then means: pools have different independent costs.
    # groupby leaves out empty keys, here rightly: a network from a file has no pool.
    by_pool = {int(pool): cost_cuts(part) for pool, part in rows.groupby("pool", sort=True)}
    return _lines(by_pool)


def _curvature(rows: pd.DataFrame) -> Lines:
    # A network from a file has no pool.
    measured = rows["metric"].eq(CURVATURE) & rows["pool"].notna()
    by_pool = values_by(rows[measured], "pool")
    return _lines({int(pool): by_coupling(by_pool[(pool,)]) for (pool,) in sorted(by_pool)})


def _lines(by_pool: dict[int, dict[str, Cell]]) -> Lines:
    """Pool to coupling to Cell, as coupling to pool to Cell."""
    lines: Lines = {}
    for pool, cells in by_pool.items():
        for coupling, cell in cells.items():
            lines.setdefault(coupling, {})[pool] = cell
    return {coupling: lines[coupling] for coupling in ordered(lines)}

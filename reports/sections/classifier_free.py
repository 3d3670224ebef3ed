"""Classifier-free guidance: couplings against random pairing at each weight and NFE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.record.infos import Info
from bench.record.specs import cfg_weight
from reports.tables.arms import ordered
from reports.tables.family import decide
from reports.tables.floors import Floor, floor_of, floors
from reports.tables.groups import Group
from reports.tables.schedules import is_search
from reports.tables.select import (
    at_fixed_schedule,
    begins_elsewhere,
    is_adaptive,
    is_classifier_free,
    is_unguided,
    where,
)
from reports.tables.statistics import Cell, by_coupling, values_by
from reports.text import listed, setting

if TYPE_CHECKING:
    import pandas as pd

title = "Classifier-free guidance"
place = 132
folded = True
LEAKAGE = "coupling_label_leakage"
_CLASSES = ("class_agreement", "class_distance")  # families of metrics
_SETTINGS = ["sampler", "n"]


@dataclass(frozen=True)
class Row:
    """One weight at one NFE.

    Attributes:
        weight: 1 is the conditional denoiser, 0 the unconditional one.
        nfe: evaluations of the network per image.
        cells: coupling to Cell, compared with random pairing at the same weight and NFE.

    """

    weight: float
    nfe: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """One metric in one setting.

    Attributes:
        settings: split, and sampler and number of images where several were used.
        info: the metric.
        couplings: the columns.
        rows: by weight, then by NFE.
        floor: the value of real images; None if it is not known.

    """

    settings: str
    info: Info
    couplings: list[str]
    rows: list[Row]
    floor: Floor | None

    @property
    def title(self) -> str:
        """Metric and settings."""
        return listed([self.info.name, self.settings])


@dataclass(frozen=True)
class ClassifierFree:
    """The section of one comparison.

    Attributes:
        leakage: coupling to how far the label explains its noise samples; empty if not measured.
        about: the sentence of that metric.
        tables: of the distance that the summary speaks of, and of the classes.
        others: of other distances.

    """

    leakage: dict[str, Cell]
    about: str
    tables: list[Table]
    others: list[Table]


def build(group: Group) -> ClassifierFree | None:
    """The tables; None if nothing was sampled with classifier-free guidance."""
    if not is_classifier_free(group.rows).any():
        return None
    rows = with_cfg(group)
    guided = rows[is_classifier_free(rows)]
    distances = group.metrics.distances(guided["metric"])
    # Guidance trades diversity for agreement with the label, which no distance alone shows.
    classes = []
    for family in _CLASSES:
        classes += [name for name in group.metrics.of_family(family) if name in set(rows["metric"])]
    first = [*distances[:1], *classes]
    tables = _decided(_tables(rows, [*first, *distances[1:]], group))
    return ClassifierFree(
        leakage=_leakage(group),
        about=group.metrics.about(LEAKAGE),
        tables=[table for table in tables if table.info.name in first],
        others=[table for table in tables if table.info.name not in first],
    )


def with_cfg(group: Group) -> pd.DataFrame:
    """Rows over NFE along the fixed schedule, with their weight in the column ``weight``."""
    rows = group.rows
    # Sampling without guidance is weight 1.
    weighted = is_classifier_free(rows) | is_unguided(rows)
    along = rows["nfe"].notna() & rows["sigma"].isna() & ~is_search(rows)
    # The adaptive sampler takes another NFE in every run, so no two of its rows compare.
    others = begins_elsewhere(rows) | is_adaptive(rows, group.metrics)
    rows = at_fixed_schedule(rows[weighted & along & ~others])
    return rows.assign(weight=rows["guidance"].map(cfg_weight).astype("float64"))


def _tables(rows: pd.DataFrame, metrics: Iterable[str], group: Group) -> list[Table]:
    known = floors(group.rows, [group.metrics[name] for name in metrics])
    found = []
    for name in metrics:
        # Against the training split a network that copies would be best.
        of_metric = rows[rows["metric"].eq(name) & rows["split"].fillna("test").eq("test")]
        guided = of_metric[is_classifier_free(of_metric)]
        varying = [key for key in _SETTINGS if guided[key].nunique(dropna=False) > 1]
        for values, part in guided.groupby(_SETTINGS, dropna=False, sort=True):
            # Numbers of images are kept apart, because a distance falls with them.
            place = dict(zip(_SETTINGS, values, strict=True))
            split = "" if part["split"].isna().all() else "test"
            words = [setting(key, place[key]) for key in varying]
            own = where(of_metric, **place)
            found.append(
                Table(
                    listed([split, *words]),
                    group.metrics[name],
                    ordered(own["coupling"]),
                    _rows(own),
                    floor_of(group.metrics[name], split or None, part, known),
                )
            )
    return found


def _rows(rows: pd.DataFrame) -> list[Row]:
    found = []
    for (weight, nfe), values in sorted(values_by(rows, "weight", "nfe").items()):
        # Within a weight: what guidance does to random pairing too is no effect of a coupling.
        found.append(Row(weight, int(nfe), by_coupling(values)))
    return found


def _decided(tables: list[Table]) -> list[Table]:
    """The tables with their claims adjusted for each other."""
    # Over all tables: a reader who looks through them takes the best of all weights.
    cells: list[Cell] = []
    for table in tables:
        for row in table.rows:
            cells += row.cells.values()
    decided = iter(decide(cells))
    found = []
    for table in tables:
        rows = []
        for row in table.rows:
            # In the order in which they were listed above.
            own = {coupling: next(decided) for coupling in row.cells}
            rows.append(replace(row, cells=own))
        found.append(replace(table, rows=rows))
    return found


def _leakage(group: Group) -> dict[str, Cell]:
    rows = group.rows[group.rows["metric"].eq(LEAKAGE)]
    found: dict[str, Cell] = {}
    for values in values_by(rows).values():
        # No ratio to random: that of random pairing is chance around 0.
        found |= {coupling: Cell(values[coupling], {}) for coupling in ordered(values)}
    return found

"""Starts: sampling from a lower noise level, compared with the full sampler and with a random
jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.record.infos import Info
from reports.figures.charts import Chart, Line, figure_of
from reports.figures.style import DASHES, Look, looks
from reports.figures.svg import Figure
from reports.sections._agreement import agreement
from reports.sections._levels import with_level
from reports.sections._listing import Listing, everything, listing
from reports.tables.arms import BASELINE, ordered
from reports.tables.groups import Group
from reports.tables.metrics import Metrics
from reports.tables.select import PLAIN, at_fixed_schedule, floors, is_unguided
from reports.tables.statistics import Cell, values_by
from reports.text import is_missing, listed, setting

if TYPE_CHECKING:
    import pandas as pd

title = "Starts"
place = 140
folded = True
MOST = 6  # figures; the table of everything has all numbers
FULL = "full sampler"
REAL = "held-out real images"
_THRESHOLD = "_0.2_"  # of the mode mixture that is drawn: one of many
_ABOUT = (
    "Colours stand for starts here, not for couplings. Dashed: the full sampler with as many"
    " evaluations. Dotted: held-out real images."
)


@dataclass(frozen=True)
class Sweep:
    """One coupling, sampler and NFE: a figure of up to four charts over the level."""

    title: str
    charts: list[Chart]


@dataclass(frozen=True)
class Starts:
    """The section of one comparison.

    Attributes:
        figures: of the first sweeps.
        not_drawn: titles of the others.
        unplaced: starts whose level is not known, so that no figure has them.
        agreement: sentences that compare hard maps with random jumps.
        costs: prior error, and the cost and the accuracy of the fits; None if not measured.
        metrics: descriptions of the metrics.
        listing: everything that was measured with these starts.

    """

    figures: list[Figure]
    not_drawn: list[str]
    unplaced: list[str]
    agreement: list[str]
    costs: Listing | None
    metrics: Metrics
    listing: Listing


def build(group: Group) -> Starts | None:
    """The starts; None if all sampling begins at plain noise."""
    rows = with_level(group.rows)
    if rows.empty:
        return None
    curves = rows[rows["nfe"].notna() & is_unguided(rows)]
    drawn = sweeps(curves[curves["level"].notna()], group)
    look = _looks(set(rows["kind"]))
    figures = [figure_of(f"Starts, {one.title}", one.charts, look, _ABOUT) for one in drawn[:MOST]]
    return Starts(
        figures=figures,
        not_drawn=[sweep.title for sweep in drawn[MOST:]],
        unplaced=sorted(set(curves[curves["level"].isna()]["start"].dropna())),
        agreement=agreement(curves, group.metrics),
        costs=_costs(group),
        metrics=group.metrics,
        listing=everything(rows, ("start", "sampler", "schedule", "nfe"), group.metrics),
    )


def _looks(kinds: set[str]) -> dict[str, Look]:
    """Starts in colours of their own, and the levels as dashed and dotted lines."""
    found = looks(kinds)
    level = replace(found[BASELINE], marker="")
    found[FULL] = replace(level, line=DASHES[1])
    found[REAL] = replace(level, line=DASHES[2])
    return found


def _costs(group: Group) -> Listing | None:
    """The table of metrics about the starts themselves."""
    rows = group.rows
    about = rows[rows["metric"].isin(group.metrics.of_kind("start")) & rows["start"].notna()]
    about = about[about["nfe"].isna()]
    if about.empty:
        return None
    # One value per run, whatever else its row records
    about = about.drop_duplicates(["run_id", "start", "metric"])
    return listing(about, ("start",), group.metrics)


def sweeps(curves: pd.DataFrame, group: Group) -> list[Sweep]:
    """The figures' contents, for each coupling, sampler and NFE."""
    rows = group.rows
    # The sampler from plain noise, with as many evaluations, is the level to beat.
    full = rows[rows["start"].eq(PLAIN["start"]).fillna(False) & is_unguided(rows)]
    real = floors(rows, group.metrics)
    several = [name for name in ("sampler", "nfe") if curves[name].nunique() > 1]
    found = []
    for coupling in ordered(curves["coupling"]):
        own = curves[curves["coupling"].eq(coupling)]
        plain = full[full["coupling"].eq(coupling)]
        for (sampler, nfe), part in own.groupby(["sampler", "nfe"], dropna=False, sort=True):
            # One line per start: at the best schedule of each it would jump between schedules.
            part = at_fixed_schedule(part)
            whole = _same_place(plain, sampler, nfe, part["schedule"].iloc[0])
            charts = []
            for metric, split in _charted(part, group.metrics):
                charts.append(_chart(part, whole, real, group.metrics[metric], split))
            values = {"sampler": sampler, "nfe": int(nfe)}
            words = [setting(name, values[name]).replace("nfe", "NFE") for name in several]
            found.append(Sweep(", ".join([coupling, *words]), charts))
    return found


def _same_place(plain: pd.DataFrame, sampler: str, nfe: int, schedule: object) -> pd.DataFrame:
    """Rows of the full sampler with as many evaluations; of Heun's if this one has none."""
    # An adaptive sampler, or a start with levels of its own, may follow no schedule.
    rows = plain[plain["nfe"].eq(nfe)]
    own = rows["schedule"].isna() if is_missing(schedule) else rows["schedule"].eq(schedule)
    rows = rows[own.fillna(False) | rows["schedule"].isna()]
    same = rows[rows["sampler"].eq(sampler)]
    return same if len(same) else rows[rows["sampler"].eq(PLAIN["sampler"])]


def _charted(rows: pd.DataFrame, metrics: Metrics) -> list[tuple[str, str]]:
    """Metric and split of the charts: a distance on both splits, copies, mode mixture."""
    measured = sorted(set(zip(rows["metric"], rows["split"].fillna(""), strict=True)))
    found = []
    for distance in metrics.distances(rows["metric"])[:1]:
        found += [(distance, split) for split in ("train", "test") if (distance, split) in measured]
    copies = metrics.of_family("copy_rate")
    mixtures = [name for name in metrics.of_family("mode_mixture") if _THRESHOLD in name]
    for names in (copies, mixtures):
        found += [column for column in measured if column[0] in names][:1]
    return found


def _chart(
    part: pd.DataFrame, full: pd.DataFrame, real: dict[str, float], info: Info, split: str
) -> Chart:
    metric = info.name
    rows = part[part["metric"].eq(metric) & part["split"].fillna("").eq(split)]
    lines = [Line(str(kind), _over_level(own)) for kind, own in rows.groupby("kind")]
    levels = {}
    whole = full[full["metric"].eq(metric) & full["split"].fillna("").eq(split)]
    for by_coupling in values_by(whole).values():
        (seeds,) = by_coupling.values()
        levels[FULL] = Cell(seeds, {}).mean
    if metric in real:
        levels[REAL] = real[metric]
    # A line at nan or infinity would spoil the limits of the axis.
    levels = {name: value for name, value in levels.items() if math.isfinite(value)}
    compared = {"train": "train", "test": "held-out"}.get(split, "")
    words = listed([info.full_title, compared])
    # Rates of copies may be zero, for which a logarithmic axis has no place.
    log = "xy" if info.distance else "x"
    return Chart(words, "start level sigma(T')", lines, levels, log)


def _over_level(rows: pd.DataFrame) -> dict[float, Cell]:
    """Level to Cell of one coupling."""
    points = {}
    for (level,), by_coupling in sorted(values_by(rows, "level").items()):
        (seeds,) = by_coupling.values()
        points[level] = Cell(seeds, {})
    return points

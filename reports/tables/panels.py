"""Panels: one metric of one comparison in one setting, the content of one figure and one table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.record.infos import Info
from reports.tables.floors import Floor, floor_of, floors, is_floor_of_samples
from reports.tables.metrics import Metrics
from reports.tables.schedules import (
    best_label,
    by_schedule,
    fixed_label,
    fixed_schedules,
    is_search,
    shown_at,
)
from reports.tables.select import PLAIN, is_adaptive, is_per_run
from reports.tables.statistics import Cell, cells
from reports.text import is_missing, listed, setting

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("schedule", "sampler", "start", "guidance", "n")
# Column that names in what a row differs from those it is compared with; only there if such rows
# were asked for.
MIXED = "mixed"


@dataclass(frozen=True)
class Panel:
    """One metric of one group in one setting.

    Attributes:
        info: the metric.
        split: ``train``, ``test`` or None.
        schedule: ``rho 7`` or ``best rho``; empty if the group has one schedule only.
        settings: what distinguishes it from its neighbours, in words.
        rows: its part of the tidy table.
        over: the column that it is a curve over, ``nfe`` or ``sigma``; None for one value per run.
        judged: True if the summary speaks of it.
        note: what makes its values doubtful, in a few words; empty if nothing does.
        floor: the value of real images; None if it is not known.
        decided: its cells with the claims of their family; None if it belongs to none.

    """

    info: Info
    split: str | None
    schedule: str
    settings: str
    rows: pd.DataFrame
    over: str | None
    judged: bool = False
    note: str = ""
    floor: Floor | None = None
    decided: dict[Any, dict[str, Cell]] | None = None

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.info.name

    @property
    def per_nfe(self) -> bool:
        """True for a curve over NFE."""
        return self.over == "nfe"

    @property
    def at_best(self) -> bool:
        """True if each run is at its own best schedule."""
        return self.schedule.startswith("best ")

    @property
    def family_title(self) -> str:
        """Metric, split and settings: what panels share that differ in schedule only."""
        return listed([self.metric, self.split or "", self.settings])

    @property
    def title(self) -> str:
        """Metric, split, and the settings that distinguish it from its neighbours."""
        return listed([self.family_title, self.schedule])

    @property
    def family_heading(self) -> str:
        """``family_title`` with the metric in words and its name in brackets, for pages."""
        return listed([self.info.full_title, self.split or "", self.settings])

    @property
    def heading(self) -> str:
        """``title`` likewise."""
        return listed([self.family_heading, self.schedule])

    @property
    def plain(self) -> bool:
        """True for the sampler that all are compared with, from plain noise, without guidance."""
        # All rows of a panel share their settings.
        first = self.rows.iloc[0]
        for key, value in PLAIN.items():
            if not is_missing(first[key]) and str(first[key]) != value:
                return False
        return True

    @cached_property
    def cells(self) -> dict[Any, dict[str, Cell]]:
        """NFE or sigma to coupling to Cell; one entry, None, for a metric with one value per
        run.
        """
        return cells(self.rows, self.over) if self.decided is None else self.decided

    def nearest(self, nfe: int) -> int:
        """The measured NFE that is nearest to another one, by its logarithm."""
        # By the ratio, because 5 and 10 evaluations differ as much as 50 and 100 do.
        return min(self.cells, key=lambda measured: abs(math.log(measured / nfe)))


def counts_images(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True if ``n`` counts the images that a row was measured on; otherwise it counts the pools or
    images of the training.
    """
    return rows["nfe"].notna() | rows["sigma"].notna() | ~is_per_run(rows, metrics)


def panels(
    rows: pd.DataFrame, metrics: Metrics, best: pd.DataFrame, sizes: Mapping[str, int]
) -> list[Panel]:
    """A group's metrics, each in each setting, in the order of the report.

    Left out are profiles over sigma (``profiles``), the search for the best schedule and the
    adaptive sampler, which have sections of their own.

    Args:
        rows: of the group.
        metrics: their descriptions.
        best: the best schedule of each run and NFE.
        sizes: Fréchet distance to its number of features, if known.

    """
    known = floors(rows, [metrics[name] for name in rows["metric"].unique()])
    rows = rows[~is_floor_of_samples(rows, metrics)]
    # Of latents in blocks, by which the noise of the evaluation is told.
    rows = rows[~rows["metric"].isin(metrics.of_kind("noise"))]
    # The search is few images against the train split: no quality to compare couplings by.
    rows = rows[rows["sigma"].isna() & ~is_search(rows) & ~is_adaptive(rows, metrics)]
    is_curve = rows["nfe"].notna() & ~is_per_run(rows, metrics)
    # The schedule of curves only: paths and costs record theirs too, and would outvote them.
    fixed = fixed_schedules(rows[is_curve])
    label = best_label(rows[is_curve])
    found = _curves(rows[is_curve], metrics, best, fixed, label)
    found += _values(rows[~is_curve], metrics)
    measured = {(panel.metric, panel.split) for panel in found if panel.per_nfe}
    judged = metrics.judged(measured)
    marked = []
    for panel in found:
        is_judged = panel.per_nfe and (panel.metric, panel.split) in judged
        note = _singular(panel, sizes)
        floor = floor_of(panel.info, panel.split, panel.rows, known) if panel.per_nfe else None
        marked.append(replace(panel, judged=is_judged, note=note, floor=floor))
    return sorted(marked, key=lambda panel: _place(panel, metrics, fixed_label(fixed)))


def _curves(
    rows: pd.DataFrame,
    metrics: Metrics,
    best: pd.DataFrame,
    fixed: Mapping[str, str],
    best_word: str,
) -> list[Panel]:
    found: list[Panel] = []
    for metric, part in rows.groupby("metric", sort=False):
        scheduled = by_schedule(part, best, fixed, best_word)
        found += _panels(metrics[metric], scheduled, ("sampler", "start", "guidance", "n"), "nfe")
    # The only schedule there is need not be named in every title.
    if len({panel.schedule for panel in found} - {""}) < 2:
        found = [replace(panel, schedule="") for panel in found]
    return found


def _values(rows: pd.DataFrame, metrics: Metrics) -> list[Panel]:
    """Metrics with one value per run."""
    found: list[Panel] = []
    # The fixed schedule of each objective is one setting, or objectives would not be compared.
    rows = _with_labels(rows)
    for metric, part in rows.groupby("metric", sort=False):
        keys = list(SETTINGS[:-1])
        if metrics[metric].per == "run":
            keys.append("nfe")
        # Another number of images is another estimate; that of pools is no setting.
        if counts_images(part, metrics).any():
            keys.append("n")
        found += _panels(metrics[metric], part, keys, None)
    return found


def _with_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the labels of their schedules in the column ``schedule``."""
    label = shown_at(rows, fixed_schedules(rows))
    return rows.assign(schedule=label.mask(label.eq("")))


def _place(panel: Panel, metrics: Metrics, fixed: str) -> tuple:
    """Sort key: plain sampling first, and the fixed schedule before the best one."""
    schedule = 2 if panel.at_best else {"": 0, fixed: 1}.get(panel.schedule, 3)
    settings = _by_value(panel.settings)
    return (metrics.rank(panel.metric), panel.split or "", not panel.plain, settings, schedule)


def _singular(panel: Panel, sizes: Mapping[str, int]) -> str:
    """A note if a Fréchet distance has no more images than features: the covariance has no full
    rank.
    """
    size = sizes.get(panel.metric)
    # n images span n - 1 directions around their mean. The least n counts, because one distance
    # with a singular covariance spoils the comparison with the others.
    n = panel.rows["n"].min()
    if size is None or is_missing(n) or n > size:
        return ""
    return f"singular covariance: {n:,} images in {size:,} features"


def profiles(rows: pd.DataFrame, metrics: Metrics) -> list[Panel]:
    """A group's metrics over sigma, each in each setting, in the order of the report."""
    found: list[Panel] = []
    rows = _with_labels(rows[rows["sigma"].notna()])
    for metric, part in rows.groupby("metric", sort=False):
        found += _panels(metrics[metric], part, (*SETTINGS, "nfe"), "sigma")
    return sorted(found, key=lambda panel: (metrics.rank(panel.metric), panel.split or ""))


def side_by_side(found: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that differ in schedule only, together."""
    # itertools.groupby joins neighbours only. Panels are sorted with the schedule last, so those
    # that differ in nothing else are neighbours.
    alike = groupby(
        found, key=lambda panel: (panel.metric, panel.split, panel.over, panel.settings)
    )
    return [list(part) for _, part in alike]


def _panels(
    info: Info, rows: pd.DataFrame, keys: Sequence[str], over: str | None
) -> Iterator[Panel]:
    """Rows of one metric by split, keys and ``shown_at``, if there."""
    by = ["split", *keys]
    if "shown_at" in rows:
        by.append("shown_at")
    if rows.empty:
        return
    # dropna=False: an empty setting is a setting
    for _, part in rows.groupby(by, sort=False, dropna=False):
        first = part.iloc[0]
        split = None if is_missing(first["split"]) else str(first["split"])
        # Compared within the split: a setting that varies on the other one needs no name here.
        same = rows[rows["split"].eq(split) if split else rows["split"].isna()]
        settings = _settings(first, same, keys) + marks(part)
        schedule = str(first.get("shown_at", ""))
        yield Panel(info, split, schedule, ", ".join(settings), part, over)


def _settings(first: pd.Series, same: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The settings in words that distinguish rows from others of their metric and split."""
    shown = []
    for key in keys:
        # The sampling that all are compared with needs no name; what departs from it does.
        if same[key].nunique(dropna=False) > 1 and str(first[key]) != PLAIN.get(key):
            shown.append(setting(key, first[key]))
    return shown


def marks(rows: pd.DataFrame) -> list[str]:
    """A mark on rows that are not comparable; empty for others."""
    if MIXED not in rows:
        return []
    differing = rows[MIXED].dropna().unique()
    return [f"NOT COMPARABLE: {' and '.join(differing)} differ"] if len(differing) else []


def _by_value(settings: str) -> str:
    """A key by which n 500 comes before n 2000."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), settings)

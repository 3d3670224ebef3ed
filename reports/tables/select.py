"""Selections of rows: guided sampling, other starts, the adaptive sampler, plain sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.record.specs import CFG
from reports.tables.metrics import Metrics
from reports.tables.schedules import fixed_schedules, has_schedule, is_fixed, is_search

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "dg-"
PLAIN = {"sampler": "heun", "start": "gaussian", "guidance": "none"}
_FLOOR = "mode_mixture_real"  # family of the metrics of real images


def is_guided(rows: pd.DataFrame) -> pd.Series:
    """True for rows of guidance of either kind, or about a discriminator."""
    return uses_discriminator(rows) | is_classifier_free(rows)


def is_classifier_free(rows: pd.DataFrame) -> pd.Series:
    """True for rows of classifier-free guidance with another weight than 1."""
    return rows["guidance"].str.startswith(CFG).fillna(False).astype(bool)


def uses_discriminator(rows: pd.DataFrame) -> pd.Series:
    """True for rows of discriminator guidance, or of its discriminator."""
    # An empty cell of text gives NA, and so does its negation: without fillna, such a row would be
    # selected neither by this mask nor by ~ of it.
    return rows["guidance"].str.startswith(PREFIX).fillna(False).astype(bool)


def begins_elsewhere(rows: pd.DataFrame) -> pd.Series:
    """True for rows of another start than plain noise."""
    return (rows["start"].notna() & rows["start"].ne(PLAIN["start"])).fillna(False).astype(bool)


def is_started(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True for rows of another start than plain noise, or about a start."""
    # Rows about a start count, whether or not something was sampled from it.
    return begins_elsewhere(rows) | rows["metric"].isin(metrics.of_kind("start"))


def is_floor(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True for the mode mixture of real images: no result of a run, but a value to compare with."""
    return rows["metric"].isin(metrics.of_family(_FLOOR))


def is_per_run(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True for metrics with one value per run, though some record the NFE of their dense paths."""
    names = [name for name in rows["metric"].unique() if metrics[name].per == "run"]
    return rows["metric"].isin(names)


def is_adaptive(rows: pd.DataFrame, metrics: Metrics) -> pd.Series:
    """True for rows of a sampler that chooses its own steps, such as ``dopri5:tolerance=0.001``."""
    # Only such a sampler has an NFE and follows no schedule.
    chosen = rows["sampler"].notna() & rows["nfe"].notna() & ~has_schedule(rows)
    return chosen & ~is_search(rows) & ~is_per_run(rows, metrics)


def is_unguided(rows: pd.DataFrame) -> pd.Series:
    """True for sampling that says that it had no guidance."""
    return rows["guidance"].eq(PLAIN["guidance"]).fillna(False).astype(bool)


def ordinary(rows: pd.DataFrame, metrics: Metrics) -> pd.DataFrame:
    """The rows without guidance and from plain noise."""
    return rows[~is_guided(rows) & ~is_started(rows, metrics) & ~is_floor(rows, metrics)]


def floors(rows: pd.DataFrame, metrics: Metrics) -> dict[str, float]:
    """``mode_mixture_0.2_classifier`` to its mean on real images."""
    # Real images do not depend on the run, so the mean is over equal or nearly equal values.
    means = rows[is_floor(rows, metrics)].groupby("metric")["value"].mean()
    return {str(name).replace("_real_", "_"): float(mean) for name, mean in means.items()}


def at_fixed_schedule(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the schedule that most of their objective share, and those without one."""
    return rows[~has_schedule(rows) | is_fixed(rows, fixed_schedules(rows))]


def where(rows: pd.DataFrame, **place: object) -> pd.DataFrame:
    """The rows with these values; an empty value selects empty cells."""
    import pandas as pd

    for name, value in place.items():
        column = rows[name]
        # An empty cell is equal to nothing, not even to another one.
        rows = rows[column.isna() if pd.isna(value) else column.eq(value).fillna(False)]
    return rows

"""Which rho is compared: one for all arms, and for each run and NFE the best by a first pass over
rho x NFE.

A coupling that gains nothing at one rho may gain at another, so arms are set side by side twice: at
the rho that all share, and each at its own best. The best is chosen from ``grid_fd_*``, few images
against the train split; what is shown at it are other rows, of all images. All is found from the
tidy table alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.tables.metrics import metric_rank
from reports.tables.statistics import ordered
from reports.text import join

if TYPE_CHECKING:
    import pandas as pd

GRID = "grid_fd_"
BEST = "best rho"
DEFAULT_RHO = 7.0

_SETTING = ["sampler", "start", "guidance"]
_PLACE = ["run_id", *_SETTING, "nfe"]
_PLAIN = {"start": "gaussian", "guidance": "none"}


def is_grid(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of the first pass."""
    return rows["metric"].str.startswith(GRID)


def best_rho(table: pd.DataFrame) -> pd.DataFrame:
    """The best rho of each run, sampler, start, guidance and NFE, by each grid metric.

    That is the rho with the lowest finite ``grid_fd_*`` on the train split (of equal ones the
    smallest); where the pass was made twice, the one with more images counts. Columns: ``run_id,
    sampler, start, guidance, nfe, metric, rho``.
    """
    place = [*_PLACE, "metric"]
    grid = table[is_grid(table) & table["split"].eq("train") & table["value"].abs().lt(math.inf)]
    n = grid["n"].fillna(0)
    grid = grid[n.eq(n.groupby([grid[name] for name in place], dropna=False).transform("max"))]
    return grid.sort_values(["value", "rho"], kind="stable").drop_duplicates(place)[[*place, "rho"]]


def fixed_rho(rows: pd.DataFrame) -> float | None:
    """The rho at which most runs and NFEs are there: 7 if it is one of these, else the smallest;
    None without any.
    """
    there = (
        rows.dropna(subset=["rho", "nfe"])
        .drop_duplicates(["run_id", "nfe", "rho"])
        .groupby("rho")
        .size()
    )
    full = list(there.index[there == there.max()])
    return DEFAULT_RHO if DEFAULT_RHO in full else min(full, default=None)


def chooser(metric: str, known: Sequence[str]) -> str | None:
    """The grid metric that chooses for a metric: the one in its own features; None where nothing
    chose for it.

    A rho that suits one quality may suit another badly, such as the truncation error.
    """
    features = "inception" if metric == "fid" else metric
    own = [name for name in known if f"_{features}".endswith("_" + name.removeprefix(GRID))]
    return min(own, key=metric_rank, default=None)


def by_schedule(rows: pd.DataFrame, best: pd.DataFrame, fixed: float | None) -> pd.DataFrame:
    """Rows of one metric with a column ``schedule``: ``rho 7`` for the fixed one, or ``best rho``.

    A row at the fixed rho that is the best as well comes twice. A setting without a first pass of
    its own uses that of its sampler from plain noise without guidance. Rows at a rho that only
    another metric chose are left out; a rho that no grid chose is named like the fixed one.
    """
    import pandas as pd

    metric = str(rows["metric"].iloc[0])
    own = _at(rows, best[best["metric"].eq(chooser(metric, sorted(best["metric"].unique())) or "")])
    parts = [_at(rows, part) for _, part in best.groupby("metric")]
    anyones = pd.concat(parts) if parts else own
    named = rows["rho"].eq(fixed) | ~rows.index.isin(anyones.index[anyones])
    label = rows["rho"].map(rho_label, na_action="ignore").astype("string").fillna("")
    return pd.concat([rows[named].assign(schedule=label[named]), rows[own].assign(schedule=BEST)])


def _at(rows: pd.DataFrame, best: pd.DataFrame) -> pd.Series:
    """Which rows have the rho that was chosen for their run, setting and NFE."""
    plain = best[best["start"].eq(_PLAIN["start"]) & best["guidance"].eq(_PLAIN["guidance"])]
    own = rows[_PLACE].merge(best, "left", _PLACE)["rho"]
    others = rows[["run_id", "sampler", "nfe"]].merge(
        plain[["run_id", "sampler", "nfe", "rho"]], "left"
    )["rho"]
    chosen = own.fillna(others)
    chosen.index = rows.index
    return rows["rho"].eq(chosen) & rows["rho"].notna()


def rho_label(rho: float) -> str:
    """``rho 7``."""
    return f"rho {rho:g}"


def at_the_end(rows: pd.DataFrame, metric: str) -> list[str]:
    """Lines where the best rho for a metric is the first or last of those tried, so that one beyond
    may be better.
    """
    best = best_rho(rows)
    best = best[best["metric"].eq(chooser(metric, sorted(best["metric"].unique())) or "")]
    grid = rows[is_grid(rows)].groupby("run_id")["rho"].agg(["min", "max"])
    ends = best.join(grid, on="run_id").merge(
        rows[["run_id", "coupling"]].drop_duplicates(), on="run_id"
    )
    ends, found = ends[ends["min"] < ends["max"]], []
    for word, end in (("largest", "max"), ("smallest", "min")):
        there = ends[ends["rho"].eq(ends[end])]
        by_arm = there.groupby("coupling")["nfe"].agg(
            lambda nfes: join([str(nfe) for nfe in sorted(set(nfes))])
        )
        if len(by_arm):
            said = "; ".join(f"{arm} at NFE {by_arm[arm]}" for arm in ordered(by_arm.index))
            found.append(
                f"The best rho for {metric} is the {word} tried, so that one beyond may be better:"
                f" {said}."
            )
    return found


def missing_best(rows: pd.DataFrame, metric: str) -> str | None:
    """A line where a metric was not measured at a best rho: the comparison there then lacks that
    run and NFE.
    """
    best = best_rho(rows)
    wanted = best[best["metric"].eq(chooser(metric, sorted(best["metric"].unique())) or "")].drop(
        columns="metric"
    )
    there = rows[rows["metric"].eq(metric)][[*_PLACE, "rho"]].drop_duplicates()
    lost = wanted.merge(there[_SETTING].drop_duplicates(), on=_SETTING).merge(
        there, "left", indicator=True
    )
    lost = lost[lost["_merge"].eq("left_only")]
    if lost.empty:
        return None
    arms = rows[rows["run_id"].isin(lost["run_id"])]["coupling"]
    return (
        f"{metric} was not measured at the best rho of {join(ordered(arms))} at NFE"
        f" {join([str(nfe) for nfe in sorted(lost['nfe'].unique())])}: evaluate these runs at the"
        " rho that the first pass chose, or the comparison at best rho lacks them."
    )

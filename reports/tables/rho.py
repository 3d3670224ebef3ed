"""The exponents rho at which runs are compared: one for all, and the best of each run and NFE.

A coupling that gains nothing at one rho may gain at another, so couplings are compared twice: at
the rho that all share, and each at its own best. The best is recorded by the evaluation as rows
``best_schedule_<features>``, chosen from ``grid_fd_<features>``: few images against the train
split. The values shown at it are other rows, of all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.record import Measurement
from bench.record.best_schedule import BEST as RECORDED
from bench.record.best_schedule import GRID, choose
from reports.tables.statistics import ordered
from reports.text import join

if TYPE_CHECKING:
    import pandas as pd

BEST = "best rho"
# The exponent of Karras et al. (2022), which readers know from published results.
DEFAULT_RHO = 7.0

SETTING = ["sampler", "start", "guidance"]
PLACE = ["run_id", *SETTING, "nfe"]
_PLAIN = {"start": "gaussian", "guidance": "none"}


def is_grid(rows: pd.DataFrame) -> pd.Series:
    """True for rows of the first pass."""
    return rows["metric"].str.startswith(GRID)


def is_search(rows: pd.DataFrame) -> pd.Series:
    """True for rows of the search for the best rho: its values and what it chose."""
    return is_grid(rows) | rows["metric"].str.startswith(RECORDED)


def best_rho(table: pd.DataFrame) -> pd.DataFrame:
    """The best rho of each run, sampler, start, guidance and NFE, by each grid metric.

    Runs of earlier versions recorded the first pass only; the same function chooses from it then.
    Columns: ``run_id, sampler, start, guidance, nfe, metric, rho``; ``metric`` is the grid metric.
    """
    import pandas as pd

    recorded = table[table["metric"].str.startswith(RECORDED)]
    recorded = recorded.assign(
        metric=GRID + recorded["metric"].str.removeprefix(RECORDED), rho=recorded["value"]
    )
    grid = table[is_grid(table)]
    # Both names of a search, because a run may have recorded its choice for some features only.
    done = pd.MultiIndex.from_frame(recorded[["run_id", "metric"]])
    older = grid[~pd.MultiIndex.from_frame(grid[["run_id", "metric"]]).isin(done)]
    columns = [*PLACE, "metric", "rho"]
    found = pd.concat([recorded[columns], _chosen(older)[columns]], ignore_index=True)
    # Merging needs equal types, also where one of the parts is empty.
    return found.astype({name: table[name].dtype for name in columns})


def _chosen(grid: pd.DataFrame) -> pd.DataFrame:
    """The choice of ``bench.record.best_schedule`` from the rows of a first pass, run by run."""
    import pandas as pd

    rows = []
    for run_id, part in grid.groupby("run_id", sort=False):
        for chosen in choose(_measurements(part)):
            place = {"run_id": run_id, "metric": chosen.metric.replace(RECORDED, GRID)}
            setting = {name: getattr(chosen, name) for name in SETTING}
            rows.append({**place, **setting, "nfe": chosen.nfe, "rho": chosen.value})
    return pd.DataFrame(rows, columns=[*PLACE, "metric", "rho"])


def _measurements(rows: pd.DataFrame) -> list[Measurement]:
    """Rows of the tidy table as they were recorded."""
    names = list(Measurement.__dataclass_fields__)
    rows = rows[names].astype(object)
    # A value of nan is a result and no gap: the run diverged.
    columns = [rows[name].where(rows[name].notna() | (name == "value"), None) for name in names]
    return [Measurement(*values) for values in zip(*columns, strict=True)]


def fixed_rho(rows: pd.DataFrame) -> float | None:
    """The rho at which most runs and NFEs were measured: 7 if it is one of these, else the
    smallest; None without any.
    """
    places = rows.dropna(subset=["rho", "nfe"]).drop_duplicates(["run_id", "nfe", "rho"])
    # Counted by run and NFE, so that a rho that was tried at one NFE only does not win.
    count = places.groupby("rho").size()
    most = list(count.index[count == count.max()])
    return DEFAULT_RHO if DEFAULT_RHO in most else min(most, default=None)


def chooser(metric: str, known: Sequence[str]) -> str | None:
    """The grid metric that chooses for a metric: the one in its own features; None if nothing chose
    for it.

    A rho that suits one quality may suit another badly, such as the truncation error.
    """
    features = "inception" if metric == "fid" else metric
    own = [name for name in known if f"_{features}".endswith("_" + name.removeprefix(GRID))]
    # The longest name, because my_classifier ends like classifier.
    return max(own, key=len, default=None)


def chosen_for(metric: str, best: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``best`` that count for a metric; none if nothing chose for it."""
    own = chooser(metric, sorted(best["metric"].unique()))
    return best[best["metric"].eq(own or "")]


def by_schedule(rows: pd.DataFrame, best: pd.DataFrame, fixed: float | None) -> pd.DataFrame:
    """Rows of one metric with a column ``shown_at``: ``rho 7`` for the fixed one, or ``best rho``.

    A row at the fixed rho that is also the best comes twice. A setting without a first pass uses
    that of its sampler from plain noise without guidance. Rows at a rho that only another metric
    chose are left out; a rho that no grid chose is named like the fixed one.
    """
    import pandas as pd

    metric = str(rows["metric"].iloc[0])
    own = _at(rows, chosen_for(metric, best))
    anyones = own
    for _, part in best.groupby("metric"):
        anyones = anyones | _at(rows, part)
    named = rows["rho"].eq(fixed) | ~anyones
    # A setting without a rho, such as an adaptive sampler, gets an empty label.
    label = rows["rho"].map(rho_label, na_action="ignore").astype("string").fillna("")
    # Copies of rows, and no second column, because a row may belong to both panels.
    at_fixed = rows[named].assign(shown_at=label[named])
    return pd.concat([at_fixed, rows[own].assign(shown_at=BEST)])


def _at(rows: pd.DataFrame, best: pd.DataFrame) -> pd.Series:
    """True for rows at the rho that was chosen for their run, setting and NFE."""
    plain = best[best["start"].eq(_PLAIN["start"]) & best["guidance"].eq(_PLAIN["guidance"])]
    # The right side has one row for each place; with two, a left merge would repeat rows, and
    # their number would not fit the index below.
    own = rows[PLACE].merge(best[[*PLACE, "rho"]], "left", PLACE)["rho"]
    place = ["run_id", "sampler", "nfe"]
    others = rows[place].merge(plain[[*place, "rho"]], "left", place)["rho"]
    chosen = own.fillna(others)
    # A merge numbers its rows; these are in the order of the table.
    chosen.index = rows.index
    return rows["rho"].eq(chosen) & rows["rho"].notna()


def rho_label(rho: float) -> str:
    """``rho 7``."""
    return f"rho {rho:g}"


def at_the_end(rows: pd.DataFrame, best: pd.DataFrame, metric: str) -> list[str]:
    """Lines if the best rho for a metric is the first or last of those tried, because one beyond
    may be better.
    """
    tried = rows[is_grid(rows)].groupby("run_id")["rho"].agg(["min", "max"])
    couplings = rows[["run_id", "coupling"]].drop_duplicates()
    ends = chosen_for(metric, best).join(tried, on="run_id").merge(couplings, on="run_id")
    # Where one rho was tried, it is first and last at once, and says nothing about others.
    ends = ends[ends["min"] < ends["max"]]
    lines = []
    for word, end in (("largest", "max"), ("smallest", "min")):
        places = []
        for coupling, part in _by_coupling(ends[ends["rho"].eq(ends[end])]):
            places.append(f"{coupling} at NFE {_nfes(part['nfe'])}")
        if places:
            lines.append(
                f"The best rho for {metric} is the {word} that was tried, so one beyond it may be"
                f" better: {'; '.join(places)}."
            )
    return lines


def missing_best(rows: pd.DataFrame, best: pd.DataFrame, metric: str) -> str | None:
    """A line if a metric was not measured at a best rho: the comparison there lacks that run and
    NFE.
    """
    wanted = chosen_for(metric, best).drop(columns="metric")
    measured = rows[rows["metric"].eq(metric)][[*PLACE, "rho"]].drop_duplicates()
    # Samplers, starts and guidance that were not measured at all are no gap.
    wanted = wanted.merge(measured[SETTING].drop_duplicates(), on=SETTING)
    lost = wanted.merge(measured, "left", indicator=True)
    lost = lost[lost["_merge"].eq("left_only")]
    if lost.empty:
        return None
    couplings = ordered(rows[rows["run_id"].isin(lost["run_id"])]["coupling"])
    return (
        f"{metric} was not measured at the best rho of {join(couplings)} at NFE"
        f" {_nfes(lost['nfe'])}: run `python -m bench.evaluate` on these runs again, which measures"
        " at the recorded best rho, or the comparison at best rho lacks them."
    )


def _by_coupling(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(name, rows[rows["coupling"].eq(name)]) for name in ordered(rows["coupling"])]


def _nfes(nfes: Iterable[int]) -> str:
    return join([str(nfe) for nfe in sorted(set(nfes))])

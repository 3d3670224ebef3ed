"""The schedules at which runs are compared: a fixed one, and the best of each run and NFE.

A coupling that gains nothing at one schedule may gain at another, so couplings are compared twice:
at the fixed schedule, which all runs of an objective share, and each coupling at its best. The best
is recorded by the evaluation as rows ``best_schedule_<features>``, chosen from
``grid_fd_<features>`` and its noise, ``grid_gain_se_<features>``: few images against the train
split. The values shown at it are other rows, of all images and of other latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.record import Measurement
from bench.record.best_schedule import BEST as RECORDED
from bench.record.best_schedule import GRID, NOISE, SEEDS, choose, parameter
from reports.tables.arms import objectives, ordered
from reports.text import STRINGS, join, schedule_label

if TYPE_CHECKING:
    import pandas as pd

# Readers know rho 7 from Karras et al. (2022), and uniform steps in t from flow matching.
DEFAULTS = ("karras:rho=7", "flow:shift=1")
ADAPTIVE = "flow"  # the schedule of an adaptive sampler in flow coordinates: it has no parameter
_NOUNS = {"karras": "rho", "flow": "shift"}  # what the schedules of a family differ in
FIXED = "fixed schedule"

SETTING = ["sampler", "start", "guidance"]
PLACE = ["run_id", *SETTING, "nfe"]
_PLAIN = {"start": "gaussian", "guidance": "none"}


def is_grid(rows: pd.DataFrame) -> pd.Series:
    """True for rows of the first pass."""
    return rows["metric"].str.startswith(GRID)


def is_search(rows: pd.DataFrame) -> pd.Series:
    """True for rows of the search for the best schedule: its values and what it chose."""
    return is_grid(rows) | rows["metric"].str.startswith((RECORDED, NOISE, SEEDS))


def first_pass(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first pass that count: those whose noise is known, if a run has any, because
    earlier versions searched on other latents.
    """
    # The train split chooses; the test split of a first pass is never looked at.
    grid = rows[is_grid(rows) & rows["split"].eq("train")]
    noise = rows[rows["metric"].str.startswith(NOISE)]
    noise = noise.assign(metric=GRID + noise["metric"].str.removeprefix(NOISE))
    cell = [*PLACE, "schedule", "metric", "n"]
    known = _is_among(grid, noise, cell)
    return grid[known | ~_is_among(grid, noise, ["run_id", "metric"])]


def _is_among(rows: pd.DataFrame, others: pd.DataFrame, columns: list[str]) -> pd.Series:
    """True for rows whose values in some columns another table has too."""
    found = rows[columns].merge(others[columns].drop_duplicates(), "left", indicator=True)
    # A merge numbers its rows; these are in the order of the table.
    found.index = rows.index
    return found["_merge"].eq("both")


def has_schedule(rows: pd.DataFrame) -> pd.Series:
    """True for rows that follow a schedule; an adaptive sampler chooses its own steps."""
    return (rows["schedule"].notna() & rows["schedule"].ne(ADAPTIVE)).fillna(False).astype(bool)


def noun(schedules: Iterable[str]) -> str:
    """Name of the parameter of some schedules: ``rho``, ``shift``, or ``schedule`` if they are of
    several families.
    """
    # A page about EDM alone should go on speaking of rho, the word of its readers.
    families = {_family(schedule) for schedule in schedules}
    return _NOUNS.get(families.pop(), "schedule") if len(families) == 1 else "schedule"


def noun_of(rows: pd.DataFrame) -> str:
    """The noun of all schedules of some rows."""
    return noun(rows["schedule"][has_schedule(rows)].unique())


def _family(schedule: str) -> str:
    return schedule.partition(":")[0]


def by_parameter(schedule: str) -> tuple[str, float, str]:
    """Sort key: by family, then by the parameter as a number."""
    return _family(schedule), parameter(schedule), schedule


def best_schedules(table: pd.DataFrame) -> pd.DataFrame:
    """The best schedule of each run, sampler, start, guidance and NFE, by each grid metric.

    Runs of earlier versions recorded the first pass only; the same function chooses from it then.
    Columns: ``run_id, sampler, start, guidance, nfe, metric, schedule``; ``metric`` is the grid
    metric.
    """
    import pandas as pd

    recorded = table[table["metric"].str.startswith(RECORDED)]
    recorded = recorded.assign(metric=GRID + recorded["metric"].str.removeprefix(RECORDED))
    search = table[table["metric"].str.startswith((GRID, NOISE))]
    # By the metric that chooses, as the choices that are recorded.
    grids = GRID + search["metric"].str.removeprefix(GRID).str.removeprefix(NOISE)
    # Both names of a search, because a run may have recorded its choice for some features only.
    older = search[~_is_among(search.assign(metric=grids), recorded, ["run_id", "metric"])]
    columns = [*PLACE, "metric", "schedule"]
    found = pd.concat([recorded[columns], _chosen(older)[columns]], ignore_index=True)
    # Merging needs equal types, also where one of the parts is empty.
    return found.astype({name: table[name].dtype for name in columns})


def _chosen(search: pd.DataFrame) -> pd.DataFrame:
    """The choice of ``bench.record.best_schedule`` from the rows of a first pass, run by run."""
    import pandas as pd

    rows = []
    for run_id, part in search.groupby("run_id", sort=False):
        for chosen in choose(_measurements(part)):
            place = {"run_id": run_id, "metric": chosen.metric.replace(RECORDED, GRID)}
            setting = {name: getattr(chosen, name) for name in SETTING}
            rows.append({**place, **setting, "nfe": chosen.nfe, "schedule": chosen.schedule})
    return pd.DataFrame(rows, columns=[*PLACE, "metric", "schedule"])


def _measurements(rows: pd.DataFrame) -> list[Measurement]:
    """Rows of the tidy table as they were recorded."""
    names = list(Measurement.__dataclass_fields__)
    rows = rows[names].astype(object)
    # A value of nan is a result and no gap: the run diverged.
    columns = [rows[name].where(rows[name].notna() | (name == "value"), None) for name in names]
    return [Measurement(*values) for values in zip(*columns, strict=True)]


def fixed_schedules(rows: pd.DataFrame) -> dict[str, str]:
    """Each objective to the schedule at which most of its runs and NFEs were measured: Karras' with
    rho 7 or flow matching's with shift 1 if it is one of these, else that of the least parameter.
    """
    scheduled = rows[has_schedule(rows) & rows["nfe"].notna()]
    scheduled = scheduled.assign(objective=objectives(scheduled))
    found = {}
    # Each objective has coordinates, and thus a natural schedule, of its own.
    for objective, part in scheduled.groupby("objective"):
        places = part.drop_duplicates(["run_id", "nfe", "schedule"])
        # Counted by run and NFE, so that a schedule that was tried at one NFE only does not win.
        count = places.groupby("schedule").size()
        most = list(count.index[count == count.max()])
        usual = [schedule for schedule in DEFAULTS if schedule in most]
        found[str(objective)] = usual[0] if usual else min(most, key=by_parameter)
    return found


def is_fixed(rows: pd.DataFrame, fixed: Mapping[str, str]) -> pd.Series:
    """True for rows at the fixed schedule of their objective."""
    own = objectives(rows).map(fixed)
    return (rows["schedule"].eq(own) & rows["schedule"].notna()).fillna(False).astype(bool)


def fixed_label(fixed: Mapping[str, str]) -> str:
    """``rho 7``; ``fixed schedule`` if the objectives have different ones."""
    # Two objectives with one schedule, such as EDM's for both, are still compared at it by name.
    different = set(fixed.values())
    return schedule_label(different.pop()) if len(different) == 1 else FIXED


def best_label(rows: pd.DataFrame) -> str:
    """``best rho``, ``best shift`` or ``best schedule``, by what some rows differ in."""
    return f"best {noun_of(rows)}"


def chooser(metric: str, known: Sequence[str]) -> str | None:
    """The grid metric that chooses for a metric: the one in its own features; None if nothing chose
    for it.

    A schedule that suits one quality may suit another badly, such as the truncation error.
    """
    features = "inception" if metric == "fid" else metric
    own = [name for name in known if f"_{features}".endswith("_" + name.removeprefix(GRID))]
    # The longest name, because my_classifier ends like classifier.
    return max(own, key=len, default=None)


def chosen_for(metric: str, best: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``best`` that count for a metric; none if nothing chose for it."""
    own = chooser(metric, sorted(best["metric"].unique()))
    return best[best["metric"].eq(own or "")]


def by_schedule(
    rows: pd.DataFrame, best: pd.DataFrame, fixed: Mapping[str, str], best_word: str
) -> pd.DataFrame:
    """Rows of one metric with a column ``shown_at``: ``rho 7`` for the fixed one, or ``best rho``.

    A row at the fixed schedule that is also the best comes twice. A setting without a first pass
    uses that of its sampler from plain noise without guidance. Rows at a schedule that only another
    metric chose are left out, and so are those at what a run chose before its seeds chose together.
    A schedule that no grid chose is named like the fixed one.

    Args:
        rows: of one metric.
        best: of all runs, see ``best_schedules``.
        fixed: see ``fixed_schedules``.
        best_word: the label of the best one.

    """
    import pandas as pd

    metric = str(rows["metric"].iloc[0])
    own = _at(rows, chosen_for(metric, best))
    anyones = own
    for _, part in best.groupby("metric"):
        anyones = anyones | _at(rows, part)
    at_fixed_one = is_fixed(rows, fixed)
    named = at_fixed_one | (~anyones & ~_is_left_over(rows, at_fixed_one, best))
    label = shown_at(rows, fixed)
    # Copies of rows, and no second column, because a row may belong to both panels.
    at_fixed = rows[named].assign(shown_at=label[named])
    return pd.concat([at_fixed, rows[own].assign(shown_at=best_word)])


def _is_left_over(rows: pd.DataFrame, at_fixed: pd.Series, best: pd.DataFrame) -> pd.Series:
    """True for rows at a schedule that a run which searched measured at some of its NFEs only.

    A schedule that was asked for is measured at all of them; one that the run chose by itself, and
    that its seeds then chose otherwise, only where it was the choice.
    """
    place = ["run_id", *SETTING, "split", "n"]
    # NFEs at the fixed schedule only; the others count as missing.
    fixed_nfe = rows["nfe"].where(at_fixed)
    asked = fixed_nfe.groupby([rows[name] for name in place], dropna=False).transform("nunique")
    own = rows.groupby([*place, "schedule"], dropna=False)["nfe"].transform("nunique")
    searched = rows["run_id"].isin(best["run_id"])
    return searched & has_schedule(rows) & (own < asked)


def shown_at(rows: pd.DataFrame, fixed: Mapping[str, str]) -> pd.Series:
    """The label of each row's schedule; empty for a setting without one, such as an adaptive
    sampler.
    """
    label = rows["schedule"].where(has_schedule(rows))
    label = label.map(schedule_label, na_action="ignore").astype(STRINGS).fillna("")
    return label.mask(is_fixed(rows, fixed), fixed_label(fixed))


def _at(rows: pd.DataFrame, best: pd.DataFrame) -> pd.Series:
    """True for rows at the schedule that was chosen for their run, setting and NFE."""
    plain = best[best["start"].eq(_PLAIN["start"]) & best["guidance"].eq(_PLAIN["guidance"])]
    # The right side has one row for each place; with two, a left merge would repeat rows, and
    # their number would not fit the index below.
    own = rows[PLACE].merge(best[[*PLACE, "schedule"]], "left", PLACE)["schedule"]
    place = ["run_id", "sampler", "nfe"]
    others = rows[place].merge(plain[[*place, "schedule"]], "left", place)["schedule"]
    chosen = own.fillna(others)
    # A merge numbers its rows; these are in the order of the table.
    chosen.index = rows.index
    return (rows["schedule"].eq(chosen) & rows["schedule"].notna()).fillna(False).astype(bool)


def at_the_end(rows: pd.DataFrame, best: pd.DataFrame, metric: str) -> list[str]:
    """Lines if the best schedule for a metric is at an end of its family's search, because one
    beyond may be better.
    """
    # By NFE, because a search goes on beyond an end only where that is the best.
    keys = ["run_id", "family", "nfe"]
    grid = first_pass(rows)
    tried = _with_family(grid[has_schedule(grid)]).groupby(keys)["parameter"].agg(["min", "max"])
    arms = rows[["run_id", "coupling"]].drop_duplicates()
    ends = _with_family(chosen_for(metric, best)).join(tried, on=keys).merge(arms, on="run_id")
    # Where one was tried, it is first and last at once, and says nothing about others.
    ends = ends[ends["min"] < ends["max"]]
    lines = []
    for family, of_family in ends.groupby("family"):
        word = _NOUNS.get(str(family), str(family))
        for side, beyond, end in (("upper", "larger", "max"), ("lower", "smaller", "min")):
            places = []
            for arm, part in _by_arm(of_family[of_family["parameter"].eq(of_family[end])]):
                places.append(f"{arm} at NFE {_nfes(part['nfe'])}")
            if places:
                option = " (extend --rhos)" if word == "rho" else ""
                lines.append(
                    f"Best {word} for {metric} is at the {side} end of the search; a {beyond} one"
                    f" may be better{option}: {'; '.join(places)}."
                )
    return lines


def _with_family(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the family and the parameter of their schedules."""
    numbers = rows["schedule"].map(parameter).astype("float64")
    return rows.assign(family=rows["schedule"].map(_family), parameter=numbers)


def missing_best(rows: pd.DataFrame, best: pd.DataFrame, metric: str) -> str | None:
    """A line if a metric was not measured at a best schedule: the comparison there lacks that run
    and NFE.
    """
    wanted = chosen_for(metric, best).drop(columns="metric")
    measured = rows[rows["metric"].eq(metric)][[*PLACE, "schedule"]].drop_duplicates()
    # Samplers, starts and guidance that were not measured at all are no gap.
    wanted = wanted.merge(measured[SETTING].drop_duplicates(), on=SETTING)
    lost = wanted.merge(measured, "left", indicator=True)
    lost = lost[lost["_merge"].eq("left_only")]
    if lost.empty:
        return None
    arms = ordered(rows[rows["run_id"].isin(lost["run_id"])]["coupling"])
    word = best_label(rows)
    return (
        f"{metric} was not measured at the {word} of {join(arms)} at NFE {_nfes(lost['nfe'])}: run"
        " `python -m bench.evaluate` on these runs again, which measures at the recorded"
        f" {word}, or the comparison at {word} lacks them."
    )


def unshared(rows: pd.DataFrame, best: pd.DataFrame, metric: str) -> str | None:
    """A line if runs that differ in the seed only have different best schedules for a metric."""
    arms = rows[["run_id", "coupling"]].drop_duplicates()
    chosen = chosen_for(metric, best).merge(arms, on="run_id")
    parts = []
    # Arm by arm: couplings may well differ in it.
    for arm, of_arm in _by_arm(chosen):
        several = of_arm.groupby([*SETTING, "nfe"], dropna=False)["schedule"].nunique().gt(1)
        if several.any():
            nfes = several.index.get_level_values("nfe")[several]
            parts.append(f"{arm} at NFE {_nfes(map(int, nfes))}")
    if not parts:
        return None
    word = best_label(rows)
    return (
        f"Seeds of one coupling have a different {word} for {metric}: {'; '.join(parts)}. `python"
        " -m bench.evaluate` on all runs of the coupling at once makes one choice for its seeds."
    )


def _by_arm(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(name, rows[rows["coupling"].eq(name)]) for name in ordered(rows["coupling"])]


def _nfes(nfes: Iterable[int]) -> str:
    return join([str(nfe) for nfe in sorted(set(nfes))])

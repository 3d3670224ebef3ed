"""Comparisons: runs that are equal in all but arm and seed; see ``reports.tables.arms``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from reports.tables.arms import FIELDS, ordered, with_arms
from reports.tables.metrics import Metrics, collect
from reports.tables.panels import MIXED, Panel, panels, profiles
from reports.tables.primary import Question, decided, first_judged, question
from reports.tables.runs import OF_TRAINING, Run, feature_sizes
from reports.tables.schedules import best_schedules
from reports.tables.select import ordinary
from reports.tables.statistics import cost_cuts
from reports.tables.tidy import COLUMNS, PRIMARY, is_origin
from reports.text import is_missing, setting

if TYPE_CHECKING:
    import pandas as pd

BUDGET = "training.images"
SOURCE = "source"  # data set of the noise samples
GAUSSIAN = "gaussian"  # noise samples of no data set


@dataclass(frozen=True)
class Group:
    """One comparison: runs that differ in coupling, objective, noise law and seed only.

    Its rows and runs have arms for couplings: ``lapjv, flow``.

    Attributes:
        title: the data, the pool, and the settings that distinguish it from other comparisons.
        rows: its part of the tidy table.
        metrics: descriptions of all metrics of the report.
        sizes: Fréchet distance to its number of features, if known.
        runs: the runs; empty if only a table was read.
        couplings: all couplings of the report, so that each looks the same in all comparisons.
        id: start of its anchors on the page, ``g1``.

    """

    title: str
    rows: pd.DataFrame
    metrics: Metrics = field(default_factory=Metrics)
    sizes: Mapping[str, int] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    couplings: Sequence[str] = ()
    id: str = "g1"

    @property
    def keys(self) -> list[str]:
        """Columns that make groups: data, pool and the configuration."""
        return group_keys(self.rows)

    @property
    def but_pool(self) -> dict[str, object]:
        """The values that the runs share, other than the pool, by column."""
        return {key: str(self.rows[key].iloc[0]) for key in self.keys if key != "pool"}

    @property
    def trained(self) -> bool:
        """True if the networks were trained with couplings that are known; False for networks from
        files, which have no random pairing to be compared with.
        """
        return self.trainer is not None or not is_missing(self.rows["pool"].iloc[0])

    @property
    def trainer(self) -> str | None:
        """The training by another program that the networks come from; None for ours."""
        name = self.rows["trainer"].iloc[0] if "trainer" in self.rows else None
        return None if is_missing(name) else str(name)

    @cached_property
    def own_couplings(self) -> list[str]:
        """The couplings of this comparison, random first; ``couplings`` are those of the report."""
        return ordered(self.rows["coupling"])

    @cached_property
    def seeds(self) -> dict[str, list[int]]:
        """Coupling to its seeds."""
        pairs = self.rows[["coupling", "seed"]].drop_duplicates()
        found = {}
        for coupling in self.own_couplings:
            seeds = pairs["seed"][pairs["coupling"].eq(coupling)]
            found[coupling] = sorted(map(int, seeds))
        return found

    @cached_property
    def plain(self) -> Group:
        """The same without guidance and other starts; the group itself if nothing else is in it."""
        rows = ordinary(self.rows, self.metrics)
        return replace(self, rows=rows) if len(rows) else self

    @cached_property
    def best(self) -> pd.DataFrame:
        """The best schedule of each run, setting and NFE."""
        return best_schedules(self.rows)

    @cached_property
    def _measured(self) -> list[Panel]:
        """Its metrics, without claims."""
        return panels(self.rows, self.metrics, self.best, self.sizes)

    @cached_property
    def panels(self) -> list[Panel]:
        """Its metrics; see ``reports.tables.panels.panels`` and ``reports.tables.primary``."""
        return decided(self._measured, self.question)

    @property
    def declared(self) -> list[str]:
        """The primary questions that its runs declare, ``METRIC@NFE``."""
        return sorted({str(one) for one in self.rows.get(PRIMARY, ()) if not is_missing(one)})

    @cached_property
    def question(self) -> Question | None:
        """The primary question; None if the runs declare several, or nothing can be asked."""
        return question(self._measured, self.declared)

    @property
    def values(self) -> list[Panel]:
        """Its metrics with one value per run."""
        return [panel for panel in self.panels if not panel.per_nfe]

    @property
    def curves(self) -> list[Panel]:
        """Its metrics over NFE."""
        return [panel for panel in self.panels if panel.per_nfe]

    @property
    def profiles(self) -> list[Panel]:
        """Its metrics over sigma."""
        return profiles(self.rows, self.metrics)

    @property
    def first_judged(self) -> Panel | None:
        """The first distance to the test split; see ``reports.tables.primary.first_judged``."""
        return first_judged(self.panels)

    @cached_property
    def cost_cut(self) -> dict[str, float]:
        """Share of the independent transport cost that each coupling saves, mean over seeds."""
        return {arm: cell.mean for arm, cell in cost_cuts(self.rows).items()}


def groups(table: pd.DataFrame, runs: Sequence[Run] = ()) -> list[Group]:
    """The table as comparisons: runs that are equal in all but arm and seed, and if marked as mixed
    in budget.

    Args:
        table: tidy results.
        runs: the runs that they are of; their files describe metrics, sizes and pictures.

    """
    if table.empty:
        return []
    metrics = collect([run.infos for run in runs], table["metric"].unique())
    varying = _varying(table)
    sizes = feature_sizes(runs)
    by_id = {run.run_id: run for run in runs}
    # dropna=False below: networks from files have no pool, and still are a comparison.
    by = [_unless_mixed(table) if key == BUDGET else table[key] for key in group_keys(table)]
    # sort=False keeps the order of the table, in which missing values come first; pandas would
    # put them last.
    parts = [with_arms(part) for _, part in table.groupby(by, sort=False, dropna=False)]
    # Of the whole report, so that an arm looks the same in all of its comparisons.
    arms: set[str] = set()
    for part in parts:
        arms.update(part["coupling"])
    couplings = ordered(arms)
    found = []
    for number, part in enumerate(parts, 1):
        ids = [run_id for run_id in part["run_id"].unique() if run_id in by_id]
        # Runs of one comparison use the same features, or were refused.
        own_sizes: dict[str, int] = {}
        for run_id in ids:
            own_sizes |= sizes.get(run_id, {})
        members = _members(part, [by_id[run_id] for run_id in ids])
        title = _title(part, varying[part["data"].iloc[0]])
        group = Group(title, part, metrics, own_sizes, members, couplings, f"g{number}")
        found.append(group)
    return found


def _members(rows: pd.DataFrame, runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs with their arms for couplings."""
    arms = dict(zip(rows["run_id"], rows["coupling"], strict=True))
    return tuple(
        replace(run, config={**run.config, "coupling": str(arms[run.run_id])}) for run in runs
    )


def group_keys(table: pd.DataFrame) -> list[str]:
    """Columns whose values make groups."""
    # Networks from files are arms of one comparison, whatever their hashes.
    own = {*COLUMNS, *FIELDS, MIXED, "checkpoint"}
    # The provenance makes no groups: whether it may differ, ``reports.tables.comparable`` says.
    names = [name for name in table.columns if name not in own and not is_origin(name)]
    return ["data", "pool", *names]


def _varying(table: pd.DataFrame) -> dict[str, list[str]]:
    """Data set to the columns in which its groups differ, other than data and pool."""
    found = {}
    for data, rows in table.groupby("data", sort=False):
        trained = rows[rows["pool"].notna()]
        names = []
        arms = [name for name in FIELDS if name in table]
        for name in [*group_keys(table)[2:], *arms]:
            # A network from a file has no training, which is no difference in it.
            some = trained if name.startswith(OF_TRAINING) else rows
            # An empty cell counts: a run with the setting and one without it do differ.
            if some[name].nunique(dropna=False) > 1:
                names.append(name)
        found[data] = names
    return found


def _title(rows: pd.DataFrame, varying: Sequence[str]) -> str:
    """Data, pool, and the values of the columns in which groups of this data set differ."""
    data = rows["data"].iloc[0]
    # Runs of one comparison have one source: it is part of their configuration.
    source = rows[SOURCE].iloc[0] if SOURCE in rows else GAUSSIAN
    parts = [data if is_missing(source) or source == GAUSSIAN else f"{data} from {source}"]
    pool = rows["pool"].iloc[0]
    if not is_missing(pool):
        parts.append(f"pool {pool}")
    for name in varying:
        if name == SOURCE:
            continue  # said with the data
        # Where they differ within the comparison, arms are named by them.
        if name in FIELDS and rows[name].nunique(dropna=False) > 1:
            continue
        if rows[name].notna().any() or not name.startswith(OF_TRAINING):
            parts.append(_values(name, rows[name].unique()))
    return ", ".join(parts)


def _values(name: str, values: Sequence[object]) -> str:
    words = " and ".join(setting(name, value) for value in values)
    return words.replace(f" and {name} ", " and ")


def _unless_mixed(table: pd.DataFrame) -> pd.Series:
    """The budget, empty where unequal ones are to be compared."""
    if MIXED not in table:
        return table[BUDGET]
    # Not as a regular expression, in which the dot of the name stands for any character.
    mixed = table[MIXED].str.contains(BUDGET, regex=False).fillna(False)
    return table[BUDGET].mask(mixed.astype(bool))

"""What must be equal before arms are compared, and is not: refused, or marked where that is asked
for.

Runs that differ in a field of their configuration make groups of their own
(``reports.tables.groups.groups``), which are never compared. Refused is what such groups do not
show:

- in one group the data, the law of the classes that were asked for, the features under one name,
  or, with pools coupled by each process, the number of processes;
- a measurement of which the arms of one group have no number of images in common;
- budgets: groups that are equal in all but ``training.images`` of which not all have a random arm,
  though no coupling and seed was trained twice. Where each budget has its own random arm they are
  comparisons of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.tables.groups import BUDGET, MIXED, Group, counts_images, groups
from reports.tables.runs import ReportError, Run
from reports.tables.statistics import BASELINE

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 3  # runs, of each value
_PLACE = ["metric", "split", "sampler", "start", "guidance", "nfe", "sigma"]


class NotComparable(ReportError):
    """Runs that would be compared must not be; the message names them."""


@dataclass(frozen=True)
class Mismatch:
    """Something that differs within one comparison.

    Attributes:
        where: title of the group.
        what: what differs, ``data_checksum``.
        runs: each value, as text, to the runs that have it.
        rows: index labels of the rows of the table that rest on it.

    """

    where: str
    what: str
    runs: dict[str, list[str]]
    rows: pd.Index

    def __str__(self) -> str:
        values = "; ".join(f"{value}: {_names(runs)}" for value, runs in self.runs.items())
        return f"{self.where}: {self.what} differs ({values})"


def refuse(found: Sequence[Mismatch]) -> None:
    """Raises NotComparable where there is a mismatch, with one line that names the runs."""
    if found:
        more = f" (and {len(found) - 1} more such differences)" if len(found) > 1 else ""
        raise NotComparable(
            f"not comparable: {found[0]}{more}: report on what belongs together, or give --mixed,"
            " which marks it"
        )


def mark(table: pd.DataFrame, found: Sequence[Mismatch]) -> pd.DataFrame:
    """The table with a column ``mixed`` that names what a row has not in common with what it is
    compared with.
    """
    if not found:
        return table
    mixed = table["metric"].map(lambda _: "")
    for mismatch in found:
        before = mixed[mismatch.rows]
        mixed[mismatch.rows] = before.where(before.eq(""), before + ", ") + mismatch.what
    return table.assign(**{MIXED: mixed.mask(mixed.eq("")).astype("string")})


def mismatches(table: pd.DataFrame, runs: Sequence[Run]) -> list[Mismatch]:
    """All that must not be compared but would be, in the order of the groups."""
    by_id = {run.run_id: run for run in runs}
    found, cut = [], groups(table)
    for group in cut:
        members = [by_id[name] for name in group.rows["run_id"].unique()]
        found += [
            *_data(group, members),
            *_features(group, members),
            *_processes(group, members),
            *_images(group),
        ]
        found += _differing(group, "class_law", _by_value(members, "class_law"), group.rows.index)
    return found + _budgets(table, cut)


def _data(group: Group, members: Sequence[Run]) -> list[Mismatch]:
    return _differing(group, "data_checksum", _by_value(members, "data_checksum"), group.rows.index)


def _features(group: Group, members: Sequence[Run]) -> list[Mismatch]:
    """Features of one name that are not the same network; a run that was not measured in them is no
    difference.
    """
    found = []
    for field in sorted(
        {name for run in members for name in run.provenance if name.startswith("features.")}
    ):
        name = field.removeprefix("features.")
        endings = (f"_{name}", "fid") if name == "inception" else f"_{name}"
        rows = group.rows[
            group.rows["metric"].map(lambda metric, ends=endings: metric.endswith(ends))
        ]
        there = [
            run for run in members if field in run.provenance and run.run_id in set(rows["run_id"])
        ]
        found += _differing(group, field, _by_value(there, field), rows.index)
    return found


def _processes(group: Group, members: Sequence[Run]) -> list[Mismatch]:
    """Each process couples a pool of its own, so more of them with the same pool see other pairs."""
    by_rank = [run for run in members if run.config.get("training.pool_scope") == "rank"]
    known = [run for run in by_rank if "processes" in run.provenance]
    return _differing(group, "processes", _by_value(known, "processes"), group.rows.index)


def _images(group: Group) -> list[Mismatch]:
    """Measurements of which the arms have no number of images in common; one line a metric."""
    # How many images are held out from a discriminator depends on the seed that splits them.
    held_out = group.rows["metric"].str.startswith("dg_")
    rows = group.rows[counts_images(group.rows) & group.rows["n"].notna() & ~held_out]
    several = rows.groupby(_PLACE, sort=False, dropna=False)["n"].transform("nunique").gt(1)
    found: dict[str, Mismatch] = {}
    for _, part in rows[several].groupby(_PLACE, sort=False, dropna=False):
        own = part.groupby("run_id", sort=False)["n"].agg(frozenset)
        if frozenset.intersection(*own):
            continue
        metric = str(part["metric"].iloc[0])
        by_n: dict[str, list[str]] = {}
        for run_id, counts in own.items():
            by_n.setdefault(" and ".join(f"{n:,} images" for n in sorted(counts)), []).append(
                run_id
            )
        index = part.index.union(found[metric].rows) if metric in found else part.index
        found[metric] = Mismatch(group.title, f"n of {metric}", by_n, index)
    return list(found.values())


def _budgets(table: pd.DataFrame, cut: Sequence[Group]) -> list[Mismatch]:
    if BUDGET not in table:
        return []
    families: dict[tuple, list[Group]] = {}
    for group in cut:
        first = group.rows.iloc[0]
        families.setdefault(
            tuple(str(first[key]) for key in group.keys if key != BUDGET), []
        ).append(group)
    return [_unequal(family) for family in families.values() if _is_one_comparison(family)]


def _is_one_comparison(family: Sequence[Group]) -> bool:
    arms = [(arm, seed) for group in family for arm, seeds in group.seeds.items() for seed in seeds]
    with_random = sum(BASELINE in group.arms for group in family)
    return 0 < with_random < len(family) and len(set(arms)) == len(arms)


def _unequal(family: Sequence[Group]) -> Mismatch:
    runs = {
        f"{group.rows[BUDGET].iloc[0]:,} images": sorted(group.rows["run_id"].unique())
        for group in family
    }
    index = family[0].rows.index
    for group in family[1:]:
        index = index.union(group.rows.index)
    return Mismatch(family[0].title, BUDGET, runs, index)


def _differing(
    group: Group, what: str, runs: dict[str, list[str]], rows: pd.Index
) -> list[Mismatch]:
    return [Mismatch(group.title, what, runs, rows)] if len(runs) > 1 else []


def _by_value(members: Iterable[Run], field: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in members:
        found.setdefault(str(run.provenance.get(field)), []).append(run.run_id)
    return found


def _names(runs: Sequence[str]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return ", ".join(runs[:_NAMED]) + more

"""Checks that runs are comparable: mismatches are refused, or marked if the user asks for that.

Runs that differ in a field of their configuration make separate groups
(``reports.tables.groups.groups``), which are never compared. Refused are mismatches that such
groups do not show:

- within one group: other data, another law of the classes that were asked for, other features under
  one name, or, with pools coupled by each process, another number of processes;
- a measurement for which the couplings of one group have no number of images in common;
- budgets: groups that are equal in all but ``training.images``, if not all of them have random
  pairing and no coupling and seed was trained twice. If each budget has random pairing, they are
  separate comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.tables.arms import is_baseline
from reports.tables.groups import BUDGET, Group, groups
from reports.tables.panels import MIXED, counts_images
from reports.tables.runs import ReportError, Run
from reports.tables.select import is_per_run
from reports.text import STRINGS

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 3  # runs that a message names for each value
# Fields that must be equal before two measurements are compared
_PLACE = ["metric", "split", "sampler", "start", "guidance", "nfe", "sigma"]


class NotComparable(ReportError):
    """Runs that would be compared are not comparable; the message names them."""


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
    """Raise NotComparable if there is a mismatch, with one line that names the runs."""
    if found:
        more = f" (and {len(found) - 1} more such differences)" if len(found) > 1 else ""
        # Every machine trains its own classifier, unless it finds one.
        advice = ""
        if any(mismatch.what == "features.classifier" for mismatch in found):
            advice = (
                " (copy .cache/classifier-* of one machine's runs to the others before they"
                " measure, and all use its features)"
            )
        raise NotComparable(
            f"not comparable: {found[0]}{more}: report on comparable runs only{advice}, or mark the"
            " others with --mixed"
        )


def mark(table: pd.DataFrame, found: Sequence[Mismatch]) -> pd.DataFrame:
    """The table with a column ``mixed`` that names in what a row differs from those it is compared
    with.
    """
    if not found:
        return table
    mixed = table["metric"].map(lambda _: "")
    for mismatch in found:
        before = mixed[mismatch.rows]
        mixed[mismatch.rows] = before.where(before.eq(""), before + ", ") + mismatch.what
    # Missing and not "", which would count as a mark of its own.
    return table.assign(**{MIXED: mixed.mask(mixed.eq("")).astype(STRINGS)})


def mismatches(table: pd.DataFrame, runs: Sequence[Run]) -> list[Mismatch]:
    """All that must not be compared but would be, in the order of the groups."""
    found = []
    cut = groups(table, runs)
    for group in cut:
        found += _of_all_rows(group, "data_checksum")
        found += _features(group)
        found += _processes(group)
        found += _images(group)
        found += _of_all_rows(group, "class_law")
    return found + _budgets(table, cut)


def _of_all_rows(group: Group, field: str) -> list[Mismatch]:
    """A field of the provenance on which all rows rest."""
    return _differing(group, field, _by_value(group.runs, field), group.rows.index)


def _features(group: Group) -> list[Mismatch]:
    """Features of one name that are not the same network; a run that was not measured in them is no
    difference.
    """
    fields: set[str] = set()
    for run in group.runs:
        fields.update(name for name in run.provenance if name.startswith("features."))
    found = []
    for field in sorted(fields):
        name = field.removeprefix("features.")
        # FID is the one distance whose name does not end with that of its features.
        endings = (f"_{name}", "fid") if name == "inception" else (f"_{name}",)
        rows = group.rows[group.rows["metric"].str.endswith(endings)]
        measured = set(rows["run_id"])
        runs = [run for run in group.runs if field in run.provenance and run.run_id in measured]
        found += _differing(group, field, _by_value(runs, field), rows.index)
    return found


def _processes(group: Group) -> list[Mismatch]:
    """Numbers of processes, if each couples its own pool: then more of them see other pairs."""
    by_rank = [run for run in group.runs if run.config.get("training.pool_scope") == "rank"]
    known = [run for run in by_rank if "processes" in run.provenance]
    return _differing(group, "processes", _by_value(known, "processes"), group.rows.index)


def _images(group: Group) -> list[Mismatch]:
    """Measurements for which the couplings have no number of images in common; one for each
    metric.
    """
    # The number of images held out from a discriminator depends on the seed that splits them.
    of_guidance = group.rows["metric"].isin(group.metrics.of_kind("guidance"))
    held_out = of_guidance & is_per_run(group.rows, group.metrics)
    counted = counts_images(group.rows, group.metrics) & group.rows["n"].notna()
    rows = group.rows[counted & ~held_out]
    # First those with several numbers at all: grouping every place of 500 runs takes long.
    # dropna=False, because pandas otherwise leaves out rows with an empty key, such as those
    # without a split.
    several = rows.groupby(_PLACE, sort=False, dropna=False)["n"].transform("nunique").gt(1)
    found: dict[str, Mismatch] = {}
    for _, part in rows[several].groupby(_PLACE, sort=False, dropna=False):
        numbers = part.groupby("run_id", sort=False)["n"].agg(frozenset)
        # One number that all have is enough; the report compares equal numbers only.
        if frozenset.intersection(*numbers):
            continue
        metric = str(part["metric"].iloc[0])
        index = part.index.union(found[metric].rows) if metric in found else part.index
        found[metric] = Mismatch(group.title, f"n of {metric}", _by_number(numbers), index)
    return list(found.values())


def _by_number(numbers: pd.Series) -> dict[str, list[str]]:
    """Numbers of images, as text, to the runs that have them."""
    runs: dict[str, list[str]] = {}
    for run_id, counts in numbers.items():
        text = " and ".join(f"{n:,} images" for n in sorted(counts))
        runs.setdefault(text, []).append(run_id)
    return runs


def _budgets(table: pd.DataFrame, cut: Sequence[Group]) -> list[Mismatch]:
    if BUDGET not in table:
        return []
    families: dict[tuple, list[Group]] = {}
    for group in cut:
        first = group.rows.iloc[0]
        # As text: nan is not equal to itself, so each group without a value would be a family.
        others = tuple(str(first[key]) for key in group.keys if key != BUDGET)
        families.setdefault(others, []).append(group)
    return [_unequal(family) for family in families.values() if _is_one_comparison(family)]


def _is_one_comparison(family: Sequence[Group]) -> bool:
    """True if groups of different budgets look like one comparison by mistake."""
    # Unequal budgets are a mistake if only some of them have random pairing. If one coupling and
    # seed was trained at two budgets, the budget is what the study varies.
    trained = []
    for group in family:
        for arm, seeds in group.seeds.items():
            trained += [(arm, seed) for seed in seeds]
    with_random = sum(any(map(is_baseline, group.own_couplings)) for group in family)
    return 0 < with_random < len(family) and len(set(trained)) == len(trained)


def _unequal(family: Sequence[Group]) -> Mismatch:
    runs = {}
    index = family[0].rows.index
    for group in family:
        budget = f"{group.rows[BUDGET].iloc[0]:,} images"
        runs[budget] = sorted(group.rows["run_id"].unique())
        index = index.union(group.rows.index)
    return Mismatch(family[0].title, BUDGET, runs, index)


def _differing(
    group: Group, what: str, runs: dict[str, list[str]], rows: pd.Index
) -> list[Mismatch]:
    return [Mismatch(group.title, what, runs, rows)] if len(runs) > 1 else []


def _by_value(members: Iterable[Run], field: str) -> dict[str, list[str]]:
    """Each value of a field of the provenance, as text, to the runs that have it."""
    runs: dict[str, list[str]] = {}
    for run in members:
        # What a table lacks was said when it was read.
        if run.from_csv and field not in run.provenance:
            continue
        # A run that lacks the field counts as different: nobody knows whether it is equal.
        runs.setdefault(str(run.provenance.get(field)), []).append(run.run_id)
    return runs


def _names(runs: Sequence[str]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return ", ".join(runs[:_NAMED]) + more

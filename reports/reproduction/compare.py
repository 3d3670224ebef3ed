"""Our means against published ones: difference, standard error, limit and verdict of every cell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.reproduction.records import Value
from reports.reproduction.table import Key, Published, Ratio, Table

LEVEL = 0.95
ROUNDING = 1e-12  # relative, of values that differ in nothing else
AGREES = "agrees"
DIFFERS = "differs"
NO_VERDICT = "no verdict"  # one seed has no deviation
NOT_RUN = "not run"
OURS_ONLY = "ours only"


@dataclass(frozen=True)
class Row:
    """One cell of a comparison. Numbers that do not apply are None.

    Attributes:
        task: of the cell.
        arm: of the cell.
        metric: as the published table names it.
        ours: mean over our seeds.
        our_sd: sample standard deviation over them.
        our_seeds: number of them.
        published: mean.
        published_sd: sample standard deviation.
        published_seeds: number of seeds.
        difference: ours minus published.
        standard_error: of the difference, of independent seeds.
        limit: the largest difference that counts as agreement.
        verdict: agrees, differs, no verdict, not run or ours only.

    """

    task: str
    arm: str
    metric: str
    ours: float | None
    our_sd: float | None
    our_seeds: int
    published: float | None
    published_sd: float | None
    published_seeds: int | None
    difference: float | None
    standard_error: float | None
    limit: float | None
    verdict: str

    @property
    def key(self) -> Key:
        """The cell."""
        return Key(self.task, self.arm, self.metric)


@dataclass(frozen=True)
class RatioRow:
    """A ratio of two arms' means in one task; None where an arm was not run."""

    task: str
    ratio: Ratio
    ours: float | None
    published: float | None

    @property
    def verdict(self) -> str:
        """True to the published statement, or not."""
        if self.ours is None:
            return NOT_RUN
        return "holds" if self.ours >= self.ratio.at_least else "fails"


def compare(table: Table, values: Iterable[Value]) -> list[Row]:
    """All cells of a table, in its order."""
    by_key = _by_key(values)
    return [_row(table, key, by_key.get(key, [])) for key in table.cells]


def ratios(table: Table, values: Iterable[Value]) -> list[RatioRow]:
    """The statements of a table, for every task that has both arms."""
    by_key = _by_key(values)
    means = {key: statistics.fmean(found) for key, found in by_key.items()}
    published = {key: cell.mean for key, cell in table.cells.items()}
    rows: list[RatioRow] = []
    for statement in table.ratios:
        for task in table.tasks:
            of = Key(task, statement.of, statement.metric)
            to = Key(task, statement.to, statement.metric)
            # An arm may not fit a task: then the publication says nothing either.
            if of in table.cells and to in table.cells:
                ours = _quotient(means.get(of), means.get(to))
                theirs = _quotient(published[of], published[to])
                rows.append(RatioRow(task, statement, ours, theirs))
    return rows


def _by_key(values: Iterable[Value]) -> dict[Key, list[float]]:
    by_key: dict[Key, list[float]] = {}
    for value in values:
        by_key.setdefault(value.key, []).append(value.value)
    return by_key


def _spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None of fewer than two values."""
    if len(values) < 2:
        return None
    sd = statistics.stdev(values)
    # A floor is one number for all seeds, which solvers of two versions round differently.
    return 0.0 if sd <= ROUNDING * abs(statistics.fmean(values)) else sd


def _row(table: Table, key: Key, ours: Sequence[float]) -> Row:
    cell = table.cells[key]
    mean = statistics.fmean(ours) if ours else None
    sd = _spread(ours)
    # Ours minus theirs: positive where our distances are larger.
    difference = None
    if mean is not None and cell.mean is not None:
        difference = mean - cell.mean
    error = _standard_error(sd, len(ours), cell, table.seeds)
    limit = _limit(error, len(ours), cell, table)
    return Row(
        *key,
        ours=mean,
        our_sd=sd,
        our_seeds=len(ours),
        published=cell.mean,
        published_sd=cell.sd,
        published_seeds=table.seeds if cell.mean is not None else None,
        difference=difference,
        standard_error=error,
        limit=limit,
        verdict=_verdict(mean, cell, difference, limit),
    )


def _standard_error(
    sd: float | None, count: int, cell: Published, published_count: int | None
) -> float | None:
    if sd is None or cell.sd is None or published_count is None:
        return None
    # Theirs and ours are independent, whatever the seeds are called: variances add.
    return math.sqrt(sd**2 / count + cell.sd**2 / published_count)


def _limit(error: float | None, count: int, cell: Published, table: Table) -> float | None:
    """The t quantile times the standard error, or the tolerance.

    The quantile has n + m - 2 degrees of freedom. Welch's number of them is lower where deviations
    differ; it would widen the limit, and so call more cells reproduced.
    """
    # A table of single numbers has no deviations to test with.
    if table.tolerance is not None:
        return None if cell.mean is None else table.tolerance * abs(cell.mean)
    if error is None or table.seeds is None:
        return None
    # scipy.stats has the same quantile but takes seconds to import.
    from scipy.special import stdtrit

    return float(stdtrit(count + table.seeds - 2, (1 + LEVEL) / 2) * error)


def _verdict(
    mean: float | None, cell: Published, difference: float | None, limit: float | None
) -> str:
    if mean is None:
        return NOT_RUN
    if cell.mean is None:
        return OURS_ONLY
    if limit is None or difference is None:
        return NO_VERDICT
    # Written so that a mean that is not finite differs.
    return AGREES if abs(difference) <= limit else DIFFERS


def _quotient(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None

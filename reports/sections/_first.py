"""The run of each coupling that pictures and points are taken from."""

from __future__ import annotations

from collections.abc import Sequence

from reports.tables.arms import ordered
from reports.tables.runs import Run


def first_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """Coupling to its run with the smallest seed, random first."""
    # The smallest seed, because a picture that someone chose would be one of the best.
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: int(run.config["seed"])):
        first.setdefault(str(run.config["coupling"]), run)
    return {coupling: first[coupling] for coupling in ordered(first)}

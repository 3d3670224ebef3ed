"""Measures several runs, one after the other, and again where their seeds share a choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.cli import survive
from bench.evaluation.shared_choice import Member, Work, share
from bench.process.ranks import Ranks
from bench.record.best_schedule import SharedChoice

Measure = Callable[[Member, SharedChoice | None], int]
"""Measures one run, at a shared choice if there is one; returns the number of new rows."""


def measure_all(members: Sequence[Member], measure: Measure, ranks: Ranks) -> int:
    """Measure runs, then again those whose seeds choose other schedules together.

    A run that fails is one line on stderr, and the next one begins.

    Returns:
        The number of failures; as many as there are runs if none was measured.

    Raises:
        ConfigError: the first run failed by what all of them have in common.

    """
    failed = 0
    for number, member in enumerate(members, 1):
        if ranks.first:
            print(f"[{number}/{len(members)}] {member.config.run_id}", flush=True)
        try:
            added = measure(member, None)
            if ranks.first:
                print(f"Added {added:,} row{'s' * (added != 1)}.", flush=True)
        # An unexpected error of one run must not stop the others.
        except Exception as error:  # noqa: BLE001 - see above
            survive(error, number, member.folder, ranks)
            failed += 1
    # Seeds of which none was measured have nothing to choose by.
    if failed < len(members):
        failed += _share_schedules(members, measure, ranks)
    return failed


def _share_schedules(members: Sequence[Member], measure: Measure, ranks: Ranks) -> int:
    """Measure runs again at the schedules that the seeds of their coupling choose together; the
    number of those that failed.
    """
    failed = 0

    def again(work: Work) -> bool:
        nonlocal failed
        before = failed
        for number, (member, shared) in enumerate(work, 1):
            try:
                measure(member, shared)
            # The run stays finished, at its earlier choice.
            except Exception as error:  # noqa: BLE001 - see measure_all
                survive(error, number, member.folder, ranks)
                failed += 1
        return failed == before

    share(members, again, ranks)
    return failed

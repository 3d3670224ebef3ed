"""The example of the docstring: pools of 6 pairs, batches of 4."""

import pytest
import torch

from bench.pairs.cursor import PoolCursor
from bench.pairs.pool import Coupled, Pairs

POOL, BATCH = 6, 4


def coupled(number):
    """Pool ``number``, whose pairs are numbered through, and the state that is left after it."""
    images = torch.arange(number * POOL, (number + 1) * POOL)
    state = {"after": torch.tensor(number)}
    return Coupled(Pairs(images, images, images), {"pool": number}, images, state)


def run(cursor, steps):
    """Take batches; their pairs, and the pools that were counted with each."""
    taken, counted = [], []
    for _ in range(steps):
        while cursor.needs_pool:
            cursor.add(coupled(cursor.number))
        batch, reports = cursor.take()
        taken.append(batch.images.tolist())
        counted.append([report["pool"] for report, _ in reports])
    return taken, counted


@pytest.mark.parametrize(("step", "number", "skip"), [(0, 0, 0), (1, 0, 4), (2, 1, 2), (3, 2, 0)])
def test_the_place_is_found_by_the_step(step, number, skip):
    cursor = PoolCursor(step, BATCH, POOL)
    assert (cursor.number, cursor.skip) == (number, skip)


@pytest.mark.parametrize("stop", range(6))
def test_a_resumed_run_takes_the_same_pairs_and_counts_each_pool_once(stop):
    whole, counted = run(PoolCursor(0, BATCH, POOL), 6)
    assert sum(whole, []) == list(range(6 * BATCH))
    before, counted_before = run(PoolCursor(0, BATCH, POOL), stop)
    after, counted_after = run(PoolCursor(stop, BATCH, POOL), 6 - stop)
    assert before + after == whole
    assert counted_before + counted_after == counted
    assert sum(counted, []) == [0, 1, 2, 3]


@pytest.mark.parametrize(("step", "after"), [(1, None), (2, 0), (3, 1), (4, 1), (5, 2), (6, 3)])
def test_the_state_is_that_before_the_pool_which_is_coupled_again(step, after):
    cursor = PoolCursor(0, BATCH, POOL)
    run(cursor, step)
    if after is None:
        assert cursor.state is None
    else:
        assert cursor.state["after"] == after
    # A run that resumes couples this pool next.
    assert PoolCursor(step, BATCH, POOL).number == (0 if after is None else after + 1)

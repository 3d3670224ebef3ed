"""Draws of the rows of a pool, from small and from large data sets."""

import torch
from scipy.stats import kstest

from bench.data import Split
from bench.pairs.pool import MOST_PERMUTED, draw_pool


def numbered(count):
    """A split whose images hold their own row numbers, as float32 exact up to 2^24."""
    images = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1)
    return Split(images, torch.zeros(count, dtype=torch.int64))


LARGE = numbered(2 * MOST_PERMUTED)


def test_a_pool_of_a_large_data_set_draws_no_row_twice_and_is_the_same_again():
    for n in (1, 1024, len(LARGE) // 8):
        drawn = draw_pool(LARGE, n, seed=0, rank=0, number=0)
        assert len(drawn.rows) == n == len(drawn.rows.unique())
        assert torch.equal(drawn.pairs.images.flatten().long(), drawn.rows)
        again = draw_pool(LARGE, n, seed=0, rank=0, number=0)
        assert torch.equal(again.rows, drawn.rows)
        assert torch.equal(again.pairs.noise, drawn.pairs.noise)


def test_rows_of_a_large_data_set_are_uniform_in_every_part_of_a_pool():
    pools = [draw_pool(LARGE, 1024, seed=1, rank=0, number=i).rows for i in range(20)]
    rows = torch.stack(pools).double() / len(LARGE)
    for part in (rows[:, :512], rows[:, 512:], rows[:, :64], rows[:10], rows[10:]):
        assert kstest(part.flatten().numpy(), "uniform").pvalue > 1e-3


def test_large_pools_of_a_large_data_set_draw_every_row_before_any_twice():
    drawn = draw_pool(LARGE, len(LARGE), seed=0, rank=0, number=0)
    assert len(drawn.rows.unique()) == len(LARGE)

import itertools
import math
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare, kstest

from couplings import CouplingError, Pool
from couplings.plan import LogPlan, draw, entropy, gumbel, marginal_error, pairing_from_plan


def doubly_stochastic(n: int, seed: int = 0) -> torch.Tensor:
    plan = torch.rand(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).pow(
        4
    )
    for _ in range(500):
        plan = plan / plan.sum(0)
        plan = plan / plan.sum(1, keepdim=True)
    return plan / n


def test_entropy_of_known_plans():
    n = 8
    assert entropy(torch.full((n, n), -2 * math.log(n), dtype=torch.float64)) == pytest.approx(1)
    assert entropy(torch.eye(n, dtype=torch.float64).div(n).log()) == pytest.approx(0)
    blocks = torch.block_diag(*[torch.ones(2, 2, dtype=torch.float64)] * 4) / (2 * n)
    assert entropy(blocks.log()) == pytest.approx(math.log(2) / math.log(n))


def test_marginal_error_is_the_worse_l1_error():
    plan = torch.tensor([[0.5, 0.25], [0.25, 0.0]], dtype=torch.float64)
    assert marginal_error(plan.log()) == pytest.approx(0.5)
    assert marginal_error(doubly_stochastic(6).log()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("replace", [False, True])
def test_a_permutation_plan_is_drawn_as_it_is(seeded, replace):
    order = torch.randperm(20, generator=seeded(0))
    plan = torch.zeros(20, 20, dtype=torch.float64)
    plan[torch.arange(20), order] = 1 / 20
    assert torch.equal(draw(plan.log(), None, replace), order)
    assert torch.equal(draw(plan.clamp_min(1e-300).log(), seeded(1), replace), order)


def test_a_plan_by_potentials_is_that_plan(seeded):
    plan = doubly_stochastic(12).log()
    f, g = (torch.randn(12, dtype=torch.float64, generator=seeded(seed)) for seed in (0, 1))
    by_potentials = LogPlan(f, g, f[:, None] + g - plan)
    assert entropy(by_potentials) == pytest.approx(entropy(plan))
    assert marginal_error(by_potentials) == pytest.approx(marginal_error(plan), abs=1e-12)
    for replace in (False, True):
        assert torch.equal(draw(by_potentials, seeded(2), replace), draw(plan, seeded(2), replace))


def test_gumbel_noise_does_not_depend_on_the_rows_drawn_at_a_time(seeded):
    like = torch.empty(6, 33)
    generator = seeded(0)
    parts = torch.cat(
        [gumbel(like[:1], generator), gumbel(like[1:4], generator), gumbel(like[4:], generator)]
    )
    assert torch.equal(gumbel(like, seeded(0)), parts)
    many = gumbel(torch.empty(200, 500), seeded(1))
    assert kstest(many.flatten().numpy(), "gumbel_r").pvalue > 1e-3


def test_a_uniform_plan_gives_uniform_permutations(seeded):
    generator = seeded(0)
    plan = torch.full((3, 3), -math.log(9), dtype=torch.float64)
    counts = Counter(tuple(draw(plan, generator, False).tolist()) for _ in range(3000))
    assert set(counts) == set(itertools.permutations(range(3)))
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_replacement_follows_each_row(seeded):
    generator = seeded(0)
    plan = doubly_stochastic(4)
    draws = torch.stack([draw(plan.log(), generator, True) for _ in range(4000)])  # [4000, 4]
    for row in range(4):
        counts = draws[:, row].bincount(minlength=4)
        assert chisquare(counts.numpy(), (plan[row] / plan[row].sum() * 4000).numpy()).pvalue > 1e-3


def test_permutations_come_close_to_the_rows(seeded):
    """The documented law: within a fifth of the likely cells, and every draw a permutation."""
    generator = seeded(0)
    plan = doubly_stochastic(16) * 16
    frequency = torch.zeros(16, 16, dtype=torch.float64)
    for _ in range(1500):
        index = draw((plan / 16).log(), generator, False)
        assert len(index.unique()) == 16
        frequency[torch.arange(16), index] += 1 / 1500
    assert (frequency - plan).abs().max() < 0.12
    likely = plan > 0.3
    assert 1 <= float(frequency[likely].sum() / plan[likely].sum()) < 1.2


def test_lost_mass_is_refused(seeded):
    plan = torch.full((3, 3), 1 / 9, dtype=torch.float64)
    plan[1] = 0
    pool = Pool(torch.zeros(3, 1), torch.zeros(3, 1), generator=seeded(0))
    with pytest.raises(CouplingError, match="lost the mass"):
        pairing_from_plan(plan.log(), pool, replace=False)
    # Rows 1 and 2 share a column
    narrow = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.float64) / 5
    with pytest.raises(CouplingError, match="does not hold a permutation"):
        draw(narrow.log(), seeded(0), False)


def test_a_soft_plan_needs_a_generator():
    with pytest.raises(CouplingError, match="generator"):
        draw(doubly_stochastic(3).log(), None, False)

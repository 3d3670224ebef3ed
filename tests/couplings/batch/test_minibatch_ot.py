import pytest
import torch

from couplings import CouplingError, Pool, get


def test_a_large_pool_reaches_the_optimum_or_is_refused(pool):
    """POT ends above the optimum, with only a warning, where its pivots are too few."""
    images, noise = pool(2048, (16,))
    optimum = get("lapjv").pair(images, noise).report["cost_after"]
    found = get("minibatch-ot").pair(images, noise).report["cost_after"]
    assert found == pytest.approx(optimum, rel=1e-6)
    flat = Pool(images, noise)
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(CouplingError, match="stopped early"),
    ):
        get("minibatch-ot").solve_within(flat, max_pivots=1000)


def test_the_plan_is_a_permutation_with_or_without_replacement(pool):
    images, noise = pool(50)
    pairing = get("minibatch-ot").pair(images, noise)
    assert pairing.report["entropy"] == pytest.approx(0, abs=1e-9)
    assert pairing.report["duplicates"] == 0
    assert torch.equal(get("minibatch-ot:replace=true").pair(images, noise).index, pairing.index)

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from couplings import CouplingError, get
from couplings.batch.partial import partial_assignment
from couplings.plan import import_pot


@pytest.mark.parametrize("pairs", [1, 7, 29, 30])
def test_pots_partial_plan(pool, pairs):
    n = 30
    images, noise = (x.flatten(1).double().numpy() for x in pool(n))
    cost = cdist(images, noise, "sqeuclidean")
    index = partial_assignment(cost, pairs)
    paired = index >= 0
    assert paired.sum() == len(set(index[paired])) == pairs
    uniform = np.full(n, 1 / n)
    plan = import_pot().partial.partial_wasserstein(uniform, uniform, cost / 100, m=pairs / n)
    assert cost[paired, index[paired]].sum() / n == pytest.approx((plan * cost).sum(), rel=1e-6)


def test_the_whole_share_is_the_optimum_without_a_draw(pool):
    images, noise = pool(40)
    pairing = get("partial:share=1").pair(images, noise)
    assert torch.equal(pairing.index, get("hungarian").pair(images, noise).index)
    assert pairing.report["transported"] == 1


def test_what_is_left_out_is_drawn_and_nothing_else(pool, seeded):
    images, noise = pool(40)
    draws = torch.stack(
        [
            get("partial:share=0.75").pair(images, noise, generator=seeded(s)).index
            for s in range(30)
        ]
    )
    varies = (draws != draws[0]).any(0)
    assert int(varies.sum()) == 10
    for share in ("0", "1.1"):
        with pytest.raises(CouplingError, match="share must be in"):
            get(f"partial:share={share}")

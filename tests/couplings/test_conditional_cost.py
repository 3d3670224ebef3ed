import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from couplings import CouplingError, get
from couplings.conditional_cost import condition_distance, weight_for_ratio


def squares_of(images, noise) -> torch.Tensor:
    return torch.from_numpy(cdist(images.flatten(1).double(), noise.flatten(1).double(), "sqeuclidean"))


def test_whole_labels_never_cross(pool):
    images, noise = pool(60)
    labels = torch.arange(60) % 4
    index = get("conditional-cost").pair(images, noise, labels).index
    assert torch.equal(labels[index], labels)
    assert torch.equal(index, get("hungarian:within_class=true").pair(images, noise, labels).index)
    assert torch.equal(index, get("conditional-cost:weight=1e6").pair(images, noise, labels).index)
    one_hot = torch.nn.functional.one_hot(labels)
    assert torch.equal(index, get("conditional-cost").pair(images, noise, one_hot).index)


@pytest.mark.parametrize("weight", [0, 3, 30])
def test_the_optimum_of_the_sum(pool, seeded, weight):
    images, noise = pool(50)
    conditions = torch.randn(50, 6, generator=seeded(0))
    cost = squares_of(images, noise) + weight * torch.from_numpy(cdist(conditions, conditions, "cosine"))
    index = get(f"conditional-cost:weight={weight}").pair(images, noise, conditions).index
    assert index.tolist() == linear_sum_assignment(cost)[1].tolist()


@pytest.mark.parametrize("ratio", [0.02, 0.05, 0.2])
def test_the_weight_hits_the_ratio(pool, seeded, ratio):
    images, noise = pool(100)
    conditions = torch.randn(100, 6, generator=seeded(0))
    report = get(f"conditional-cost:ratio={ratio}").pair(images, noise, conditions).report
    cost = squares_of(images, noise) + report["weight"] * torch.from_numpy(cdist(conditions, conditions, "cosine"))
    reached = float((cost <= cost.diagonal()[:, None] * (1 + 1e-12)).double().mean())
    assert report["ratio"] == pytest.approx(reached, abs=2e-4)
    assert ratio - 2e-4 <= report["ratio"] <= ratio


def test_a_loose_ratio_needs_no_weight_and_a_strict_one_is_refused(pool, seeded):
    images, noise = pool(40)
    squares, conditions = squares_of(images, noise), torch.randn(40, 3, generator=seeded(0))
    assert weight_for_ratio(squares, condition_distance(conditions), 0.99) == 0
    with pytest.raises(CouplingError, match="equal conditions alone give ratio 0.025"):
        get("conditional-cost:ratio=0.01").pair(images, noise, conditions)


def test_conditions_without_a_direction_are_refused(pool):
    images, noise = pool(6)
    with pytest.raises(CouplingError, match="no cosine"):
        get("conditional-cost").pair(images, noise, torch.zeros(6, 3))
    with pytest.raises(CouplingError, match="k > 1"):
        get("conditional-cost").pair(images, noise, torch.rand(6))
    with pytest.raises(CouplingError, match="needs the conditions"):
        get("conditional-cost").pair(images, noise)
    for option in ("weight=-1", "ratio=0", "ratio=1"):
        with pytest.raises(CouplingError, match="must be"):
            get(f"conditional-cost:{option}")

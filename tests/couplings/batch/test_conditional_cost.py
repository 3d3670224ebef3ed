import re

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from couplings import CouplingError, get
from couplings.batch.conditional_cost import condition_distance, heaviest_weight, weight_for_ratio


def squares_of(images, noise) -> torch.Tensor:
    return torch.from_numpy(
        cdist(images.flatten(1).double(), noise.flatten(1).double(), "sqeuclidean")
    )


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
    cost = squares_of(images, noise) + weight * torch.from_numpy(
        cdist(conditions, conditions, "cosine")
    )
    index = get(f"conditional-cost:weight={weight}").pair(images, noise, conditions).index
    assert index.tolist() == linear_sum_assignment(cost)[1].tolist()


@pytest.mark.parametrize("ratio", [0.02, 0.05, 0.2])
def test_the_weight_hits_the_ratio(pool, seeded, ratio):
    images, noise = pool(100)
    conditions = torch.randn(100, 6, generator=seeded(0))
    report = get(f"conditional-cost:ratio={ratio}").pair(images, noise, conditions).report
    cost = squares_of(images, noise) + report["weight"] * torch.from_numpy(
        cdist(conditions, conditions, "cosine")
    )
    reached = float((cost <= cost.diagonal()[:, None] * (1 + 1e-12)).double().mean())
    assert report["ratio"] == pytest.approx(reached, abs=2e-4)
    assert ratio - 2e-4 <= report["ratio"] <= ratio


def test_a_loose_ratio_needs_no_weight_and_a_strict_one_is_refused(pool, seeded):
    images, noise = pool(40)
    squares = squares_of(images, noise)
    conditions = torch.randn(40, 3, generator=seeded(0))
    assert weight_for_ratio(squares, condition_distance(conditions), 0.99) == 0
    with pytest.raises(
        CouplingError, match="equal conditions reach a ratio of 0.025 .*: set ratio=0.025 or more"
    ):
        get("conditional-cost:ratio=0.01").pair(images, noise, conditions)


def repeated_conditions(seed: int, n: int = 200, kinds: int = 10):
    """A pool whose n float conditions are copies of a few embeddings: images, noise, which copy,
    conditions.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(kinds, 32, generator=generator)
    images = 0.5 * torch.randn(n, 32, generator=generator)
    noise = torch.randn(n, 32, generator=generator)
    kind = torch.randint(kinds, (n,), generator=generator)
    return images, noise, kind, embeddings[kind]


def best_gain_within(squares: np.ndarray, kind: np.ndarray) -> float:
    """The largest saving of mean squared distance by permutations that never cross."""
    best = 0.0
    for which in np.unique(kind):
        rows = np.nonzero(kind == which)[0]
        block = squares[np.ix_(rows, rows)]
        best += block[linear_sum_assignment(block)].sum()
    return (np.trace(squares) - best) / len(squares)


@pytest.mark.parametrize("scale", [1.0, 3.7])
def test_equal_conditions_are_at_distance_zero(scale):
    """Their cosine is 1 up to rounding, for equal digits as well as up to a factor."""
    *_, kind, conditions = repeated_conditions(0)
    conditions[::2] *= scale
    distance = condition_distance(conditions)
    assert torch.equal(distance == 0, kind[:, None] == kind)
    assert distance.numpy() == pytest.approx(cdist(conditions, conditions, "cosine"), abs=1e-6)


@pytest.mark.parametrize("ratio", [0.04, 0.045])
@pytest.mark.parametrize("seed", range(7))
def test_a_ratio_below_the_share_of_equal_conditions_names_the_least_there_is(seed, ratio):
    images, noise, kind, conditions = repeated_conditions(seed)
    squares = squares_of(images, noise)
    equal = (kind[:, None] == kind) & (squares <= squares.diagonal()[:, None])
    floor = float(equal.double().mean())
    with pytest.raises(CouplingError, match="equal conditions reach a ratio") as refused:
        get(f"conditional-cost:ratio={ratio}").pair(images, noise, conditions)
    reached, way_out = (
        float(number) for number in re.findall(r"ratio(?: of |=)([\d.]+)", str(refused.value))
    )
    assert reached == pytest.approx(floor, rel=1e-3)
    report = get(f"conditional-cost:ratio={way_out}").pair(images, noise, conditions).report
    assert floor <= report["ratio"] <= way_out


@pytest.mark.parametrize("option", ["ratio=0.06", "weight=1000", "weight=1e12"])
@pytest.mark.parametrize("seed", range(3))
def test_repeated_float_conditions_lose_nothing_within_themselves(seed, option):
    images, noise, kind, conditions = repeated_conditions(seed)
    report = get(f"conditional-cost:{option}").pair(images, noise, conditions).report
    expected = best_gain_within(squares_of(images, noise).numpy(), kind.numpy())
    assert report["cost_before"] - report["cost_after"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("whole", [True, False])
def test_a_weight_that_float64_cannot_hold_is_refused(whole):
    images, noise, kind, conditions = repeated_conditions(0)
    labels = kind if whole else conditions
    with pytest.raises(CouplingError, match="float64 cannot .* within_class=true") as refused:
        get("conditional-cost:weight=1e17").pair(images, noise, labels)
    most = re.search(r"at most (weight=\S+),", str(refused.value))[1]
    report = get(f"conditional-cost:{most}").pair(images, noise, labels).report
    expected = best_gain_within(squares_of(images, noise).numpy(), kind.numpy())
    assert report["cost_before"] - report["cost_after"] == pytest.approx(expected, rel=1e-5)


def test_conditions_too_near_for_their_weight_are_refused_with_the_ratio_that_is_reached(
    pool, seeded
):
    """Conditions 1e-11 from each other need weights of 1e13 and more, which no squared distance
    survives.
    """
    images, noise = pool(60)
    conditions = torch.randn(60, 4, dtype=torch.float64, generator=seeded(0))
    conditions[1::2] = conditions[::2]
    conditions[1::2, 0] += 5e-6 * conditions[1::2].norm(dim=1)
    with pytest.raises(CouplingError, match="set ratio") as refused:
        get("conditional-cost:ratio=0.0168").pair(images, noise, conditions)
    way_out = re.search(r"set (ratio=\S+) ", str(refused.value))[1]
    report = get(f"conditional-cost:{way_out}").pair(images, noise, conditions).report
    assert report["weight"] <= heaviest_weight(squares_of(images, noise))
    assert report["ratio"] <= float(way_out.removeprefix("ratio="))


def test_where_all_pairs_cost_the_same_any_weight_will_do(seeded):
    images = torch.ones(12, 5)
    noise = torch.randn(12, 5, generator=seeded(0))
    conditions = torch.randn(12, 4, generator=seeded(1))
    index = get("conditional-cost:weight=1e17").pair(images, noise, conditions).index
    assert index.tolist() == list(range(12))


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


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_size_of_conditions_does_not_matter(scale):
    conditions = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = condition_distance(conditions)
    assert torch.allclose(condition_distance(scale * conditions), expected, rtol=0, atol=1e-12)


def test_squared_differences_of_single_numbers_as_c2ot_prices_a_coordinate(pool, seeded):
    images, noise = pool(80)
    conditions = 3 * torch.randn(80, 1, generator=seeded(0))
    coupling = get("conditional-cost:distance=squared,ratio=0.05")
    pairing = coupling.pair(images, noise, conditions)
    apart = torch.from_numpy(cdist(conditions.double(), conditions.double(), "sqeuclidean"))
    squares = squares_of(images, noise)
    cost = squares + pairing.report["weight"] * apart
    assert pairing.index.tolist() == linear_sum_assignment(cost)[1].tolist()
    # The definition of C2OT: the share of cells that cost no more than the pair as drawn.
    reached = float((cost <= squares.diagonal()[:, None]).double().mean())
    assert pairing.report["ratio"] == pytest.approx(reached, abs=2e-4)
    assert 0.05 - 1e-3 <= reached <= 0.05 + 1e-9
    with pytest.raises(CouplingError, match="distance=squared takes single numbers"):
        get("conditional-cost:ratio=0.05").pair(images, noise, conditions)


def test_the_weight_of_squared_differences_is_that_of_a_bisection(pool, seeded):
    """C2OT doubles and bisects the weight; the share falls with it."""
    images, noise = pool(64)
    conditions = torch.randn(64, 3, generator=seeded(0))
    apart = torch.from_numpy(cdist(conditions.double(), conditions.double(), "sqeuclidean"))
    squares = squares_of(images, noise)
    diagonal = squares.diagonal()[:, None]

    def share(weight):
        return float((squares + weight * apart <= diagonal).double().mean())

    low, high = 0.0, 100.0
    while share(high) > 0.1:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) > 0.1 else (low, middle)
    found = weight_for_ratio(squares, condition_distance(conditions, "squared"), 0.1)
    assert found == pytest.approx(high, rel=1e-6)


def test_prices_far_apart_leave_the_squared_distances_their_digits(pool):
    images, noise = pool(20)
    conditions = torch.linspace(0, 1e6, 20)[:, None]
    squares = squares_of(images, noise)
    apart = condition_distance(conditions, "squared")
    # The largest price is what takes digits.
    expected = heaviest_weight(squares) * 2 / 1e12
    assert heaviest_weight(squares, apart) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(CouplingError, match="float64 cannot add this weight"):
        get(f"conditional-cost:distance=squared,weight={3 * expected}").pair(
            images, noise, conditions
        )

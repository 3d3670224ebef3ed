"""Exact couplings against brute force, scipy, POT and sorting."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from couplings import CouplingError, get
from couplings.cost import scale_of
from couplings.plan import import_pot

SQUARED = ["hungarian", "hungarian:cost=dot", "lapjv", "lapjv:cost=dot", "minibatch-ot"]
PLAIN = ["hungarian:cost=l2", "lapjv:cost=l2", "minibatch-ot:cost=l2"]


def distances(images, noise, metric) -> np.ndarray:
    return cdist(images.flatten(1).double().numpy(), noise.flatten(1).double().numpy(), metric)


def metric_of(spec: str) -> str:
    return "euclidean" if "cost=l2" in spec else "sqeuclidean"


def total(cost: np.ndarray, index) -> float:
    return float(cost[np.arange(len(cost)), np.asarray(index)].sum())


@pytest.mark.parametrize("spec", SQUARED + PLAIN)
@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_brute_force(pool, spec, n):
    for seed in range(3):
        images, noise = pool(n, (1, 2, 2), seed)
        cost = distances(images, noise, metric_of(spec))
        best = min(total(cost, order) for order in itertools.permutations(range(n)))
        assert total(cost, get(spec).pair(images, noise).index) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("spec", SQUARED)
def test_pot_on_squared_distances(pool, spec):
    ot = import_pot()
    images, noise = pool(80)
    optimum = ot.emd2([], [], distances(images, noise, "sqeuclidean"))
    assert get(spec).pair(images, noise).report["cost_after"] == pytest.approx(optimum, rel=1e-6)


@pytest.mark.parametrize("spec", SQUARED + PLAIN)
def test_the_permutation_is_scipys_on_plain_float64_distances(pool, spec):
    """The centred product gives the permutation itself: noise[index[i]] with images[i], not the
    inverse.
    """
    images, noise = pool(200, (3, 16, 16))
    _, expected = linear_sum_assignment(distances(images, noise, metric_of(spec)))
    assert get(spec).pair(images, noise).index.tolist() == expected.tolist()


@pytest.mark.parametrize("spec", SQUARED)
def test_one_dimension_is_sorting(pool, spec):
    images, noise = (x.double() for x in pool(120, (1,)))
    expected = torch.empty(120, dtype=torch.int64)
    expected[images[:, 0].argsort()] = noise[:, 0].argsort()
    report = get(spec).pair(images, noise).report
    optimum = float((images - noise[expected]).square().mean())
    assert report["cost_after"] == pytest.approx(optimum, rel=1e-5)


@pytest.mark.parametrize("spec", SQUARED + PLAIN)
def test_paired_cost_is_far_below_random(pool, spec):
    """A library once returned the inverse permutation for months: its cost was the random one."""
    report = get(spec).pair(*pool(300, (3, 16, 16))).report
    assert report["cost_after"] < 0.97 * report["cost_before"]


@pytest.mark.parametrize("solver", ["hungarian", "lapjv"])
def test_l2_and_squared_l2_are_different_problems(pool, solver):
    images, noise = pool(200, (3, 16, 16))
    plain = get(f"{solver}:cost=l2").pair(images, noise)
    squared = get(solver).pair(images, noise)
    assert 0 < (plain.index != squared.index).float().mean() < 0.6
    assert plain.report["cost_after"] > squared.report["cost_after"]
    cost = distances(images, noise, "euclidean")
    assert total(cost, plain.index) < total(cost, squared.index)


@pytest.mark.parametrize("spec", SQUARED)
@pytest.mark.parametrize(
    ("image_scale", "noise_scale"), [(2.0**66, 1.0), (1.0, 2.0**66), (2.0**-66, 2.0**66)]
)
def test_squared_cost_knows_no_scale(pool, spec, image_scale, noise_scale):
    images, noise = pool(60)
    expected = get(spec).pair(images, noise).index
    assert torch.equal(get(spec).pair(images * image_scale, noise * noise_scale).index, expected)


@pytest.mark.parametrize("spec", PLAIN)
def test_l2_of_clouds_of_very_different_size(pool, spec):
    """For |x| >> |y|, |x - y| -> |x| - <x, y> / |x|, and likewise with the roles exchanged."""
    images, noise = (x.flatten(1).double() for x in pool(60))
    _, expected = linear_sum_assignment(
        -(images / images.norm(dim=1, keepdim=True) @ noise.T).numpy()
    )
    assert get(spec).pair(images * 1e20, noise).index.tolist() == expected.tolist()
    _, expected = linear_sum_assignment(
        -(images @ (noise / noise.norm(dim=1, keepdim=True)).T).numpy()
    )
    assert get(spec).pair(images, noise * 1e20).index.tolist() == expected.tolist()
    assert get(spec).pair(images * 1e-20, noise * 1e20).index.tolist() == expected.tolist()


@pytest.mark.parametrize("solver", ["hungarian", "lapjv", "minibatch-ot"])
def test_angles_are_scipys_and_know_no_norm(pool, solver, seeded):
    images, noise = (x.double() for x in pool(60))
    images[0] = 0  # without a direction: at a right angle to all
    cosine = 1 - cdist(images[1:].flatten(1), noise.flatten(1), "cosine")
    angle = np.arccos(np.concatenate([np.zeros((1, 60)), cosine]))
    optimum = total(angle, linear_sum_assignment(angle)[1])
    index = get(f"{solver}:cost=angular").pair(images, noise).index
    assert total(angle, index) == pytest.approx(optimum, rel=1e-6)
    assert not torch.equal(index, get(solver).pair(images, noise).index)
    # Powers of two: exact.
    norms = 2.0 ** torch.randint(-9, 9, (60, 1, 1, 1), generator=seeded(0))
    scaled = get(f"{solver}:cost=angular").pair(images * norms, noise / norms).index
    assert torch.equal(scaled, index)


@pytest.mark.parametrize("spec", SQUARED + PLAIN)
def test_an_offset_common_to_both_changes_nothing(pool, spec):
    images, noise = (x.double() for x in pool(60))
    assert torch.equal(
        get(spec).pair(images + 1e6, noise + 1e6).index,
        get(spec).pair(images, noise).index,
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 12).flatmap(
        lambda n: st.lists(
            st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2 * n, max_size=2 * n
        )
    ),
    st.sampled_from(SQUARED + PLAIN),
)
def test_ties_on_a_grid(points, spec):
    """Whole-number coordinates: duplicates and tied optima everywhere."""
    both = torch.tensor(points, dtype=torch.float32)
    images = both[: len(both) // 2]
    noise = both[len(both) // 2 :]
    index = get(spec).pair(images, noise).index
    cost = distances(images, noise, metric_of(spec))
    assert sorted(index.tolist()) == list(range(len(images)))
    assert total(cost, index) == pytest.approx(
        total(cost, linear_sum_assignment(cost)[1]), abs=2e-4
    )


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SCALES = [1e-20, 1.0, 1e20]
LAYOUTS = {
    "contiguous": lambda x: x,
    "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "transposed": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "requires grad": lambda x: x.clone().requires_grad_(),
}


@st.composite
def cases(draw):
    """A spec and a pool of its own kind of difficulty: `[n, ...]` images and noise samples."""
    spec = draw(st.sampled_from(SQUARED + PLAIN))
    n = draw(st.integers(0, 20))
    shape = draw(st.sampled_from([(), (1,), (7,), (2, 3), (3, 4, 4)]))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    # One kind: a constant cost
    kinds = draw(st.integers(1, 20))
    scale = draw(st.sampled_from(SCALES))
    # Distances of clouds of different scale have no digits in float64, the oracle's.
    scales = (scale, scale if spec in PLAIN else draw(st.sampled_from(SCALES)))
    clouds = []
    for each in scales:
        points = torch.randn(n, *shape, generator=g, dtype=torch.float64) + draw(
            st.sampled_from([0.0, 30.0])
        )
        points = points[torch.arange(n) % kinds] * each
        clouds.append(
            LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](
                points.to(draw(st.sampled_from(DTYPES)))
            )
        )
    return spec, *clouds


@settings(deadline=None, max_examples=200)
@given(cases())
def test_any_shape_dtype_layout_and_scale_gives_an_optimum_or_a_clear_error(case):
    """float16 takes 1e20 to infinity, which is refused, and 1e-20 to zero, a constant cost."""
    spec, images, noise = case
    kept = images.detach().clone(), noise.detach().clone()
    if not all(bool(cloud.isfinite().all()) for cloud in kept):
        with pytest.raises(CouplingError, match="hold NaN or infinity"):
            get(spec).pair(images, noise)
        return
    index = get(spec).pair(images, noise).index
    assert torch.equal(images, kept[0])
    assert torch.equal(noise, kept[1])
    assert sorted(index.tolist()) == list(range(len(images)))
    if not len(index):
        return
    # A power of two is exact. Squared distances are -2 <x, y> but for shifts, which stay out of the
    # rounding.
    x, y = (cloud.double().reshape(len(cloud), -1) / scale_of(cloud.double()) for cloud in kept)
    if spec in PLAIN:
        cost = cdist(x * scale_of(kept[0].double()), y * scale_of(kept[1].double()))
    else:
        cost = -((x - x.mean(0)) @ (y - y.mean(0)).T).numpy()
    # A cell of lapjv has 21 bits, and an offset may cost three
    rounding = 2.0**-18 * float(np.ptp(cost)) + 1e-15
    assert total(cost, index) <= total(cost, linear_sum_assignment(cost)[1]) + len(cost) * rounding


@pytest.mark.parametrize("solver", ["hungarian", "lapjv", "minibatch-ot"])
@pytest.mark.parametrize(("n", "shape"), [(60, (1, 4, 4)), (30, (3, 8, 8))])
def test_all_principal_components_lose_nothing(pool, solver, n, shape):
    images, noise = pool(n, shape)
    d = images[0].numel()
    assert torch.equal(
        get(f"{solver}:project=pca:{d}").pair(images, noise).index,
        get(solver).pair(images, noise).index,
    )


@pytest.mark.parametrize("cost", ["sqeuclidean", "l2"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8)])
def test_a_few_components_are_solved_exactly_in_their_space(pool, shape, cost):
    images, noise = (x.flatten(1).double() for x in pool(40, shape))
    axes = torch.from_numpy(PCA(5).fit(images.numpy()).components_.T)
    _, expected = linear_sum_assignment(
        distances(images @ axes, noise @ axes, metric_of(f"lapjv:cost={cost}"))
    )
    found = get(f"hungarian:project=pca:5,cost={cost}").pair(images, noise)
    assert found.index.tolist() == expected.tolist()
    assert found.report["cost_after"] > get("hungarian").pair(images, noise).report["cost_after"]


def test_bad_projections_are_refused(pool):
    for project in ("pca", "pca:0", "pca:-1", "svd:3"):
        with pytest.raises(CouplingError, match="project must be none or pca:K"):
            get(f"lapjv:project={project}")
    with pytest.raises(CouplingError, match="48 values each"):
        get("lapjv:project=pca:49").pair(*pool(9))
    with pytest.raises(CouplingError, match="NaN"):
        get("lapjv:project=pca:3").pair(torch.full((4, 5), torch.nan), torch.zeros(4, 5))

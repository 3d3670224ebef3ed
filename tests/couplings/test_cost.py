import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from couplings.cost import assignment_cost, mean_pair_cost, negative_dot


def double_centred(matrix):
    return matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()


def affine_residual(matrix, expected) -> float:
    """The distance of `matrix` from a positive factor times `expected`, both double-centred."""
    a, b = (double_centred(torch.as_tensor(x, dtype=torch.float64)) for x in (matrix, expected))
    factor = float((a * b).sum() / (b * b).sum())
    assert factor > 0
    return float((a - factor * b).norm() / a.norm())


@pytest.mark.parametrize(
    ("cost", "metric"), [("sqeuclidean", "sqeuclidean"), ("dot", "sqeuclidean")]
)
def test_squared_cost_is_the_product_up_to_shifts(pool, cost, metric):
    images, noise = (x.flatten(1) for x in pool(30))
    matrix = assignment_cost(images, noise, cost)
    assert matrix.dtype == torch.float32
    assert affine_residual(matrix, cdist(images, noise, metric)) < 1e-5
    assert matrix.min(1).values.tolist() == [0] * 30


def test_l2_is_the_distance_up_to_scale_and_shifts(pool):
    images, noise = (x.flatten(1) for x in pool(30))
    assert affine_residual(assignment_cost(images, noise, "l2"), cdist(images, noise)) < 1e-6
    assert affine_residual(assignment_cost(noise, images, "l2"), cdist(noise, images)) < 1e-6


def test_l2_where_images_and_noises_touch(pool):
    images, _ = (x.flatten(1).double() for x in pool(12))
    assert (
        affine_residual(
            assignment_cost(images, images.flip(0), "l2"), cdist(images, images.flip(0))
        )
        < 1e-7
    )


def test_an_offset_that_dwarfs_the_products_is_taken_out_first(pool):
    """float32 would keep no digit of the products of these data as they are."""
    images, noise = (x.flatten(1).double() for x in pool(30))
    assert affine_residual(assignment_cost(images + 1e6, noise - 1e6), -(images @ noise.T)) < 1e-5
    assert not assignment_cost(images[:1].expand(9, -1), noise[:9]).any()


def test_negative_dot_is_not_centred(pool):
    images, noise = (x.flatten(1).double() for x in pool(30))
    expected = -(images @ noise.T)
    ratio = negative_dot(images, noise) / expected
    assert ratio.min() == pytest.approx(float(ratio.max()), rel=1e-9)


def test_mean_pair_cost():
    images = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    noise = torch.tensor([[4.0, 0.0], [1.0, 1.0]])
    assert mean_pair_cost(images, noise) == pytest.approx(25 / 2)
    assert mean_pair_cost(images * 1e20, noise * 1e20) == pytest.approx(25 / 2 * 1e40)
    assert mean_pair_cost(images[:0], noise[:0]) == 0
    assert np.isfinite(mean_pair_cost(images.double() * 1e149, noise.double()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (70, 3072), (3, 2**17)])
def test_mean_pair_cost_goes_through_all_blocks(seeded, shape, dtype):
    """Pools of one block, of several and a part of one, and of rows longer than a block."""
    images, noise = (torch.randn(shape, generator=seeded(seed), dtype=dtype) for seed in (0, 1))
    index = torch.randperm(len(images), generator=seeded(2))
    for paired, given in ((noise, None), (noise[index], index)):
        expected = ((images - paired).double() ** 2).sum(1).mean()
        assert mean_pair_cost(images, noise, given) == pytest.approx(float(expected), rel=1e-6)

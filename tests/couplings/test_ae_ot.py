import math

import pytest
import torch

from couplings import CouplingError, get
from couplings.ae_ot import angle_at, extend, neighbours

ANGLES = 2 * math.pi * torch.arange(4) / 4
MODES = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)  # [4, 2]
EACH = 8


@pytest.fixture(scope="module")
def fitted():
    """Four clusters in the plane, far apart beside their width."""
    spread = 0.1 * torch.randn(4 * EACH, 2, generator=torch.Generator().manual_seed(0))
    images = MODES.repeat_interleave(EACH, 0) + spread
    return (
        get("semidiscrete:batch=1024").fit(images, generator=torch.Generator().manual_seed(1)),
        images,
    )


@pytest.fixture
def noise(seeded):
    return torch.randn(500, 2, generator=seeded(2))


def test_neighbours_are_the_best_cells_and_their_angles(fitted, noise):
    sd, images = fitted
    near = neighbours(sd, images, noise, 5)
    assert torch.equal(near.index[:, 0], sd.assign(noise))
    assert all(len(set(row)) == 5 for row in near.index.tolist())
    for row, angles in zip(near.index[:10], near.angle[:10], strict=True):
        a, *others = torch.cat([images[row], -torch.ones(5, 1)], 1).double()
        expected = [math.acos(a @ b / (a.norm() * b.norm())) for b in others]
        torch.testing.assert_close(
            angles, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
        )


def test_angles_of_images_that_nearly_coincide_keep_their_digits(seeded):
    """Two images at a distance s: their normals (y, -1) enclose about s / (1 + y^2) in one
    dimension.
    """
    gap = 1e-9
    images = torch.tensor([[0.5], [0.5 + gap], [3.0], [-2.0]], dtype=torch.float64)
    sd = get("semidiscrete:max_chi2=10,steps=50,batch=64").fit(images, generator=seeded(0))
    near = neighbours(sd, images, torch.randn(200, 1, generator=seeded(1)), 4)
    first, other = near.index[:, :1].expand(-1, 3), near.index[:, 1:]
    twins = (first < 2) & (other < 2)
    assert twins.any()
    expected = float(images[1].atan() - images[0].atan())
    assert near.angle[twins].tolist() == pytest.approx([expected] * int(twins.sum()), rel=1e-6)


def test_the_filter_keeps_modes_apart(fitted, noise, seeded):
    """In the plane the angle tells: without it a good part of the mixes lies between two clusters."""
    sd, images = fitted
    near = neighbours(sd, images, noise, EACH)

    def crossing(angle: float) -> float:
        pairs = extend(sd, images, near, angle, seeded(3)).pairs
        assert len(pairs) > 300
        return (pairs[:, 0] // EACH != pairs[:, 1] // EACH).double().mean().item()

    assert crossing(math.pi) > 0.05
    assert crossing(0.4) == 0


def test_points_are_mixes_of_their_pairs(fitted, noise, seeded):
    sd, images = fitted
    near = neighbours(sd, images, noise, 4)
    quarter = extend(sd, images, near, 0.4, seeded(3), weight=0.25)
    first, second = images[quarter.pairs].unbind(1)
    torch.testing.assert_close(quarter.points, 0.75 * first + 0.25 * second)
    drawn = extend(sd, images, near, 0.4, seeded(3))
    share = (drawn.points - first).norm(dim=1) / (second - first).norm(dim=1)
    assert torch.equal(drawn.pairs, quarter.pairs)
    assert share.mean().item() == pytest.approx(0.5, abs=0.06)
    assert share.max() <= 1 + 1e-4


def test_noises_without_an_allowed_pair_are_dropped(fitted, noise, seeded):
    sd, images = fitted
    near = neighbours(sd, images, noise, 3)
    angle = angle_at(near, 10)
    # Noises of the same two cells have the same angle.
    assert (
        (near.angle < angle - 1e-9).double().mean()
        <= 0.1
        <= (near.angle <= angle + 1e-9).double().mean()
    )
    some = extend(sd, images, near, angle, seeded(3))
    assert torch.equal(some.rows, (near.angle <= angle).any(1).nonzero()[:, 0])
    assert torch.equal(some.pairs[:, 0], near.index[some.rows, 0])
    assert len(extend(sd, images, near, -1.0, seeded(3)).points) == 0


def test_images_of_any_shape(pool, seeded):
    images = pool(30)[0]
    sd = get("semidiscrete:batch=512").fit(images, generator=seeded(0))
    near = neighbours(sd, images, torch.randn(9, 3, 4, 4, generator=seeded(1)), 3)
    assert extend(sd, images, near, math.pi, seeded(2)).points.shape == (9, 3, 4, 4)


def test_refusals(fitted, noise, seeded):
    sd, images = fitted
    near = neighbours(sd, images, noise, 3)
    with pytest.raises(CouplingError, match="k must"):
        neighbours(sd, images, noise, 1)
    with pytest.raises(CouplingError, match="lower k"):
        neighbours(sd, images, noise, 4 * EACH + 1)
    with pytest.raises(CouplingError, match="percent"):
        angle_at(near, 101)
    with pytest.raises(CouplingError, match="weight"):
        extend(sd, images, near, 1.0, seeded(0), weight=1.5)

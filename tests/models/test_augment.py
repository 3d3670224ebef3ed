import math

import numpy as np
import pytest
import torch

from models import augment
from models.augment import DELAY, GROUPS, SYM6, TRANSFORMS, Augment, transform

SLICES = {
    name: [k for k, group in enumerate(GROUPS) if TRANSFORMS[group] == name] for name in TRANSFORMS
}
CHANNEL_PHASES = (0.3, 1.7, 2.9)


def some_images(seeded, n=8, channels=3, side=32, dtype=torch.float32):
    return torch.rand(n, channels, side, side, generator=seeded(5), dtype=dtype) * 2 - 1


def one_hot_labels(n, **values):
    """Labels ``[n, 9]`` that are zero but for ``index=value`` pairs given as l0=..., l1=..., ..."""
    labels = torch.zeros(n, 9)
    for name, value in values.items():
        labels[:, int(name[1:])] = value
    return labels


def wave(points):
    """A smooth function of points ``[..., 2]`` (right, down; in pixels from the centre): ``[...,
    3]``.
    """
    x, y = points[..., 0], points[..., 1]
    waves = [
        np.sin(0.30 * x + 0.12 * y + p) + 0.5 * np.cos(0.17 * x - 0.35 * y + 2 * p)
        for p in CHANNEL_PHASES
    ]
    return np.stack(waves, axis=-1) / 1.5


def pixels(side):
    axis = np.arange(side) - (side - 1) / 2
    return np.stack(np.meshgrid(axis, axis), axis=-1)  # [side, side, (right, down)]


def waves(n, side=32):
    image = torch.tensor(wave(pixels(side))).permute(2, 0, 1).float()
    return image.expand(n, -1, -1, -1)


def matrix_of(labels, side):
    """3 x 3 matrix (points to points, right and down in pixels from the centre) built from one row
    of labels.
    """
    flip_x, flip_y, scale, cos1, sin, ax, ay, tx, ty = (float(v) for v in labels)
    # Points are complex numbers right + i up, so that angles are counter-clockwise as displayed.
    stretch, direction = (
        2 ** (0.2 * math.hypot(ax, ay)),
        complex(ax, ay) / (math.hypot(ax, ay) or 1),
    )

    def move(point):
        point = complex(
            -point.real if flip_x else point.real, -point.imag if flip_y else point.imag
        )
        point *= 2 ** (0.2 * scale)
        point *= complex(cos1 + 1, sin)
        if direction:
            turned = point * direction.conjugate()
            point = complex(turned.real * stretch, turned.imag / stretch) * direction
        return point + complex(tx, -ty) * side / 8

    origin, right, down = move(0j), move(1 + 0j), move(-1j)
    columns = [right - origin, down - origin, origin]
    return np.array([[c.real for c in columns], [-c.imag for c in columns], [0, 0, 1]])


def analytic(labels, side):
    """What the wave becomes under one row of labels: ``[3, side, side]``, and the mask of points
    from well inside.
    """
    points = pixels(side)
    inverse = np.linalg.inv(matrix_of(labels, side))
    source = points @ inverse[:2, :2].T + inverse[:2, 2]
    inside = (np.abs(source) < (side - 1) / 2 - 3).all(-1)
    return np.moveaxis(wave(source), -1, 0), inside


def assert_wave_moves_by_the_labels(images, labels, tolerance=0.006):
    side = images.shape[-1]
    for image, row in zip(images.numpy(), labels, strict=True):
        expected, inside = analytic(row, side)
        error = np.abs(image - expected)[:, inside]
        assert error.max(initial=0) < 2 * tolerance, row
        assert not error.size or np.sqrt((error**2).mean()) < tolerance, row


def test_filter_is_the_orthonormal_wavelet_with_six_vanishing_moments():
    h = np.array(SYM6)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-11)
    for shift in range(0, 12, 2):
        assert h[shift:] @ h[: 12 - shift] == pytest.approx(float(shift == 0), abs=1e-11)
    k = np.arange(12)
    for moment in range(6):
        assert abs(((-1.0) ** k * (k - 5.5) ** moment) @ h) < 1e-7
    # Daubechies' own choice of the roots has its mass at one end; the least asymmetric one near the
    # middle.
    spread = ((k - k @ h**2) ** 2) @ h**2
    assert spread < 0.6
    assert k @ h / h.sum() == pytest.approx(DELAY)


@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (6, 1, 8, 8), (0, 3, 16, 16)])
def test_p_zero_is_the_identity_bit_for_bit(seeded, shape):
    images = torch.randn(shape, generator=seeded())
    before = images.clone()
    augmented = Augment(p=0)(images, seeded(1))
    assert torch.equal(augmented.images, before)
    assert torch.equal(augmented.labels, torch.zeros(shape[0], 9))
    augmented.images.add_(1)
    assert torch.equal(images, before)  # a result of its own


def test_inputs_are_left_alone(seeded):
    images = some_images(seeded)
    before = images.clone()
    Augment(p=1)(images, seeded())
    assert torch.equal(images, before)


def test_untouched_images_of_a_batch_stay_bit_for_bit(seeded):
    images = some_images(seeded, n=200, side=16)
    augmented = Augment(p=0.12)(images, seeded())
    untouched = (augmented.labels == 0).all(1)
    flipped = (augmented.labels[:, 0] == 1) & (augmented.labels[:, 1:] == 0).all(1)
    assert 30 < untouched.sum() < 90
    assert torch.equal(augmented.images[untouched], images[untouched])
    assert torch.equal(augmented.images[flipped], images[flipped].flip(3))


@pytest.mark.parametrize(("name", "dim"), [("xflip", 3), ("yflip", 2)])
def test_flips_are_pixel_exact(seeded, name, dim):
    images = some_images(seeded, n=40, side=8)
    augmented = Augment(p=1, transforms=(name,))(images, seeded())
    bit = augmented.labels[:, SLICES[name]].flatten()
    assert set(bit.tolist()) == {0, 1}
    assert torch.equal(augmented.images[bit == 1], images[bit == 1].flip(dim))
    assert torch.equal(augmented.images[bit == 0], images[bit == 0])


@pytest.mark.parametrize("turns", [-1, 1, 2])
@pytest.mark.parametrize("side", [2, 8, 15, 32])
def test_quarter_turns_move_pixels(seeded, turns, side):
    images = some_images(seeded, side=side)
    angle = turns * math.pi / 2
    labels = one_hot_labels(8, l3=math.cos(angle) - 1, l4=math.sin(angle))
    torch.testing.assert_close(
        transform(images, labels), images.rot90(turns, (2, 3)), rtol=0, atol=3e-5
    )


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-3, 5), (7, -2), (20, -75)])
def test_integer_translation_is_exact_with_endless_reflection(seeded, side, right, down):
    images = some_images(seeded, side=side, channels=1)
    pad = 80
    padded = torch.tensor(
        np.pad(images.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    )
    expected = padded[:, :, pad - down : pad - down + side, pad - right : pad - right + side]
    labels = one_hot_labels(8, l7=right * 8 / side, l8=down * 8 / side)
    torch.testing.assert_close(transform(images, labels), expected, rtol=0, atol=1e-4)
    exact = transform(images.double(), labels)
    torch.testing.assert_close(exact, expected.double(), rtol=0, atol=1e-10)


def test_translation_by_the_side_of_an_image_is_eight_labels(seeded):
    images = some_images(seeded, side=8)
    # Seven pixels: the left column is now the right one
    moved = transform(images, one_hot_labels(8, l7=7))
    torch.testing.assert_close(moved[..., 7], images[..., 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMS[2:])
def test_a_smooth_image_follows_each_transform_drawn(seeded, name):
    images = waves(24)
    augmented = Augment(p=1, transforms=(name,))(images, seeded(3))
    others = [k for k in range(9) if k not in SLICES[name]]
    assert (augmented.labels[:, SLICES[name]] != 0).all()
    assert (augmented.labels[:, others] == 0).all()
    assert_wave_moves_by_the_labels(augmented.images, augmented.labels)


@pytest.mark.parametrize(
    "labels",
    [
        {"l2": 1.0},
        {"l2": -1.0},
        {"l3": math.cos(0.5) - 1, "l4": math.sin(0.5)},
        {"l3": math.cos(2.5) - 1, "l4": math.sin(-2.5)},
        {"l5": 1.5},
        {"l6": 1.5},
        {"l5": -0.8, "l6": 0.8},
        {"l7": 0.4, "l8": -0.3},
    ],
)
def test_a_smooth_image_follows_each_label(labels):
    labels = one_hot_labels(1, **labels)
    assert_wave_moves_by_the_labels(transform(waves(1), labels), labels)


def test_labels_alone_reproduce_all_transforms_together(seeded):
    augmented = Augment(p=1)(waves(64), seeded(2))
    assert_wave_moves_by_the_labels(augmented.images, augmented.labels)
    assert torch.equal(transform(waves(64), augmented.labels), augmented.images)
    seen = [analytic(row, 32)[1].mean() for row in augmented.labels]
    assert np.mean(seen) > 0.3  # the comparison saw enough of the images


def test_oracle_tells_wrong_signs_apart():
    for k in (2, 4, 7, 8):
        labels = one_hot_labels(1, **{f"l{k}": 0.8}, **({"l3": -0.4} if k == 4 else {}))
        wrong = labels.clone()
        wrong[:, k] *= -1
        with pytest.raises(AssertionError):
            assert_wave_moves_by_the_labels(transform(waves(1), wrong), labels)


def test_linear_ramps_are_reproduced_far_better_than_by_interpolating_pixels():
    # Six vanishing moments: away from the edges a ramp is upsampled, sampled and filtered down
    # without error.
    points = torch.tensor(pixels(32))
    ramp = (0.02 * points[..., 0] - 0.03 * points[..., 1]).expand(1, 1, -1, -1)
    angle = 0.3
    turned = transform(ramp, one_hot_labels(1, l3=math.cos(angle) - 1, l4=math.sin(angle)))
    # Counter-clockwise: the value now at p was at p turned clockwise; down is the second axis.
    right = math.cos(angle) * points[..., 0] - math.sin(angle) * points[..., 1]
    down = math.sin(angle) * points[..., 0] + math.cos(angle) * points[..., 1]
    centre = slice(12, 20)
    expected = (0.02 * right - 0.03 * down)[centre, centre]
    torch.testing.assert_close(turned[0, 0, centre, centre], expected, rtol=0, atol=1e-6)


def test_constant_images_stay_constant(seeded):
    augmented = Augment(p=1)(torch.full((16, 1, 8, 8), 0.7), seeded())
    torch.testing.assert_close(augmented.images, torch.full((16, 1, 8, 8), 0.7))


def test_energy_is_kept_for_smooth_images_and_never_grows_much_for_noise(seeded):
    labels = Augment(p=1, transforms=("rotation", "translate")).draw(64, seeded(4))
    smooth = transform(waves(64), labels)
    # Reflection repeats what lies inside, so the energy moves with what is in view, but not on
    # average.
    assert smooth.square().mean().item() == pytest.approx(waves(1).square().mean().item(), rel=0.1)
    noise = torch.randn(64, 1, 32, 32, generator=seeded(6))
    energy = transform(noise, labels).square().mean().item()
    # Bilinear sampling at twice the resolution damps the finest detail only
    assert 0.5 < energy < 1.05
    wide = torch.nn.functional.avg_pool2d(torch.randn(64, 1, 128, 128, generator=seeded(7)), 4) * 4
    blurred = torch.nn.functional.avg_pool2d(wide, 5, 1, 2)
    ratio = transform(blurred, labels).square().mean() / blurred.square().mean()
    assert ratio.item() == pytest.approx(1, abs=0.05)


def test_each_transform_is_applied_with_its_probability_and_independently(seeded):
    n, p = 40_000, 0.12
    labels = Augment(p=p).draw(n, seeded())
    applied = {name: (labels[:, SLICES[name]] != 0).any(1).double() for name in TRANSFORMS}
    expected = dict.fromkeys(TRANSFORMS, p) | {"xflip": 0.5, "yflip": p / 2}
    for name in TRANSFORMS:
        error = 4 * math.sqrt(expected[name] * (1 - expected[name]) / n)
        assert applied[name].mean().item() == pytest.approx(expected[name], abs=error), name
    correlation = torch.corrcoef(torch.stack(list(applied.values()))) - torch.eye(len(TRANSFORMS))
    assert correlation.abs().max() < 4.5 / math.sqrt(n)


def test_labels_follow_the_laws_of_their_parameters(seeded):
    n = 40_000
    labels = Augment(p=1).draw(n, seeded(1)).double()
    bound = 5 / math.sqrt(n)
    angles = torch.atan2(labels[:, 4], labels[:, 3] + 1)
    radius, axes = labels[:, 5:7].norm(dim=1), torch.atan2(labels[:, 6], labels[:, 5])
    torch.testing.assert_close(
        (labels[:, 3] + 1).square() + labels[:, 4].square(), torch.ones(n).double()
    )
    for angle in (angles, axes):
        assert (angle.sort().values / math.pi - torch.linspace(-1, 1, n)).abs().max() < 2 * bound
    for normal in (labels[:, 2], labels[:, 7], labels[:, 8], radius * labels[:, 2].sign()):
        assert abs(normal.mean()) < bound
        assert normal.std().item() == pytest.approx(1, abs=bound)
        assert (normal**4).mean().item() == pytest.approx(3, abs=12 * bound)
    columns = torch.stack([labels[:, 2], angles, radius, axes, labels[:, 7], labels[:, 8]])
    assert (torch.corrcoef(columns) - torch.eye(6)).abs().max() < bound


def test_generator_determines_everything_and_the_global_one_is_left_alone(seeded):
    images = some_images(seeded, n=32, side=8)
    state = torch.random.get_rng_state()
    first, again, other = (Augment(p=0.5)(images, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize("sizes", [[1] * 70, [3, 40, 27], [69, 1]])
def test_parts_of_a_batch_are_augmented_as_the_whole_is(seeded, sizes):
    images = some_images(seeded, n=70, side=16)
    whole = Augment(p=0.6)(images, seeded(1))
    g = seeded(1)
    parts = [Augment(p=0.6)(part, g) for part in images.split(sizes)]
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    torch.testing.assert_close(
        torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-5
    )


def test_what_is_drawn_does_not_depend_on_which_transforms_are_on(seeded):
    everything = Augment(p=1).draw(50, seeded())
    for name in TRANSFORMS:
        alone = Augment(p=1, transforms=(name,)).draw(50, seeded())
        assert torch.equal(alone[:, SLICES[name]], everything[:, SLICES[name]])
    often, seldom = (Augment(p=p).draw(50, seeded()) for p in (0.5, 0.2))
    assert torch.equal(seldom[seldom != 0], often[seldom != 0])


@pytest.mark.parametrize(
    "shape", [(5, 1, 8, 8), (5, 3, 32, 32), (2, 2, 9, 9), (3, 1, 2, 2), (1, 4, 64, 64)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_square_images_of_every_size_and_type(seeded, shape, dtype):
    images = torch.rand(shape, generator=seeded(), dtype=dtype)
    augmented = Augment(p=1)(images, seeded())
    assert augmented.images.shape == shape
    assert augmented.images.dtype == dtype
    assert augmented.labels.shape == (shape[0], 9)
    assert augmented.labels.dtype == torch.float32
    assert augmented.images.isfinite().all()


def test_chunks_are_joined_in_order(seeded, monkeypatch):
    images, labels = some_images(seeded, n=11, side=8), Augment(p=1).draw(11, seeded())
    whole = transform(images, labels)
    monkeypatch.setattr(augment, "CHUNK", 3)
    torch.testing.assert_close(transform(images, labels), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_p_must_be_a_probability(p):
    with pytest.raises(ValueError, match="take one in"):
        Augment(p=p)


def test_unknown_transforms_name_the_known_ones():
    with pytest.raises(ValueError, match="'rotate'.*rotation"):
        Augment(transforms=("rotate",))


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (torch.zeros(2, 3, 8, 9), torch.zeros(2, 9), "square"),
        (torch.zeros(2, 3, 1, 1), torch.zeros(2, 9), "s >= 2"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 9), "square"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 9), "floats"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(3, 9), r"take \[2, 9\]"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 9, device="meta"), "on the CPU"),
    ],
)
def test_unfit_images_and_labels_are_refused(images, labels, match):
    with pytest.raises(ValueError, match=match):
        transform(images, labels)

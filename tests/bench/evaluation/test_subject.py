import contextlib
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch.nn import functional as F

from bench.config import RunConfig
from bench.data import Dataset, Split, as_images
from bench.evaluation.loop import evaluate
from bench.evaluation.measure import _show_nearest
from bench.evaluation.pictures import Tangents, save_grid
from bench.evaluation.plan import at_best_schedule, cautions, grid
from bench.features import Features
from bench.metrics.contract import Subject
from bench.metrics.frechet import Frechet
from bench.metrics.local_error import interval_sigmas
from bench.metrics.paths import DRIFT, PER_PATH, Paths, drift_sigmas, summary
from bench.pairs.cost import CouplingCost
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.record.best_schedule import choose
from bench.sampling import sample as module
from bench.sampling.latents import as_stored, draw_latents
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.training.loop import training_measurements
from models.denoiser import Denoiser
from models.schedules.karras import karras_sigmas

ALONE = Ranks(0, 1, "cpu")
PIXELS = Features("pixels", lambda images: images.flatten(1), size=16, fingerprint="pixels")
HALVES = Features(
    "halves", lambda images: images.flatten(1).unflatten(1, (8, 2)).mean(2), size=8, fingerprint="h"
)


def heun(steps: int, rho: float = 7.0) -> Setting:
    return Setting("heun", 2 * steps - 1, rho)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    g = torch.Generator().manual_seed(0)
    train, test = (
        Split(torch.randn(n, 1, 4, 4, generator=g) / 2, torch.arange(n) % 3) for n in (60, 40)
    )
    return Dataset("toy", train, test, num_classes=3)


@pytest.fixture(scope="module")
def net(toy_net):
    return toy_net(classes=3)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    base = RunConfig()
    evaluation = dataclasses.replace(
        base.evaluation,
        nfe=(3, 5),
        samples=50,
        trajectories=20,
        reference_steps=12,
        rhos=(),
        metrics=("samples", "truncation", "grid", "paths", "local"),
    )
    return dataclasses.replace(base, data="toy", evaluation=evaluation)


@pytest.fixture(scope="module")
def found(config, net, dataset, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    return evaluate(config, net, dataset, [PIXELS, HALVES], ALONE, folder, progress=False), folder


def test_latents_are_found_by_index_alone(dataset):
    few, many = draw_latents(3, dataset, seed=1), draw_latents(9, dataset, seed=1)
    assert many.noise.shape == (9, 1, 4, 4)
    assert torch.equal(many.noise[:3], few.noise)
    assert torch.equal(many.labels[:3], few.labels)
    assert len(many[4:9]) == 5
    assert torch.equal(many[4:].noise, many.noise[4:])
    assert not torch.equal(draw_latents(3, dataset, seed=2).noise, few.noise)


def test_latents_of_a_range_are_those_of_the_whole(dataset):
    whole, part = draw_latents(9, dataset, seed=1), draw_latents(4, dataset, seed=1, start=5)
    assert torch.equal(part.noise, whole.noise[5:])
    assert torch.equal(part.labels, whole.labels[5:])


def test_latents_are_unit_noise_with_uniform_classes(dataset):
    """3200 numbers and 200 labels, within about four standard errors."""
    latents = draw_latents(200, dataset, seed=0)
    assert latents.noise.mean().item() == pytest.approx(0, abs=4 / math.sqrt(3200))
    assert latents.noise.std().item() == pytest.approx(1, abs=4 / math.sqrt(6400))
    assert all(45 <= count <= 90 for count in latents.labels.bincount(minlength=3).tolist())


@pytest.mark.parametrize("chunk", [1, 7])
def test_samples_do_not_depend_on_the_chunk(chunk, dataset, net, config, monkeypatch):
    latents = draw_latents(10, dataset, seed=0)
    whole = sample(net, latents, heun(4), config.evaluation, "cpu")
    monkeypatch.setattr(module, "CHUNK", chunk)
    advanced = []
    parts = sample(net, latents, heun(4), config.evaluation, "cpu", advance=advanced.append)
    assert whole.nfe == parts.nfe == 7
    assert sum(advanced) == 10 * 7
    assert parts.images.dtype == torch.float32
    torch.testing.assert_close(parts.images, whole.images, atol=1e-5, rtol=1e-5)


class Told:
    """A denoiser that says what it was told."""

    one_hot = Denoiser.one_hot

    def __init__(self, label_dim):
        self.label_dim, self.calls = label_dim, []

    def __call__(self, x, sigma, labels=None):
        self.calls.append((x.clone(), sigma.item(), labels))
        return torch.zeros_like(x)


def test_sampling_uses_the_latents_the_labels_and_the_configured_levels(dataset, config):
    latents = draw_latents(4, dataset, seed=0)
    evaluation = dataclasses.replace(config.evaluation, sigma_min=0.1, sigma_max=5.0)
    denoiser = Told(label_dim=3)
    got = sample(denoiser, latents, heun(3, rho=3.0), evaluation, "cpu")
    x, _, labels = denoiser.calls[0]
    torch.testing.assert_close(x, 5 * latents.noise.double())
    assert torch.equal(labels, F.one_hot(latents.labels, 3).float())
    sigmas = karras_sigmas(3, 3.0, 0.1, 5.0).tolist()
    assert [sigma for _, sigma, _ in denoiser.calls] == pytest.approx(
        [sigmas[i] for i in (0, 1, 1, 2, 2)]
    )
    assert got.nfe == len(denoiser.calls)
    assert not got.images.any()
    unconditional = Told(label_dim=0)
    sample(unconditional, latents, heun(3, rho=3.0), evaluation, "cpu")
    assert {labels for _, _, labels in unconditional.calls} == {None}


def test_images_are_measured_as_the_data_set_stores_them(dataset):
    images = torch.tensor([-3.0, -1.0, -1 + 0.9 / 127.5, 0.0, 1.0, 5.0]).reshape(1, 1, 2, 3)
    # A picture's range
    assert as_stored(images, dataset).flatten().tolist() == images.clamp(-1, 1).flatten().tolist()
    # Points have no range
    assert as_stored(images, dataclasses.replace(dataset, bounded=False)) is images
    integers = dataclasses.replace(
        dataset, train=Split(torch.zeros(1, 1, 2, 3, dtype=torch.uint8), torch.zeros(1))
    )
    levels = as_stored(images, integers)
    assert levels.dtype == torch.uint8
    assert levels.flatten().tolist() == [0, 0, 1, 128, 255, 255]
    stored = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    # What is stored already stays
    assert torch.equal(as_stored(as_images(stored), integers), stored)


def test_everything_is_measured_once(found, config):
    measurements, _ = found
    expected = {(metric, 23, None, 20, None) for metric in PER_PATH}
    expected |= {(DRIFT, 23, None, 20, sigma) for sigma in drift_sigmas(karras_sigmas(12)[:-1])}
    levels = interval_sigmas(karras_sigmas(9))
    expected |= {
        (f"local_error_{name}", nfe, None, 20, s)
        for name, nfe in (("euler", 9), ("heun", 17))
        for s in levels
    }
    for nfe in (3, 5):
        expected.add(("truncation_error", nfe, None, 20, None))
        expected |= {
            (f"{m}_pixels", nfe, "train", 50, None) for m in ("fd", "copy_rate", "copy_distance")
        }
        expected |= {("fd_pixels", nfe, "test", 50, None)}
        expected |= {
            (f"{m}_halves", nfe, "train", 50, None) for m in ("copy_rate", "copy_distance")
        }
        sampled = ("fd", "fd_infinity", "kid", "precision", "recall", "density", "coverage")
        expected |= {
            (f"{m}_halves", nfe, split, 50, None) for m in sampled for split in ("train", "test")
        }
    measured = {(m.metric, m.nfe, m.split, m.n, m.sigma) for m in measurements}
    assert expected <= measured
    assert len({m.key for m in measurements}) == len(measurements)
    # Floors are of real images, which no sampler made.
    others = ("local_error_euler",)
    rest = [m for m in measurements if m.metric not in others and "_floor_" not in m.metric]
    assert {(m.rho, m.sampler, m.start, m.guidance) for m in rest} == {
        (7.0, "heun", "gaussian", "none")
    }
    assert all(math.isfinite(m.value) for m in measurements)
    assert all(
        m.value > 0
        for m in measurements
        if m.metric.startswith(("fd_p", "fd_h", "curvature", "truncation"))
    )


def value(measurements, metric, **fields) -> float:
    (match,) = [
        m
        for m in measurements
        if m.metric == metric and all(getattr(m, k) == v for k, v in fields.items())
    ]
    return match.value


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("nfe", "steps"), [(3, 2), (5, 3)])
def test_frechet_distance_is_that_of_the_samples(found, config, net, dataset, split, nfe, steps):
    images = sample(
        net, draw_latents(50, dataset, config.seed), heun(steps), config.evaluation, "cpu"
    ).images
    a, b = (
        x.double().flatten(1).numpy() for x in (images.clamp(-1, 1), getattr(dataset, split).images)
    )
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert value(found[0], "fd_pixels", nfe=nfe, split=split) == pytest.approx(expected, rel=1e-4)


def test_classes_asked_for_are_those_of_the_latents(config, net, dataset, tmp_path):
    """A classifier that sees class 0 everywhere agrees where that was asked for, and sees the data
    alike.
    """
    zeros = dataclasses.replace(
        HALVES, classify=lambda features: torch.zeros(len(features), dtype=torch.int64)
    )
    found = evaluate(config, net, dataset, [zeros], ALONE, RunFolder(tmp_path), progress=False)
    asked = draw_latents(50, dataset, config.seed).labels
    assert value(found, "class_agreement_halves", nfe=5) == (asked == 0).double().mean().item()
    assert value(found, "class_distance_halves", nfe=5, split="test") == 0


def test_a_denoiser_without_classes_has_no_agreement(config, dataset, tmp_path):
    class Half(torch.nn.Module):
        label_dim = 0
        one_hot = Denoiser.one_hot

        def forward(self, x, sigma, labels=None, augment_labels=None):
            return x.float() / 2

    classed = dataclasses.replace(HALVES, classify=lambda features: features.argmax(1) % 3)
    found = evaluate(config, Half(), dataset, [classed], ALONE, RunFolder(tmp_path), progress=False)
    assert {"class_distance_halves"} == {m.metric for m in found if m.metric.startswith("class_")}


def test_truncation_error_is_against_the_dense_sampler(found, config, net, dataset):
    latents = draw_latents(20, dataset, config.seed)
    coarse, dense = (
        sample(net, latents, heun(steps), config.evaluation, "cpu").images for steps in (3, 12)
    )
    expected = (coarse - dense).square().mean().sqrt().item()
    assert value(found[0], "truncation_error", nfe=5) == pytest.approx(expected, rel=1e-4)


def test_paths_are_those_of_the_dense_sampler(found, config, net, dataset):
    """All of their metrics, by name and sigma, and D along the first ones as rows of a picture."""
    latents, path = draw_latents(20, dataset, config.seed), Paths()
    tangents = Tangents.evenly(8, 10, 12)

    def observe(point):
        path(point)
        tangents(point)

    sample(net, latents, heun(12), config.evaluation, "cpu", observe)
    expected = summary(path.per_sample(), drift_sigmas(karras_sigmas(12)[:-1]))
    for (metric, sigma), number in expected.items():
        assert value(found[0], metric, sigma=sigma, nfe=23) == pytest.approx(
            number, rel=1e-4, abs=1e-7
        )
    pixels = np.asarray(Image.open(found[1].path / "samples" / "tangents.png")).astype(float)
    scale = pixels.shape[1] // 49  # ten columns of four pixels, with a line between two
    assert pixels.shape == (39 * scale, 49 * scale)
    tiles = np.pad(pixels[::scale, ::scale], ((0, 1), (0, 1))).reshape(8, 5, 10, 5)
    tiles = tiles.transpose(0, 2, 1, 3)[..., :4, :4]
    levels = ((tangents.per_sample()["tangents"][:, :, 0] + 1) * 127.5).clamp(0, 255)
    np.testing.assert_allclose(tiles, levels.numpy(), atol=0.51)


def test_chunks_change_no_number(found, config, net, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CHUNK", 8)
    again = evaluate(
        config, net, dataset, [PIXELS, HALVES], ALONE, RunFolder(tmp_path), progress=False
    )
    for first, second in zip(found[0], again, strict=True):
        assert first.key == second.key
        assert second.value == pytest.approx(first.value, rel=1e-4, abs=1e-6)
    first, second = (
        (folder / "samples/tangents.png").read_bytes() for folder in (found[1].path, tmp_path)
    )
    assert first == second


def test_sample_grids_are_written_for_the_shown_evaluations(found):
    assert [path.name for path in sorted((found[1].path / "samples").iterdir())] == [
        "nearest-halves.png",
        "nfe5.png",
        "real.png",
        "tangents.png",
    ]


def test_more_trajectories_than_samples(config, net, dataset, tmp_path):
    evaluation = dataclasses.replace(config.evaluation, nfe=(3,), samples=20, trajectories=30)
    config = dataclasses.replace(config, evaluation=evaluation)
    measured = evaluate(config, net, dataset, [HALVES], ALONE, RunFolder(tmp_path), progress=False)
    paths = {(metric, 30) for metric in (*PER_PATH, DRIFT, "truncation_error")}
    assert {(m.metric, m.n) for m in measured} >= {*paths, ("fd_halves", 20)}
    assert {m.n for m in measured if m.metric.endswith("_halves")} == {20}


def test_the_best_schedule_is_the_lowest_finite_one_and_the_fixed_one_competes(
    config, net, dataset, tmp_path
):
    evaluation = dataclasses.replace(
        config.evaluation, nfe=(3, 5, 9), rhos=(16.0, 9.0, 3.0), rho=7.0
    )
    config = dataclasses.replace(config, evaluation=evaluation)
    subject = Subject(config, net, dataset, [PIXELS], "cpu", tmp_path)
    cells = [job.setting for job in grid(subject)]
    assert {(cell.nfe, cell.rho) for cell in cells} == {
        (nfe, rho) for nfe in (5, 9) for rho in (3.0, 7.0, 9.0, 16.0)
    }

    assert all(cell.search for cell in cells)

    def best(value):
        rows = []
        for cell in cells:
            number = value(cell.nfe, cell.rho)
            noise = 0.0 if cell.rho == 7 else 0.1
            rows.append(cell.row("grid_fd_pixels", number, split="train", n=128))
            rows.append(cell.row("grid_gain_se_pixels", noise, split="train", n=128))
        jobs = at_best_schedule(subject, choose(rows))
        assert not any(job.setting.search for job in jobs)
        return [(job.setting.nfe, job.setting.rho) for job in jobs]

    # 3 and 7 are equally near to 5, so that the fixed one stays
    assert best(lambda nfe, rho: 1 + abs(rho - nfe)) == [(9, 9.0)]
    assert best(lambda nfe, rho: 1 + abs(rho - 7)) == []  # measured already
    assert best(lambda nfe, rho: math.nan if rho == 3 else rho) == []
    assert best(lambda nfe, rho: math.nan if nfe == 9 else 1 / rho) == [(5, 16.0)]
    assert best(lambda nfe, rho: math.nan if rho == 7 else rho) == [(5, 3.0), (9, 3.0)]
    assert best(lambda nfe, rho: math.nan if (nfe, rho) == (5, 7) else 7) == [(5, 3.0)]


def test_rank_warnings_count_the_smallest_set_of_what_is_asked_for(
    dataset, config, net, tmp_path, monkeypatch
):
    def said(dataset=dataset, extractor=PIXELS, **changes):
        asked = dataclasses.replace(
            config, evaluation=dataclasses.replace(config.evaluation, **changes)
        )
        return cautions(Subject(asked, net, dataset, [extractor], "cpu", tmp_path))

    assert said() == []
    assert said(samples=16) == ["fd_pixels from 16 images in 16 dimensions is unreliable"]
    small = dataclasses.replace(
        dataset, test=Split(dataset.test.images[:10], dataset.test.labels[:10])
    )
    assert said(small) == ["fd_pixels from 10 images in 16 dimensions is unreliable"]
    assert said(small, metrics=("truncation", "paths")) == []
    assert said(grid_samples=12, rhos=(3.0,)) == [
        "grid_fd_pixels from 12 images in 16 dimensions is unreliable"
    ]
    monkeypatch.setattr(Frechet, "fid_images", 100)
    inception = Features("inception", PIXELS.extract, size=2048, fingerprint="i")
    assert said(extractor=inception, samples=100) == [
        "fid from 40 images in 2048 dimensions is unreliable"
    ]


def test_what_training_cost():
    cost = CouplingCost()
    for seconds, after in ((0.1, 5.0), (0.5, 7.0), (0.2, 6.0)):
        cost.add({"seconds": seconds, "cost_before": 10.0, "cost_after": after})
    cost.wait_seconds = 0.4
    made = {m.metric: (m.value, m.n) for m in training_measurements(cost, seconds=4.0, images=1000)}
    assert made == {
        "transport_cost": (6.0, 3),
        "transport_cost_independent": (10.0, 3),
        "coupling_ms": (200.0, 3),
        "coupling_share": (pytest.approx(0.2), 3),
        "coupling_wait_share": (pytest.approx(0.1), 3),
        "images_per_s": (250.0, 1000),
        "train_seconds": (4.0, 1000),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_images_row_by_row(channels, tmp_path):
    levels = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)  # two more than fill the square
    save_grid(tmp_path / "grid.png", levels.expand(6, channels, 4, 4))
    picture = Image.open(tmp_path / "grid.png")
    pixels = np.asarray(picture)
    assert picture.mode == ("L" if channels == 1 else "RGB")
    # Two tiles of four pixels and a grey line, each pixel 28 wide
    assert pixels.shape[:2] == (252, 252)
    corners = pixels[[0, 0, 251, 251], [0, 251, 0, 251]].reshape(4, -1)
    assert corners.tolist() == [[v] * channels for v in (0, 51, 102, 153)]
    assert np.unique(pixels[4 * 28 : 5 * 28]).tolist() == [128]


def test_grid_of_so_many_columns(tmp_path):
    levels = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)
    save_grid(tmp_path / "grid.png", levels.expand(6, 1, 2, 2), columns=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    height, width = pixels.shape
    scale = width // 8
    assert (height, width) == (5 * scale, 8 * scale)
    tiles = [pixels[i * scale, j * scale].item() for i in (0, 3) for j in (0, 3, 6)]
    assert tiles == [0, 51, 102, 153, 204, 255]


def test_grid_keeps_an_image_upright(tmp_path):
    image = torch.full((1, 1, 2, 2), -1.0)
    image[0, 0, 0, 1] = 1  # top right
    save_grid(tmp_path / "grid.png", image)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels[0, -1] == 255
    assert pixels[-1, 0] == pixels[0, 0] == 0


def test_points_have_no_grid(tmp_path):
    save_grid(tmp_path / "grid.png", torch.zeros(4, 2, 1, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("channels", "searched"), [(1, 1), (2, 0), (3, 1)])
def test_neighbours_are_sought_of_images_that_have_a_picture_only(channels, searched):
    class Spaces(dict):
        asked = 0

        def values(self):
            self.asked += 1
            raise LookupError

    train = SimpleNamespace(images=torch.zeros(4, channels, 8, 8))
    subject = SimpleNamespace(measured=SimpleNamespace(train=train), spaces=Spaces())
    with contextlib.suppress(LookupError):
        _show_nearest(subject, torch.zeros(1, channels, 8, 8))
    assert subject.spaces.asked == searched

"""Samples that are not finite: NaN for their metrics, one note, and all else is measured."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from bench.config import RunConfig
from bench.data import Dataset, Split
from bench.evaluation.ledger import is_finished
from bench.evaluation.loop import evaluate
from bench.evaluation.pictures import save_grid
from bench.features import Features
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.sampling import sample as sampling
from bench.sampling.latents import draw_latents
from bench.sampling.store import SampleStore
from models.denoiser import Denoiser

ALONE = Ranks(0, 1, "cpu")
PIXELS = Features("pixels", lambda images: images.flatten(1), size=16, fingerprint="pixels")
SAMPLES = 60


def refusing(images):
    """Features of a network that asserts what it is given, as TorchScript files may."""
    assert images.isfinite().all()
    return images.flatten(1).unflatten(1, (-1, 2)).mean(2)


HALVES = Features(
    "halves",
    refusing,
    size=8,
    fingerprint="h",
    classify=lambda f: f[:, :3].argmax(1),
    probabilities=lambda f: f[:, :3].softmax(1),
)


class Diverged(torch.nn.Module):
    """The denoiser of Gaussian pixels; but ``bad`` at low noise, where the first pixel is above
    ``above``.
    """

    label_dim, sigma_data = 0, 0.5
    one_hot = Denoiser.one_hot

    def __init__(self, bad=math.nan, above=0.0):
        super().__init__()
        self.bad, self.above = bad, above

    def forward(self, x, sigma, labels=None, augment_labels=None):
        sigma = torch.as_tensor(sigma, dtype=torch.float32).expand(len(x))
        # Exact for N(0, 1/4): no pixel changes its sign
        shrunk = x.float() / (1 + 4 * sigma**2)[:, None, None, None]
        low, high = (sigma < 0.1)[:, None, None, None], x[:, :1, :1, :1] > self.above
        return torch.where(low & (high | x.isnan()), self.bad, shrunk)


@pytest.fixture(params=["uint8", "float"])
def dataset(request) -> Dataset:
    g = torch.Generator().manual_seed(0)
    images = [torch.randn(n, 1, 4, 4, generator=g).clamp(-1, 1) for n in (60, 40)]
    if request.param == "uint8":
        images = [((x + 1) * 127.5).to(torch.uint8) for x in images]
    return Dataset("toy", *(Split(x, torch.arange(len(x)) % 3) for x in images), num_classes=3)


def config(**changes) -> RunConfig:
    values = {
        "nfe": (3, 5),
        "samples": SAMPLES,
        "trajectories": 20,
        "reference_steps": 12,
        "rhos": (3.0, 9.0),
    }
    values |= {
        "grid_samples": 20,
        "metrics": ("samples", "truncation", "grid", "paths", "local"),
        **changes,
    }
    return dataclasses.replace(
        RunConfig(), data="toy", evaluation=dataclasses.replace(RunConfig().evaluation, **values)
    )


def measured(net, dataset, folder, extractors=(HALVES, PIXELS), **changes):
    return evaluate(
        config(**changes), net, dataset, list(extractors), ALONE, RunFolder(folder), progress=False
    )


def metrics_of(rows, *prefixes) -> list[float]:
    # Floors are of real images.
    own = [row for row in rows if "_floor_" not in row.metric]
    return [row.value for row in own if row.metric.startswith(prefixes)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_metrics_of_all_kinds_are_nan(bad, dataset, tmp_path):
    """Infinite pixels would be clipped to a picture's range, and NaN become a level of 8 bits."""
    rows = measured(Diverged(bad, above=-math.inf), dataset, tmp_path)
    of_samples = (
        "fd_",
        "kid_",
        "precision",
        "recall",
        "density",
        "coverage",
        "copy_",
        "class_",
        "truncation",
        "grid_",
    )
    values = metrics_of(rows, *of_samples)
    assert len(values) > 40
    assert all(map(math.isnan, values))
    assert all(map(math.isnan, metrics_of(rows, "curvature", "path_")))
    steps = sorted((row.sigma, row.value) for row in rows if row.metric == "local_error_heun")
    assert not math.isfinite(steps[0][1])
    assert math.isfinite(steps[-1][1])  # at high noise the denoiser is sound


def test_some_samples_that_are_not_finite_are_enough(dataset, tmp_path):
    rows = measured(Diverged(), dataset, tmp_path, metrics=("samples",), rhos=())
    assert all(
        map(math.isnan, metrics_of(rows, "fd_", "kid_", "precision", "recall", "copy_", "class_"))
    )


def test_the_run_is_whole_and_its_record_can_be_read(dataset, tmp_path):
    """No cell of the search is finite, so nothing but the fixed rho is measured in full; nothing is
    done twice.
    """
    rows = measured(Diverged(), dataset, tmp_path)
    assert {row.rho for row in rows if row.metric == "fd_halves"} == {7.0}
    assert is_finished(RunFolder(tmp_path), config())
    kept = RunFolder(tmp_path).measurements()
    assert {row.key for row in rows} <= {row.key for row in kept}
    assert any(math.isnan(row.value) for row in kept)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    measured(Diverged(), dataset, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_there_is_one_note_with_the_numbers(dataset, tmp_path, capsys):
    """The count is that of the samples themselves."""
    net = Diverged()
    evaluation = config().evaluation
    latents = draw_latents(SAMPLES, dataset, 0)
    images = sampling.sample(
        net, latents, sampling.Setting("heun", 3, 7.0), evaluation, "cpu"
    ).images
    bad = int((~images.flatten(1).isfinite().all(1)).sum())
    assert 0 < bad < SAMPLES
    measured(net, dataset, tmp_path, nfe=(3,), rhos=(), metrics=("samples",))
    (note,) = [line for line in "".join(capsys.readouterr()).splitlines() if "not finite" in line]
    assert note.startswith(f"note: {bad} of {SAMPLES} samples are not finite: heun-nfe3-rho7.")
    measured(net, dataset, tmp_path / "more")
    assert "".join(capsys.readouterr()).count("not finite") == 1


def test_finite_samples_make_no_note(dataset, tmp_path, capsys):
    rows = measured(Diverged(above=math.inf), dataset, tmp_path)
    assert "not finite" not in "".join(capsys.readouterr())
    assert all(
        math.isfinite(row.value) for row in rows if row.metric.startswith(("fd_", "kid_", "grid_"))
    )


@pytest.mark.parametrize("sampler", ["euler", "dopri5:tolerance=0.01", "euler-maruyama"])
def test_other_samplers_end_with_nan_as_well(sampler, dataset, tmp_path):
    rows = measured(
        Diverged(above=-math.inf),
        dataset,
        tmp_path,
        samplers=(sampler,),
        metrics=("samples", "truncation"),
        rhos=(),
    )
    assert {row.sampler for row in rows if row.metric == "fd_halves"} == {sampler}
    assert all(map(math.isnan, metrics_of(rows, "fd_", "truncation")))
    assert all(row.nfe for row in rows if row.metric == "fd_halves")


def test_starts_are_measured_too(dataset, tmp_path):
    rows = measured(
        Diverged(above=-math.inf),
        dataset,
        tmp_path,
        start=("truncated:sigma=2",),
        metrics=("samples",),
        rhos=(),
    )
    assert all(map(math.isnan, metrics_of(rows, "mode_mixture_0.2_halves")))
    # Two starts at three numbers of evaluations
    assert len(metrics_of(rows, "mode_mixture_0.2_halves")) == 6


def test_points_in_the_plane_are_measured_too(tmp_path):
    g = torch.Generator().manual_seed(0)
    splits = (Split(torch.randn(n, 2, 1, 1, generator=g), torch.arange(n) % 3) for n in (60, 40))
    plane = Dataset("plane", *splits, num_classes=3, bounded=False)
    points = dataclasses.replace(PIXELS, size=2)
    rows = measured(
        Diverged(above=-math.inf), plane, tmp_path, [points], metrics=("samples",), rhos=()
    )
    found = {row.metric: row.value for row in rows if row.split in ("test", None)}
    assert math.isnan(found["w2"])
    assert math.isfinite(found["w2_floor"])


def test_a_store_says_which_samples_were_finite(tmp_path):
    """Only what is measured: what is stored stays as it is."""
    store = SampleStore.of(tmp_path, "some", {})
    images = torch.arange(48, dtype=torch.uint8).reshape(3, 1, 4, 4)
    store.add(0, images=images, finite=torch.tensor([True, False, True]))
    store.add(3, images=images)
    first, second = store.as_measured(5)
    assert torch.equal(torch.cat(list(store.images(6))), images.repeat(2, 1, 1, 1))
    assert first.flatten(1).isnan().all(1).tolist() == [False, True, False]
    torch.testing.assert_close(first[2], images[2].float() / 127.5 - 1)
    assert torch.equal(second, images[:2])


def test_a_picture_of_nothing_is_grey(tmp_path):
    images = torch.stack(
        [torch.full((1, 16, 16), value) for value in (math.nan, 1.0, -1.0, math.inf)]
    )
    save_grid(tmp_path / "grid.png", images)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    # In the middle of each tile; between two is a line of grey.
    near, far = len(pixels) // 4, 3 * len(pixels) // 4
    assert [int(pixels[r, c]) for r, c in ((near, near), (near, far), (far, near), (far, far))] == [
        128,
        255,
        0,
        255,
    ]

"""Measure a trained denoiser: quality at each NFE, curvature, truncation error; the same latents for every arm."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config import EvaluationConfig, RunConfig
from bench.data import Dataset, as_images
from bench.features import Features
from bench.metrics.frechet import Moments, frechet_distance
from bench.metrics.trajectory import Path as OdePath
from bench.metrics.trajectory import curvature_fm
from bench.metrics.truncation import truncation_error
from bench.pairs import CouplingCost
from bench.randomness import generator
from bench.record import Measurement, write_bytes
from models.precondition import EDMDenoiser
from models.samplers import CountNFE, Observe, heun
from models.schedule import heun_steps, karras_sigmas

CHUNK = 500  # images sampled at a time
GRID_NFE = (5, 13, 35)  # numbers of evaluations, if sampled, whose images are shown
GRID_SIDE = 8


@dataclass(frozen=True)
class Latents:
    """Where sampling begins: unit noise ``[n, c, h, w]`` and classes ``[n]``, found by sample index alone."""

    noise: Tensor
    labels: Tensor

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.noise)


def draw_latents(n: int, dataset: Dataset, seed: int) -> Latents:
    """Latents 0 .. n - 1 of a seed, one generator a sample: they depend neither on n nor on the batch size."""
    noise, labels = [], []
    for index in range(n):
        g = generator(seed, "latents", step=index)
        noise.append(torch.randn(dataset.image_shape, generator=g))
        labels.append(torch.randint(dataset.num_classes, (), generator=g))
    return Latents(torch.stack(noise), torch.stack(labels))


@torch.no_grad()
def sample(
    net: EDMDenoiser,
    latents: Latents,
    steps: int,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> tuple[Tensor, int]:
    """Sample images ``[n, c, h, w]`` float32 on the CPU; also the measured evaluations per image."""
    sigmas = karras_sigmas(steps, config.rho, config.sigma_min, config.sigma_max)
    images, counted = [], 0
    for start in range(0, len(latents), CHUNK):
        part = latents[start : start + CHUNK]
        labels = F.one_hot(part.labels, net.label_dim).float().to(device) if net.label_dim else None
        denoise = CountNFE(net)
        images.append(heun(denoise, part.noise.to(device), sigmas, labels, observe).float().cpu())
        counted = denoise.nfe
        advance(len(part) * counted)
    return torch.cat(images), counted


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to what the data set can hold: pictures are clipped, uint8 ones rounded as well."""
    if dataset.train.images.dtype != torch.uint8:
        return images.clamp(-1, 1) if dataset.bounded else images
    return as_images((images * 127.5 + 128).clamp(0, 255).to(torch.uint8))  # + 128: half a level of rounding up


@torch.no_grad()
def moments(images: Tensor, features: Features, device: str) -> Moments:
    """Moments of the features of images ``[n, c, h, w]``, taken in chunks."""
    parts = (features.extract(as_images(chunk).to(device)).cpu() for chunk in images.split(CHUNK))
    total = Moments.of(next(parts))
    for part in parts:
        total = total + Moments.of(part)
    return total


def evaluate(
    config: RunConfig,
    net: EDMDenoiser,
    dataset: Dataset,
    extractors: list[Features],
    device: str,
    samples_dir: Path | None = None,
    progress: bool = True,
) -> list[Measurement]:
    """All measurements of a trained denoiser; writes sample grids to ``samples_dir``."""
    evaluation = config.evaluation
    net = net.eval()
    latents = draw_latents(max(evaluation.samples, evaluation.trajectories), dataset, config.seed)
    paths = latents[: evaluation.trajectories]
    work = len(paths) * (2 * evaluation.reference_steps - 1) + len(latents) * sum(evaluation.nfe)
    found: list[Measurement] = []
    common = {"rho": evaluation.rho, "sampler": "heun", "start": "gaussian", "guidance": "none"}
    references = {
        (features.name, split_name): moments(split.images, features, device)
        for features in extractors
        for split_name, split in (("train", dataset.train), ("test", dataset.test))
    }
    bar = tqdm(total=work, desc=f"evaluate {config.coupling}", unit="eval", unit_scale=True,
               disable=None if progress else True)  # fmt: skip
    with bar:
        reference, curvature, reference_nfe = _dense_reference(net, paths, evaluation, device, bar.update)
        found.append(Measurement("curvature_fm", curvature, nfe=reference_nfe, n=len(paths), **common))
        for nfe in evaluation.nfe:
            images, counted = sample(net, latents, heun_steps(nfe), evaluation, device, advance=bar.update)
            error = truncation_error(images[: len(paths)], reference)
            found.append(Measurement("truncation_error", error, nfe=counted, n=len(paths), **common))
            stored = as_stored(images[: evaluation.samples], dataset)
            for features in extractors:
                generated = moments(stored, features, device)
                for split in ("train", "test"):
                    distance = _quiet_frechet(generated, references[features.name, split])
                    name = f"fd_{features.name}"
                    found.append(Measurement(name, distance, nfe=counted, split=split, n=len(stored), **common))
            if samples_dir and nfe in GRID_NFE:
                save_grid(samples_dir / f"nfe{nfe}.png", stored[: GRID_SIDE**2])
    return found


def _quiet_frechet(a: Moments, b: Moments) -> float:
    """The distance without its warning on rank: ``rank_warning`` says it once for a whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return frechet_distance(a, b)


def rank_warning(features: Features, dataset: Dataset, evaluation: EvaluationConfig) -> str | None:
    """A line for the terminal where a Frechet distance rests on fewer samples than features."""
    least = min(evaluation.samples, len(dataset.test), len(dataset.train))
    if least > features.size:
        return None
    return f"fd_{features.name}: {least} samples in {features.size} features; values are biased, compare arms with care"


def _dense_reference(
    net: EDMDenoiser, paths: Latents, evaluation: EvaluationConfig, device: str, advance
) -> tuple[Tensor, float, int]:
    """Reference images of the dense sampler, the curvature of its paths, and its evaluations per image."""
    images, curvatures, counted = [], [], 0
    for start in range(0, len(paths), CHUNK):
        part, path = paths[start : start + CHUNK], OdePath()
        end, counted = sample(net, part, evaluation.reference_steps, evaluation, device, path, advance)
        images.append(end)
        curvatures.append(curvature_fm(path) * len(part))
    return torch.cat(images), sum(curvatures) / len(paths), counted


def training_measurements(cost: CouplingCost, seconds: float, images: int) -> list[Measurement]:
    """What training and its coupling cost and gained; transport costs are mean squared distances of a pair."""
    pools = {"n": cost.pools}
    return [
        Measurement("transport_cost", cost.cost_after / cost.pools, **pools),
        Measurement("transport_cost_independent", cost.cost_before / cost.pools, **pools),
        Measurement("coupling_ms", cost.median_ms, **pools),
        Measurement("coupling_share", cost.solver_seconds / seconds, **pools),
        Measurement("coupling_wait_share", cost.wait_seconds / seconds, **pools),
        *([Measurement("coupling_fit_seconds", cost.fit_seconds)] if cost.fit_seconds else []),
        Measurement("images_per_s", images / seconds, n=images),
        Measurement("train_seconds", seconds, n=images),
    ]


def save_grid(path: Path, images: Tensor) -> None:
    """Write images ``[n, c, h, w]`` in [-1, 1] as the largest full square of tiles, one PNG; 2-D points have none."""
    from PIL import Image

    n, c, h, w = images.shape
    if c not in (1, 3):
        return
    side = math.isqrt(n)
    tiles = images[: side * side].reshape(side, side, c, h, w).permute(0, 3, 1, 4, 2).reshape(side * h, side * w, c)
    pixels = ((tiles + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if c == 1 else pixels)
    scale = max(1, 256 // picture.width)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())

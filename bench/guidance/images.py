"""Real and generated images that a discriminator is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config import EvaluationConfig
from bench.config.guidance import GuidanceConfig
from bench.data import Dataset, Split
from bench.pairs.pool import Pairs
from bench.randomness import derive, generator
from bench.sampling.latents import as_stored, draw_latents, finite_rows
from bench.sampling.store import SampleStore, weights_digest
from models.denoiser import Denoiser
from models.guidance.guide import WINDOW
from models.samplers.heun import heun
from models.schedule import karras_sigmas

CHUNK = 500  # images sampled or judged at a time


class GuideError(RuntimeError):
    """The discriminator cannot be trained or used; the message names the way out."""


@dataclass(frozen=True)
class Sides:
    """Real and generated images."""

    real: Split
    fake: Split


@dataclass(frozen=True)
class Arm:
    """What a discriminator belongs to: a trained denoiser, its data set, the seed of its run; and
    where to compute.

    Of ``evaluation`` it takes how samples are made there: the range of sigma and the law of the
    classes.
    """

    net: Denoiser
    dataset: Dataset
    seed: int
    device: str = "cpu"
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def guided(self) -> tuple[float, float]:
        """The lowest and highest sigma at which samples are guided: there the discriminator is
        judged.
        """
        return WINDOW[0], self.evaluation.sigma_max

    @property
    def sampling(self) -> dict[str, object]:
        """All that its images depend on beside weights, data, seed and schedule."""
        evaluation = self.evaluation
        levels = {"sigma_min": evaluation.sigma_min, "sigma_max": evaluation.sigma_max}
        return levels | ({"class_law": evaluation.class_law} if self.net.label_dim else {})


def make_fakes(config: GuidanceConfig, arm: Arm, folder: Path, progress: bool = True) -> Split:
    """Images of the arm's denoiser, as the data set stores its own, and the classes asked for;
    resumable.

    The latents are found by seed and sample index, as in the evaluation, but are others: a
    discriminator must not have seen the very samples that it guides. They are sampled over the
    range of sigma of the evaluation. Those that are not finite teach nothing and are left out, with
    a note.

    Raises:
        GuideError: fewer than two are finite.

    """
    dataset, n = arm.dataset, config.fakes or len(arm.dataset.train)
    seed, steps = derive(arm.seed, "fakes"), (config.fakes_nfe + 1) // 2
    settings = {
        "weights": weights_digest(arm.net), "data": dataset.checksum, "seed": arm.seed,
        "nfe": config.fakes_nfe, "rho": config.fakes_rho, **arm.sampling,
    }  # fmt: skip
    store = SampleStore.of(folder, "fakes", settings)
    evaluation = arm.evaluation
    sigmas = karras_sigmas(steps, config.fakes_rho, evaluation.sigma_min, evaluation.sigma_max)
    for rows in tqdm(
        store.missing(n, CHUNK), desc="sample fakes", disable=None if progress else True
    ):
        latents = draw_latents(len(rows), dataset, seed, rows.start, evaluation.class_law)
        labels = one_hot(latents.labels, arm.net.label_dim, arm.device)
        with torch.no_grad():
            images = (
                heun(arm.net.eval(), latents.noise.to(arm.device), sigmas, labels).float().cpu()
            )
        store.add(
            rows.start,
            images=as_stored(images, dataset),
            labels=latents.labels,
            finite=finite_rows(images),
        )
    images, labels, finite = (
        torch.cat(list(store.tensors(name, n))) for name in ("images", "labels", "finite")
    )
    if finite.sum() < 2:
        raise GuideError(
            f"{n - int(finite.sum()):,} of {n:,} samples are not finite: a lower --lr may help"
        )
    if not finite.all():
        tqdm.write(f"note: {n - int(finite.sum()):,} of {n:,} fakes are not finite and left out")
    return Split(images[finite], labels[finite])


def refuse_small(count: int, share: float) -> None:
    """Refuse to take a share of so few images.

    Raises:
        GuideError: there are too few for two parts of two.

    """
    held = round(share * count)
    if held < 2 or count - held < 2:
        raise GuideError(
            f"{count} images cannot give {share:.0%} away: take more --guidance.fakes, or another"
            " --guidance.held-out"
        )


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """The larger part to train on, and a share that is held out; the same images for every arm and
    seed.

    Raises:
        GuideError: too few images for two parts of two.

    """
    refuse_small(len(split), share)
    held = round(share * len(split))
    order = torch.randperm(len(split), generator=generator(0, "guide held-out"))
    return tuple(
        Split(split.images[rows], split.labels[rows]) for rows in (order[held:], order[:held])
    )


def noisy(pairs: Pairs, sigma: Tensor) -> Tensor:
    return pairs.images + sigma[:, None, None, None] * pairs.noise


def one_hot(labels: Tensor, label_dim: int, device: str | torch.device) -> Tensor | None:
    return F.one_hot(labels, label_dim).float().to(device) if label_dim else None

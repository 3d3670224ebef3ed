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
from bench.record import UserError
from bench.sampling.latents import as_stored, draw_latents, finite_rows
from bench.sampling.store import SampleStore, weights_digest
from models.denoiser import Denoiser
from models.guidance.guide import WINDOW
from models.ode import SigmaODE
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

CHUNK = 500  # images sampled or judged at a time


class GuideError(UserError):
    """The discriminator cannot be trained or used; the message names the way out."""


@dataclass(frozen=True)
class Sides:
    """Real and generated images."""

    real: Split
    fake: Split


@dataclass(frozen=True)
class GuidedModel:
    """A trained denoiser that a discriminator belongs to, its data set and the seed of its run.

    ``evaluation`` gives the range of sigma and the law of the classes that samples are drawn with.
    """

    net: Denoiser
    dataset: Dataset
    seed: int
    device: str = "cpu"
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def guided(self) -> tuple[float, float]:
        """Lowest and highest sigma at which samples are guided, and the discriminator is judged."""
        return WINDOW[0], self.evaluation.sigma_max

    @property
    def sampling(self) -> dict[str, object]:
        """Everything its images depend on in addition to weights, data, seed and schedule."""
        evaluation = self.evaluation
        levels: dict[str, object] = {
            "sigma_min": evaluation.sigma_min,
            "sigma_max": evaluation.sigma_max,
        }
        # An unconditional denoiser is asked for no classes.
        if self.net.label_dim:
            return {**levels, "class_law": evaluation.class_law}
        return levels


def make_fakes(
    config: GuidanceConfig, model: GuidedModel, folder: Path, progress: bool = True
) -> Split:
    """Images of the denoiser, as the data set stores its own, and the classes asked for; resumes.

    The latents are found by seed and sample index, as in the evaluation, but with another seed: a
    discriminator must not have seen the samples that it guides. Images that are not finite teach
    nothing and are left out, with a note.

    Raises:
        GuideError: fewer than two are finite.

    """
    dataset = model.dataset
    n = config.fakes or len(dataset.train)
    seed = derive(model.seed, "fakes")
    # Heun's method takes two evaluations a step, except for the last.
    steps = (config.fakes_nfe + 1) // 2
    settings = {
        "weights": weights_digest(model.net), "data": dataset.checksum, "seed": model.seed,
        "nfe": config.fakes_nfe, "rho": config.fakes_rho, **model.sampling,
    }  # fmt: skip
    store = SampleStore.of(folder, "fakes", settings)
    evaluation = model.evaluation
    sigmas = karras_sigmas(steps, config.fakes_rho, evaluation.sigma_min, evaluation.sigma_max)
    net = model.net.eval()
    missing = store.missing(n, CHUNK)
    for rows in tqdm(missing, desc="sample fakes", disable=None if progress else True):
        latents = draw_latents(len(rows), dataset, seed, rows.start, evaluation.class_law)
        labels = net.one_hot(latents.labels.to(model.device))
        with torch.no_grad():
            ode = SigmaODE(net, labels)
            images = heun(ode, latents.noise.to(model.device), sigmas).float().cpu()
        store.add(
            rows.start,
            # Rounded as the reals are: otherwise values between the 8-bit levels would show which
            # images are fakes.
            images=as_stored(images, dataset),
            labels=latents.labels,
            finite=finite_rows(images),
        )
    images = torch.cat(list(store.tensors("images", n)))
    labels = torch.cat(list(store.tensors("labels", n)))
    finite = torch.cat(list(store.tensors("finite", n)))
    bad = n - int(finite.sum())
    if n - bad < 2:
        raise GuideError(f"{bad:,} of {n:,} samples are not finite: a lower --lr may help")
    if bad:
        tqdm.write(f"note: {bad:,} of {n:,} fakes are not finite and left out")
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
    """The larger part to train on, and a share that is held out; the same for every run.

    Raises:
        GuideError: too few images for two parts of two.

    """
    refuse_small(len(split), share)
    held = round(share * len(split))
    # At random: the first images may all be of one class.
    order = torch.randperm(len(split), generator=generator(0, "guide held-out"))
    return _rows(split, order[held:]), _rows(split, order[:held])


def _rows(split: Split, rows: Tensor) -> Split:
    return Split(split.images[rows], split.labels[rows])


def noisy(pairs: Pairs, sigma: Tensor) -> Tensor:
    """Images with their noise at levels sigma ``[n]``: ``[n, c, h, w]``."""
    return pairs.images + sigma[:, None, None, None] * pairs.noise


def one_hot(labels: Tensor, label_dim: int, device: str | torch.device) -> Tensor | None:
    """One-hot classes ``[n, label_dim]`` for a conditional discriminator; else None."""
    return F.one_hot(labels, label_dim).float().to(device) if label_dim else None

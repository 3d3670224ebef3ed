"""Pairs of a trained model: noise samples, and the images that its ODE makes of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.dataset._numbered import numbered_noise
from couplings.dataset.contract import (
    DatasetCoupling,
    DatasetPairing,
    Fitted,
    TrainingSet,
    check_stamp,
    stamp,
)
from couplings.errors import require

SAVE_SECONDS = 60.0
# Images whose nearest neighbours say how many of the model's are copies.
JUDGED = 1000
# Share of the training images that are so near to another one.
COPY_QUANTILE = 0.05


@dataclass(frozen=True, kw_only=True)
class Reflow(DatasetCoupling):
    """Every noise sample goes with the image that a trained model makes of it, for rectified flow.

    Pairs are made once, `pairs` for every training image, and kept. The noise is standard normal,
    a finite set of it; the images have the law of the model, whose errors and copies a network
    trained on them inherits. The fit reports `evaluations` of the network and `copy_rate`, the
    share of images that are nearer to a training image than all but 5 % of those are to each other:
    0.05 is as new as the training images.

    Options:
        run: the name of a finished run next to the new one, whose network makes the images.
            `fit(model=...)` takes any other model.
        nfe: network evaluations of an image, by Heun's method.
        pairs: made for every training image. 2-rectified flow++ has 20 of CIFAR-10.
        batch: images made at once.
        per_class: ask the model for the class of the training image, as a conditional training
            must; without it the images have no labels.

    Cost: n pairs nfe network evaluations; O(n pairs d) memory.

    Source: Liu et al. 2022 (arXiv 2209.03003); settings as in Lee et al. 2024 (arXiv 2405.20320).
    """

    exact_data_marginal: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True

    run: str = "none"
    nfe: int = 35
    pairs: int = 4
    batch: int = 256
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.nfe > 2 and self.nfe % 2 == 1,
            f"{self.name}: nfe must be 3, 5, 7, ..., as Heun's method takes, got {self.nfe}",
        )
        for option in ("pairs", "batch"):
            value = getattr(self, option)
            require(value > 0, f"{self.name}: {option} must be above 0, got {value}")

    def begin(self, data: TrainingSet, seed: int) -> ReflowPairs:
        """No pairs yet."""
        require(
            not self.per_class or data.labels is not None, f"{self}: per_class=true needs labels"
        )
        return ReflowPairs(self, data, seed)


class ReflowPairs(Fitted):
    """The pairs of a model; see `Reflow`.

    Attributes:
        images: `[m, ...]` on the CPU, made so far: number i + n r is round r of training image i.
        seconds: of the fit.
        copy_rate: of the images; NaN before all are made.

    """

    def __init__(self, coupling: Reflow, data: TrainingSet, seed: int):
        self.coupling = coupling
        self.data = data
        self.seed = seed
        self.images = torch.empty(0, *data.images.shape[1:], dtype=torch.float32, device="cpu")
        self.seconds = 0.0
        self.copy_rate = math.nan

    @property
    def report(self) -> dict[str, float]:  # type: ignore[override] # counted when asked for
        """`seconds`, `evaluations` of the network, and `copy_rate`."""
        return {
            "seconds": self.seconds,
            "evaluations": float(len(self.images) * self.coupling.nfe),
            "copy_rate": self.copy_rate,
        }

    def noise(self, numbers: Tensor) -> Tensor:
        """The noise samples `[b, ...]` of pairs `[b]`, on the device of the training set."""
        return numbered_noise(self.seed, "reflow", numbers, self.data.images)

    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """A pair made for each image of the index; which of them, the first value of `noise` says.

        The rest of the fresh noise is ignored.
        """
        # Uniform in [0, 1) for noise from N(0, 1), so that no state counts the rounds.
        uniform = torch.special.ndtr(noise.flatten(1)[:, 0].double()).cpu()
        last = self.coupling.pairs - 1
        rounds = (self.coupling.pairs * uniform).long().clamp(0, last)
        numbers = index.cpu() + len(self.data.images) * rounds
        return DatasetPairing(numbers, self.noise(numbers))

    def take(self, images: Tensor, index: Tensor) -> Tensor:
        """The model's images `[n, ...]` of an index of `couple`."""
        return self.images[index.cpu()].to(images.device)

    def run(self, save: Callable[[], None]) -> None:
        """Make the images that are still missing; saves once a minute."""
        total = len(self.data.images) * self.coupling.pairs
        if len(self.images) == total:
            return
        from tqdm import tqdm

        made = [self.images]
        saved = time.perf_counter()
        first = len(self.images)
        starts = range(first, total, self.coupling.batch)
        for start in tqdm(starts, desc="reflow pairs", disable=None):
            clock = time.perf_counter()
            numbers = torch.arange(start, min(start + self.coupling.batch, total), device="cpu")
            made.append(self._make(numbers))
            self.seconds += time.perf_counter() - clock
            is_last = start == starts[-1]
            if is_last or time.perf_counter() - saved > SAVE_SECONDS:
                self.images = torch.cat(made)
                made = [self.images]
                if is_last:
                    self.copy_rate = copy_rate(self.images, self.data.images)
                save()
                saved = time.perf_counter()

    def state_dict(self) -> dict[str, Tensor]:
        """The images made, and the seed of all noise samples."""
        return stamp(self.data, self.coupling) | {
            "images": self.images,
            "seed": torch.tensor(self.seed, device="cpu"),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64, device="cpu"),
            "copy_rate": torch.tensor(self.copy_rate, dtype=torch.float64, device="cpu"),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state of the same images, labels and options; see `Fitted.load_state_dict`."""
        check_stamp(state, self.data, self.coupling)
        self.images = state["images"]
        self.seed = int(state["seed"])
        self.seconds = float(state["seconds"])
        self.copy_rate = float(state["copy_rate"])

    def _make(self, numbers: Tensor) -> Tensor:
        """The images `[b, ...]` of the noise samples of pairs `[b]`."""
        require(
            self.model is not None,
            f"{self.coupling}: a trained model makes its pairs: give the name of a finished run to"
            " bench.run as reflow:run=NAME, or call fit(model=...)",
        )
        labels = None
        if self.coupling.per_class:
            labels = self.data.labels[numbers % len(self.data.images)]
        images = self.model(self.noise(numbers), labels).float().cpu()
        require(bool(images.isfinite().all()), f"{self.coupling}: the model made values not finite")
        return images


def copy_rate(made: Tensor, images: Tensor) -> float:
    """The share of images made that are nearer to a training image than all but 5 % of those are.

    Evenly spaced subsets of both are judged, each against all training images `[n, ...]`. NaN for
    fewer than two.
    """
    reference = images.flatten(1).double()
    if len(reference) < 2:
        return math.nan
    rows = torch.arange(0, len(images), max(1, len(images) // JUDGED), device=images.device)
    among = torch.cdist(reference[rows], reference)
    # An image is no copy of itself.
    among[torch.arange(len(rows), device=images.device), rows] = math.inf
    limit = among.min(1).values.quantile(COPY_QUANTILE)
    judged = made[:: max(1, len(made) // JUDGED)].to(images.device).flatten(1).double()
    nearest = torch.cdist(judged, reference).min(1).values
    return float((nearest < limit).double().mean())

"""Pairs of a trained model: noise samples, and the images that its ODE makes of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.cost import blocks
from couplings.dataset._numbered import numbered_noise
from couplings.dataset._progress import progress_bar
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
# Images that a model makes again before it continues a fit, and how far these may be from those
# made before, relative to their norm: other devices and batches round differently.
CHECKED = 4
SAME = 0.01
# Images whose nearest neighbours say how many of the model's are copies.
JUDGED = 1000
# Share of the training images that are so near to another one.
COPY_QUANTILE = 0.05
# Elements of a block of distances: 4 MB in float32.
BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class Reflow(DatasetCoupling):
    """Every noise sample goes with the image that a trained model makes of it, for rectified flow.

    Pairs are made once, `pairs` for every training image, and kept. The noise is standard normal,
    a finite set of it; the images have the law of the model, whose errors and copies a network
    trained on them inherits. The fit reports `copy_rate`, the share of images that are nearer to a
    training image than all but 5 % of those are to each other: 0.05 means as far from them as they
    are from each other. The metric `copy_rate` of bench compares with held-out images instead. The
    fit also reports `evaluations` of the network, if the model counts them.

    A checkpoint belongs to one model: a fit that resumes refuses a model that makes other images.

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
        evaluations: of the network; NaN if a model did not count them.
        copy_rate: of the images; NaN before all are made.

    """

    def __init__(self, coupling: Reflow, data: TrainingSet, seed: int):
        self.coupling = coupling
        self.data = data
        self.seed = seed
        self.images = torch.empty(0, *data.images.shape[1:], dtype=torch.float32, device="cpu")
        self.seconds = 0.0
        self.evaluations = 0.0
        self.copy_rate = math.nan

    @property
    def report(self) -> dict[str, float]:  # type: ignore[override] # counted when asked for
        """`seconds`, `copy_rate`, and `evaluations` of the network if they were counted."""
        report = {"seconds": self.seconds, "copy_rate": self.copy_rate}
        if not math.isnan(self.evaluations):
            report["evaluations"] = self.evaluations
        return report

    def noise(self, numbers: Tensor) -> Tensor:
        """The noise samples `[b, ...]` of pairs `[b]`, on the device of the training set."""
        return numbered_noise(self.seed, "reflow", numbers, self.data.images)

    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """A pair made for each image of the index; the first value of `noise` chooses which.

        The rest of the fresh noise is ignored.
        """
        # Uniform in [0, 1) for noise from N(0, 1), so that no state counts the rounds.
        # In float64 on the CPU: some accelerators have none.
        uniform = torch.special.ndtr(noise.flatten(1)[:, 0].cpu().double())
        last = self.coupling.pairs - 1
        rounds = (self.coupling.pairs * uniform).long().clamp(0, last)
        numbers = index.cpu() + len(self.data.images) * rounds
        return DatasetPairing(numbers, self.noise(numbers))

    def take(self, images: Tensor, index: Tensor) -> Tensor:
        """The model's images `[n, ...]` of an index of `couple`."""
        return self.images[index.cpu()].to(images.device)

    def run(self, save: Callable[[], None]) -> None:
        """Make the images that are still missing; saves once a minute.

        Raises:
            CouplingError: no model, or another one than that of the images made before.

        """
        if self.model is not None and len(self.images):
            self._check_model()
        if len(self.images) < len(self.data.images) * self.coupling.pairs:
            self._make_missing(save)
        # Only after all images are saved, so that a failure here costs none of them.
        if math.isnan(self.copy_rate):
            self.copy_rate = copy_rate(self.images, self.data.images)
            save()

    def state_dict(self) -> dict[str, Tensor]:
        """The images made, and the seed of all noise samples."""
        state = stamp(self.data, self.coupling) | {
            "images": self.images,
            "seed": torch.tensor(self.seed, device="cpu"),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64, device="cpu"),
            "copy_rate": torch.tensor(self.copy_rate, dtype=torch.float64, device="cpu"),
        }
        if not math.isnan(self.evaluations):
            state["evaluations"] = torch.tensor(self.evaluations, dtype=torch.float64, device="cpu")
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state of the same images, labels and options; see `Fitted.load_state_dict`."""
        check_stamp(state, self.data, self.coupling)
        self.images = state["images"]
        self.seed = int(state["seed"])
        self.seconds = float(state["seconds"])
        self.evaluations = float(state.get("evaluations", math.nan))
        self.copy_rate = float(state["copy_rate"])

    def _make_missing(self, save: Callable[[], None]) -> None:
        total = len(self.data.images) * self.coupling.pairs
        made = [self.images]
        saved = time.perf_counter()
        starts = range(len(self.images), total, self.coupling.batch)
        with progress_bar("reflow pairs", total, len(self.images)) as bar:
            for start in starts:
                clock = time.perf_counter()
                counted = self._counted()
                numbers = torch.arange(start, min(start + self.coupling.batch, total), device="cpu")
                made.append(self._make(numbers))
                self.evaluations += self._counted() - counted
                self.seconds += time.perf_counter() - clock
                bar.update(len(numbers))
                if start == starts[-1] or time.perf_counter() - saved > SAVE_SECONDS:
                    self.images = torch.cat(made)
                    made = [self.images]
                    save()
                    saved = time.perf_counter()

    def _counted(self) -> float:
        """Network evaluations that the model has counted so far; NaN if it counts none."""
        return float(getattr(self.model, "evaluations", math.nan))

    def _check_model(self) -> None:
        """Refuse a model that makes other images of the first noise samples than those here."""
        known = self.images[:CHECKED].double()
        again = self._make(torch.arange(len(known), device="cpu")).double()
        require(
            bool((again - known).norm() <= SAME * known.norm()),
            f"{self.coupling}: the pairs of this checkpoint are of another model: pass that model,"
            " or remove the checkpoint (for bench.run: reflow-*.safetensors in runs/.cache)",
        )

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
        require(
            bool(images.isfinite().all()),
            f"{self.coupling}: the model returned values that are not finite",
        )
        return images


def copy_rate(made: Tensor, images: Tensor) -> float:
    """The share of images made that are nearer to a training image than all but 5 % of those are.

    Evenly spaced subsets of both are judged, each against all training images `[n, ...]`. NaN for
    fewer than two.
    """
    reference = images.flatten(1)
    n = len(reference)
    if n < 2:
        return math.nan
    rows = torch.arange(0, n, max(1, n // JUDGED), device=images.device)
    # An image is no copy of itself.
    limit = _nearest(reference[rows], reference, own=rows).quantile(COPY_QUANTILE)
    judged = made[:: max(1, len(made) // JUDGED)].to(images.device).flatten(1)
    return float((_nearest(judged, reference) < limit).float().mean())


def _nearest(rows: Tensor, reference: Tensor, own: Tensor | None = None) -> Tensor:
    """The distances `[m]` float32 of rows `[m, d]` to the nearest of a reference `[n, d]`.

    `own` `[m]` are the numbers that rows have in the reference, which are left out.
    """
    rows = rows.float()
    least = torch.full((len(rows),), math.inf, dtype=torch.float32, device=rows.device)
    for part in blocks((len(reference), max(rows.shape)), BLOCK):
        # By differences: the rounding of a product of matrices would hide the distance of a copy.
        distances = torch.cdist(
            rows, reference[part].float(), compute_mode="donot_use_mm_for_euclid_dist"
        )
        if own is not None:
            numbers = torch.arange(part.start, part.stop, device=rows.device)
            distances.masked_fill_(own[:, None] == numbers, math.inf)
        least = torch.minimum(least, distances.min(1).values)
    return least

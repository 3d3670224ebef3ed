"""A persistent assignment of noise to the training set, improved one mini-batch at a time."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.dataset._numbered import numbered_noise
from couplings.dataset._progress import progress_bar
from couplings.dataset.contract import (
    DatasetCoupling,
    DatasetPairing,
    Fitted,
    TrainingSet,
    check_stamp,
    groups,
    stamp,
    stream,
)
from couplings.errors import require


@dataclass(frozen=True, kw_only=True)
class Cached(DatasetCoupling):
    """Every image holds its own noise samples, and mini-batches exchange them by exact OT.

    The n * caches noise samples are drawn once and kept as seeds. They always form one permutation
    over the images, so their law stays that of independent normals, but it is a finite set: more
    caches mean less over-fitting to it. Every exchange lowers the total squared distance or leaves
    it; the limit is optimal within every batch, not globally. `fit` does `epochs` sweeps in random
    batches, and training continues to improve through `CachedNoise.pair`.

    Options:
        caches: noise samples of an image.
        batch: images that exchange noise at once in `fit`, O(batch^3) each.
        epochs: sweeps over the images in `fit`; 0 leaves it all to training.
        per_class: exchange within a class only, so that the noise does not depend on the label.

    Cost: O(batch^3) time for each exchange of a batch; O(n caches) state.

    Source: the idea of LOOM-CFM (Davtyan et al. 2025, ICLR), for squared L2.
    """

    caches: int = 4
    batch: int = 256
    epochs: int = 4
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.caches > 0, f"{self.name}: caches must be above 0, got {self.caches}")
        require(self.batch > 1, f"{self.name}: batch must be above 1, got {self.batch}")
        require(self.epochs >= 0, f"{self.name}: epochs must not be negative, got {self.epochs}")

    @property
    def problem(self) -> str:
        """The spec without `epochs`, so that a finished fit can be fitted further."""
        return dataclasses.replace(self, epochs=Cached.epochs).spec

    def begin(self, data: TrainingSet, seed: int) -> "CachedNoise":
        """Every image with the noise samples first drawn for it: independent pairs."""
        require(
            not self.per_class or data.labels is not None, f"{self}: per_class=true needs labels"
        )
        return CachedNoise(self, data, seed)


class CachedNoise(Fitted):
    """The noise samples of a training set; see `Cached`.

    Attributes:
        slots: `[n, caches]` int64, the numbers of the noise samples that an image holds; together
            a permutation of 0 .. n caches - 1.
        step: exchanges done, in `fit` and in training.
        swaps: images that got another noise sample so far.
        seconds: of the sweeps of `fit`.

    """

    learns: ClassVar[bool] = True

    def __init__(self, coupling: Cached, data: TrainingSet, seed: int):
        self.coupling = coupling
        self.data = data
        self.seed = seed
        self.step = 0
        self.swaps = 0
        self.seconds = 0.0
        n = len(data.images)
        self.slots = torch.arange(n * coupling.caches, device="cpu").reshape(n, coupling.caches)
        self.group = torch.empty(n, dtype=torch.int64, device="cpu")
        _, members = groups(data.labels if coupling.per_class else None, n)
        for g, member in enumerate(members):
            self.group[member] = g

    @property
    def report(self) -> dict[str, float]:  # type: ignore[override] # counted when asked for
        """The exchanges so far: `steps`, `swaps` and `seconds`."""
        return {"steps": float(self.step), "swaps": float(self.swaps), "seconds": self.seconds}

    def noise(self, slots: Tensor) -> Tensor:
        """The noise samples `[b, ...]` of slot numbers `[b]`, always the same, as the images."""
        return numbered_noise(self.seed, "noise", slots, self.data.images)

    @torch.no_grad()
    def pair(self, index: Tensor, images: Tensor | None = None) -> Tensor:
        """Exchange noise among some images, keep the result, and return it.

        One cache of every image takes part, chosen at random.

        Args:
            index: `[b]` int64, distinct images of the training set.
            images: `[b, ...]`, as they are used now, such as augmented; as fitted by default.

        Returns:
            Noise `[b, ...]`, on the device of the training set: `noise[i]` goes with image
            `index[i]`.

        Raises:
            CouplingError: the index repeats or leaves the training set, or the images do not fit
                it.

        """
        index = index.cpu()
        self._check_index(index)
        if images is None:
            images = self.data.images[index.to(self.data.images.device)]
        expected = (len(index), *self.data.images.shape[1:])
        require(images.shape == expected, f"images {list(images.shape)}, expected {list(expected)}")
        generator = torch.Generator().manual_seed(stream(self.seed, "cache", self.step))
        # By the step, so that a resumed training draws what the one without a stop would.
        cache = torch.randint(self.coupling.caches, index.shape, generator=generator, device="cpu")
        held = self.slots[index, cache]
        noise = self.noise(held)
        order = exchange(images, noise, self.group[index])
        self.slots[index, cache] = held[order]
        self.swaps += int((order != torch.arange(len(order), device="cpu")).sum())
        self.step += 1
        return noise[order.to(noise.device)]

    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """The images as given, each with a noise sample it holds after an exchange.

        Fresh noise is ignored.
        """
        # An image cannot exchange with itself, so a longer index takes several rounds.
        rounds = index.split(len(self.data.images))
        return DatasetPairing(index, torch.cat([self.pair(part) for part in rounds]))

    def cost(self) -> float:
        """The mean of ||y - z||^2 over all images and all their noise samples."""
        total = 0.0
        # Image by image, because all noise samples are `caches` times the training set.
        for image, slots in zip(self.data.images.flatten(1), self.slots, strict=True):
            total += float((image - self.noise(slots).flatten(1)).double().square().sum())
        return total / self.slots.numel()

    def run(self, save: Callable[[], None]) -> None:
        """The sweeps of `fit` that are still to do; saves after each."""
        n = len(self.data.images)
        batch = self.coupling.batch
        sweep = math.ceil(n / batch)
        first = self.step
        last = self.coupling.epochs * sweep
        with progress_bar("exchange", last, first) as bar:
            for step in range(first, last):
                epoch, part = divmod(step, sweep)
                # One order per sweep, drawn again by a fit that resumes in the middle of one.
                if part == 0 or step == first:
                    order = self._order(epoch)
                start = time.perf_counter()
                self.pair(order[part * batch : (part + 1) * batch])
                self.seconds += time.perf_counter() - start
                bar.update(1)
                if part == sweep - 1:
                    save()

    def state_dict(self) -> dict[str, Tensor]:
        """The slots, the seed of all noise samples and the steps done."""
        return stamp(self.data, self.coupling) | {
            "slots": self.slots.clone(),
            "seed": torch.tensor(self.seed, device="cpu"),
            "step": torch.tensor(self.step, device="cpu"),
            "swaps": torch.tensor(self.swaps, device="cpu"),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64, device="cpu"),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state of the same images, labels and options; see `Fitted.load_state_dict`."""
        check_stamp(state, self.data, self.coupling)
        self.slots = state["slots"].clone()
        self.seed = int(state["seed"])
        self.step = int(state["step"])
        self.swaps = int(state["swaps"])
        self.seconds = float(state["seconds"])

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream(self.seed, "sweep", epoch))
        return torch.randperm(len(self.data.images), generator=generator, device="cpu")

    def _check_index(self, index: Tensor) -> None:
        n = len(self.data.images)
        require(
            bool(((index >= 0) & (index < n)).all()),
            f"{self.coupling}: the index leaves 0 .. {n - 1}",
        )
        # Both copies would exchange the same slot, and one noise sample would be lost.
        require(
            len(index.unique()) == len(index),
            f"{self.coupling}: an image comes twice: pair distinct images",
        )


def exchange(images: Tensor, noise: Tensor, group: Tensor) -> Tensor:
    """The permutation `[b]` of the noise within the groups `[b]` of least total squared distance.

    The total is never above that of the identity, in float64 as well: a group that would not gain
    keeps its order.
    """
    from scipy.optimize import linear_sum_assignment

    x = images.flatten(1)
    y = noise.flatten(1)
    order = torch.arange(len(images), device="cpu")
    for g in group.unique():
        rows = (group == g).nonzero()[:, 0]
        here = rows.to(images.device)
        # The squared norms do not depend on the permutation.
        gain = (x[here].double() @ y[here].double().T).cpu()  # [m, m]
        columns = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
        if gain[torch.arange(len(rows), device="cpu"), columns].sum() > gain.trace():
            order[rows] = rows[columns]
    return order

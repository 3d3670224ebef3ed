"""A DataLoader whose images come with the noise samples that a coupling gives them.

    from couplings.loader import PairedLoader
    for images, noise, labels in PairedLoader(loader, "lapjv", pool=8):
        ...                                # noise[i] goes with images[i]; train on these pairs

The loader does what it did before: it reads, augments and shuffles, in worker processes if it has
any. Labels and whatever else it yields stay with their images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from couplings._streams import stream
from couplings.contract import Coupling
from couplings.distributed import Group, pair_global
from couplings.errors import require
from couplings.registry import get


@dataclass(frozen=True)
class _Batch:
    """A batch of the loader: images ``[n, ...]``, and what came with them."""

    images: Tensor
    rest: tuple[Any, ...]

    @property
    def labels(self) -> Tensor | None:
        """The tensor that follows the images, if it has a value for each; else None."""
        first = self.rest[0] if self.rest else None
        has_rows = isinstance(first, Tensor) and first.dim() > 0 and len(first) == len(self.images)
        return first if has_rows else None


class PairedLoader:
    """Batches ``(images, noise, *rest)`` of a loader of ``images`` or ``(images, *rest)``.

    Noise is standard normal, drawn for every pool, then permuted (or chosen) by the coupling. It
    depends on the seed, the epoch, the number of the pool and the rank only, on every device. Each
    pass over the loader is another epoch; `epoch`, which may be set, counts them, so that a resumed
    training draws what it would have drawn.

    Args:
        loader: a DataLoader, or anything that yields batches and can be iterated again.
        coupling: a batch coupling or its spec.
        pool: batches that are coupled at once; the last pool of an epoch may hold fewer. Larger
            pools give straighter paths: an exact coupling of 1,024 pairs takes milliseconds.
        seed: of the noise samples and of couplings that draw.
        device: where images and other tensors are moved before they are coupled; None leaves them
            where they are.
        over_ranks: True to couple the pools of all ranks of torch.distributed as one. All ranks
            must get the same number of batches, as `DistributedSampler` gives them.
        group: the ranks to couple over; None for all.
        source: draws the noise samples of a pool, ``source(shape, generator)`` with shape
            ``[n, ...]`` of the images, for training from one data set to another; None for unit
            noise. Only draws from the generator are the same when a training resumes.

    Attributes:
        epoch: number of the next pass.
        report: of the last pool, as in `Pairing`.

    Raises:
        CouplingError: an unknown coupling, or one of the training set; while iterating, a batch
            without a tensor of images, or a pool that cannot be paired.

    """

    def __init__(
        self,
        loader: Iterable[Any],
        coupling: Coupling | str,
        *,
        pool: int = 1,
        seed: int = 0,
        device: torch.device | str | None = None,
        over_ranks: bool = False,
        group: Group = None,
        source: Callable[[torch.Size, torch.Generator], Tensor] | None = None,
    ):
        self.coupling = get(coupling) if isinstance(coupling, str) else coupling
        require(
            isinstance(self.coupling, Coupling),
            f"{self.coupling} is no batch coupling: pass one such as 'lapjv'; couplings of the"
            " training set need no loader, fitted.assign(noise) gives the images",
        )
        require(
            not self.coupling.weighs_losses,
            f"{self.coupling} weighs the losses of its pairs, and batches carry no weights: call"
            " its pair(images, noise) in your loop and multiply the losses by pairing.weights",
        )
        require(
            isinstance(pool, int) and pool >= 1,
            f"pool {pool!r}: a whole number of batches is coupled at once, 1 or more",
        )
        require(
            source is None or callable(source),
            f"source {source!r}: pass a function source(shape, generator) of noise samples",
        )
        self.loader = loader
        self.pool = pool
        self.seed = seed
        self.device = device
        self.over_ranks = over_ranks
        self.group = group
        self.source = source or _unit_noise
        self.epoch = 0
        self.report: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type] # an iterable may have no length

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        epoch = self.epoch
        self.epoch += 1
        for number, batches in enumerate(_pools(self.loader, self.pool)):
            pool = [self._read(batch) for batch in batches]
            noise = self._pair(pool, epoch, number)
            # Only noise was permuted, so each batch keeps its images and all that came with them.
            for batch, part in zip(pool, noise.split([len(b.images) for b in pool]), strict=True):
                yield batch.images, part, *batch.rest

    def _read(self, batch: Any) -> _Batch:
        images, *rest = batch if isinstance(batch, Sequence) else (batch,)
        require(
            isinstance(images, Tensor) and images.dim() > 0,
            f"a batch of the loader must be images [n, ...] or begin with them, got"
            f" {type(images).__name__}: yield (images, labels) tuples",
        )
        return _Batch(self._moved(images), tuple(self._moved(part) for part in rest))

    def _moved(self, part: Any) -> Any:
        if self.device is None or not isinstance(part, Tensor):
            return part
        # From pinned memory the copy does not wait for the kernels of the GPU.
        return part.to(self.device, non_blocking=True)

    def _pair(self, pool: list[_Batch], epoch: int, number: int) -> Tensor:
        """The noise ``[n, ...]`` of all images of a pool, in their order."""
        images = torch.cat([batch.images for batch in pool])
        rank = 0
        # Also if each rank couples its own pools: their noise samples must differ.
        if distributed.is_available() and distributed.is_initialized():
            rank = distributed.get_rank(self.group)
        generator = self._generator(f"noise/{epoch}/{rank}", number)
        noise = self.source(images.shape, generator).to(images)
        require(
            noise.shape == images.shape,
            f"source returned {list(noise.shape)}, not the shape of the images,"
            f" {list(images.shape)}",
        )
        labels = None
        if self.coupling.uses_labels or self.coupling.within_class:
            given = [batch.labels for batch in pool]
            # A missing one is left to the coupling to refuse.
            labels = None if any(part is None for part in given) else torch.cat(given)
        draws = self._generator(f"coupling/{epoch}/{rank}", number)
        if self.over_ranks:
            paired = pair_global(self.coupling, images, noise, labels, draws, self.group)
            self.report = paired.report
            return paired.noise
        pairing = self.coupling.pair(images, noise, labels, draws)
        self.report = pairing.report
        return pairing.noise

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator("cpu").manual_seed(stream(self.seed, purpose, number))


def _unit_noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Standard normal noise ``[n, ...]``, drawn on the CPU: it is the same on every device."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _pools(loader: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of ``size`` batches, the last one of what is left."""
    batches = []
    for batch in loader:
        batches.append(batch)
        if len(batches) == size:
            yield batches
            batches = []
    if batches:
        yield batches

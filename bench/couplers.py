"""How a pool gets coupled: here, in worker processes, over all ranks, or by a coupling fitted on the training set."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from bench.data import Split, as_images
from bench.ranks import PATIENCE
from bench.signals import ENDS
from couplings import Coupling, CouplingError, Fitted, Pairing


@dataclass(frozen=True)
class Pairs:
    """Images ``[n, c, h, w]`` in [-1, 1], the unit noise that goes with each, and labels ``[n]``.

    ``augment_labels`` ``[n, 9]`` say how the images were augmented; None where they were not.
    """

    images: Tensor
    noise: Tensor
    labels: Tensor
    augment_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        return self._each(lambda part: part[rows])

    def joined(self, more: Pairs) -> Pairs:
        """These pairs and then ``more`` of the same kind."""
        if not len(self):
            return more
        parts = [(getattr(self, part.name), getattr(more, part.name)) for part in fields(self)]
        return Pairs(*(None if one is None else torch.cat([one, other]) for one, other in parts))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pairs:
        parts = (self.images, self.noise, self.labels, self.augment_labels)
        return Pairs(*(None if part is None else change(part) for part in parts))


@dataclass(frozen=True)
class Drawn:
    """A pool as drawn: ``rows`` ``[n]`` are its images' places in the training set, ``pairs`` are independent."""

    rows: Tensor
    pairs: Pairs


@dataclass(frozen=True)
class Coupled:
    """A pool as coupled.

    ``report`` has ``seconds``, ``cost_before`` and ``cost_after``; ``state`` is that of a coupling that learns,
    after this pool, else None.
    """

    pairs: Pairs
    report: dict[str, float]
    state: dict[str, Tensor] | None = None


Coupler = Callable[[Drawn, torch.Generator], Coupled]


def couple_pool(coupling: Coupling | Workers) -> Coupler:
    """Couple the pool of this rank by itself."""

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        pairing = coupling.pair(pairs.images, pairs.noise, pairs.labels, generator)
        return Coupled(replace(pairs, noise=pairs.noise[pairing.index]), pairing.report)

    return couple


def couple_ranks(coupling: Coupling | Workers) -> Coupler:
    """Couple a pool that all ranks of torch.distributed have drawn alike: one of them solves it."""
    from couplings.distributed import pair_shared

    # A group of its own: the collectives of a background thread must not mix with those of the training.
    group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        pairing = pair_shared(coupling, pairs.images, pairs.noise, pairs.labels, generator, group)
        return Coupled(replace(pairs, noise=pairs.noise[pairing.index]), pairing.report)

    return couple


def couple_fitted(fitted: Fitted, split: Split) -> Coupler:
    """Pair with a coupling fitted on the images of ``split``."""
    from couplings.cost import mean_pair_cost

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs, start = drawn.pairs, time.perf_counter()
        pairing = fitted.couple(drawn.rows, pairs.noise, pairs.labels)
        seconds = time.perf_counter() - start
        index, noise = pairing.index.to(pairs.images.device), pairing.noise.to(pairs.noise)
        images = as_images(fitted.take(split.images, index))
        report = {
            "seconds": seconds,
            "cost_before": mean_pair_cost(pairs.images.flatten(1), pairs.noise.flatten(1)),
            "cost_after": mean_pair_cost(images.flatten(1), noise.flatten(1)),
        }
        # Mirrored images are counted on from the last one and keep its label.
        coupled = Pairs(images, noise, split.labels[index % len(split)])
        return Coupled(coupled, report, fitted.state_dict() if fitted.learns else None)

    return couple


class Workers:
    """A batch coupling whose pools are solved in processes, where no solver holds up the Python of the trainer.

    Args:
        coupling: the batch coupling.
        count: processes; as many pools can be solved at once.
        threads: of torch in each.

    """

    def __init__(self, coupling: Coupling, count: int, threads: int = 1):
        self.coupling = coupling
        # Forked processes would inherit locks and OpenMP pools in whatever state the trainer's threads hold them.
        context = multiprocessing.get_context("spawn")
        self._processes = ProcessPoolExecutor(count, context, _start_worker, (coupling, threads))

    @property
    def spec(self) -> str:
        """The coupling's."""
        return self.coupling.spec

    def pair(
        self,
        images: Tensor,
        noise: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pairing:
        """As ``Coupling.pair`` for float32 pools: images ``[n, ...]`` and noise travel, the index ``[n]`` comes back.

        Raises:
            CouplingError: as ``Coupling.pair``, or the process died.

        """
        arrays = [None if tensor is None else tensor.detach().cpu().numpy() for tensor in (images, noise, labels)]
        stream = None if generator is None else generator.get_state().numpy()
        try:
            index, report = self._processes.submit(_pair, *arrays, stream).result()
        except BrokenProcessPool:
            raise CouplingError(
                f"{self.coupling}: a worker process died, most likely for lack of memory: "
                "take a smaller --pool, or --workers 0"
            ) from None
        return Pairing(torch.from_numpy(index).to(images.device), report)

    def close(self, wait: bool = True) -> None:
        """Stop the processes; without ``wait`` those at work end with this one."""
        self._processes.shutdown(wait=wait, cancel_futures=True)


_coupling: Coupling | None = None  # of this worker process


def _start_worker(coupling: Coupling, threads: int) -> None:
    global _coupling
    _coupling = coupling
    torch.set_num_threads(threads)
    # Ctrl-C, a cluster's warnings and its request to end, which reach all processes, are the trainer's to handle: a
    # worker that died of one would look like a failure. It ends with the trainer.
    for number in (signal.SIGINT, *ENDS):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A trainer that was killed cannot stop its workers.
    multiprocessing.parent_process().join()
    os._exit(1)


def _pair(
    images: np.ndarray, noise: np.ndarray, labels: np.ndarray | None, stream: np.ndarray | None
) -> tuple[np.ndarray, dict[str, float]]:
    generator = None
    if stream is not None:
        generator = torch.Generator()
        generator.set_state(torch.from_numpy(stream))
    labels = None if labels is None else torch.from_numpy(labels)
    pairing = _coupling.pair(torch.from_numpy(images), torch.from_numpy(noise), labels, generator)
    return pairing.index.numpy(), pairing.report

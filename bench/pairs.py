"""PairStream: draws pools, couples them in the background, hands out mini-batches of pairs.

The order is AOT's (arXiv 2403.05069, Alg. 1): the pool is coupled on unit noise, only the noise is permuted, each image
and each noise is used once, and sigma is drawn later, per sample, by the trainer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.data import Split, as_images
from bench.randomness import generator
from couplings import Coupling


@dataclass(frozen=True)
class Pairs:
    """Images ``[n, c, h, w]`` in [-1, 1], the unit noise that goes with each, and labels ``[n]``."""

    images: Tensor
    noise: Tensor
    labels: Tensor

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.images[rows], self.noise[rows], self.labels[rows])

    def to(self, device: str) -> Pairs:
        """The same pairs on another device."""
        return Pairs(self.images.to(device), self.noise.to(device), self.labels.to(device))


@dataclass
class CouplingCost:
    """What the coupling of the pools so far gained and took; sums over pools, so it can be carried across a resume.

    Attributes:
        pools: number of pools coupled.
        solver_seconds: time the solver worked, beside the training.
        wait_seconds: time the trainer stood still for a pool.
        cost_before, cost_after: sums over pools of the mean squared distance of a pair, as drawn and as coupled.
        pool_ms: solver time of each pool, in ms.

    """

    pools: int = 0
    solver_seconds: float = 0.0
    wait_seconds: float = 0.0
    cost_before: float = 0.0
    cost_after: float = 0.0
    pool_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Median solver time of a pool, in ms."""
        return statistics.median(self.pool_ms)

    def add(self, report: dict[str, float]) -> None:
        """Count one pool."""
        self.pools += 1
        self.solver_seconds += report["seconds"]
        self.cost_before += report["cost_before"]
        self.cost_after += report["cost_after"]
        self.pool_ms.append(1000 * report["seconds"])


def draw_pool(split: Split, pool: int, seed: int, rank: int, number: int) -> Pairs:
    """Draw pool ``number``: images without replacement (a small data set comes round again), unit noise.

    It depends on nothing but its arguments: all couplings see the same images and noises, whatever came before.
    """
    g = generator(seed, "images", rank, number)
    rounds = -(-pool // len(split))
    order = torch.cat([torch.randperm(len(split), generator=g) for _ in range(rounds)])[:pool]
    images = as_images(split.images[order])
    noise = torch.randn(images.shape, generator=generator(seed, "noise", rank, number))
    return Pairs(images, noise, split.labels[order])


class PairStream:
    """Mini-batches of coupled pairs, from any step on.

    Args:
        split: the training images.
        coupling: the batch coupling.
        pool: images and noises coupled at once, a multiple of ``batch``.
        batch: pairs handed out at a time.
        seed: seed of the run.
        rank: process number; every rank draws pools of its own.
        start_step: the step to begin with, for a resumed run.
        stop_step: the step to end before; None for an endless stream.
        cost: where gains and times are added up.

    """

    def __init__(
        self,
        split: Split,
        coupling: Coupling,
        *,
        pool: int,
        batch: int,
        seed: int,
        rank: int = 0,
        start_step: int = 0,
        stop_step: int | None = None,
        cost: CouplingCost | None = None,
    ):
        if pool % batch:
            raise ValueError(f"pool {pool} is no multiple of batch {batch}")
        self.split, self.coupling, self.pool, self.batch = split, coupling, pool, batch
        self.seed, self.rank, self.step, self.stop_step = seed, rank, start_step, stop_step
        self.cost = cost or CouplingCost()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="coupling")
        self._warm_up()

    def __iter__(self) -> Iterator[Pairs]:
        per_pool = self.pool // self.batch
        number, within = divmod(self.step, per_pool)
        coming = self._worker.submit(self._couple, number)
        while self.stop_step is None or self.step < self.stop_step:
            # A pool that a stopped run had begun is coupled again but was counted then.
            pairs = self._take(coming, count=not within)
            number += 1
            if self.stop_step is None or number * per_pool < self.stop_step:
                coming = self._worker.submit(self._couple, number)
            for k in range(within, per_pool):
                self.step += 1
                yield pairs[k * self.batch : (k + 1) * self.batch]
            within = 0

    def close(self) -> None:
        """Stop the background thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> PairStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _warm_up(self) -> None:
        """Import the solver's library before anything is timed, and find out now if it is missing."""
        tiny = draw_pool(self.split, 2, self.seed, self.rank, 0)
        self.coupling.pair(tiny.images, tiny.noise, tiny.labels, generator(self.seed, "warm-up"))

    def _couple(self, number: int) -> tuple[Pairs, dict[str, float]]:
        drawn = draw_pool(self.split, self.pool, self.seed, self.rank, number)
        g = generator(self.seed, "coupling", self.rank, number)
        pairing = self.coupling.pair(drawn.images, drawn.noise, drawn.labels, g)
        return Pairs(drawn.images, drawn.noise[pairing.index], drawn.labels), pairing.report

    def _take(self, coming: Future, count: bool) -> Pairs:
        start = time.perf_counter()
        pairs, report = coming.result()
        self.cost.wait_seconds += time.perf_counter() - start
        if count:
            self.cost.add(report)
        return pairs

"""PairStream: draws pools, couples them in the background, hands out mini-batches of pairs.

The order is AOT's (arXiv 2403.05069, Alg. 1): the pool is coupled on unit noise, only the noise is permuted, each image
and each noise is used once, and sigma is drawn later, per sample, by the trainer.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import torch

from bench.couplers import Coupled, Coupler, Drawn, Pairs, Workers, couple_fitted, couple_pool, couple_ranks
from bench.data import Split, as_images
from bench.randomness import generator
from couplings import Coupling, Fitted


@dataclass
class CouplingCost:
    """What the coupling of the pools so far gained and took; sums over pools, so it can be carried across a resume.

    Attributes:
        pools: number of pools coupled.
        solver_seconds: time the solver worked, beside the training.
        wait_seconds: time the trainer stood still for a pool.
        cost_before, cost_after: sums over pools of the mean squared distance of a pair, as drawn and as coupled.
        pool_ms: solver time of each pool, in ms.
        fit_seconds: time that a dataset coupling was fitted, before the training.

    """

    pools: int = 0
    solver_seconds: float = 0.0
    wait_seconds: float = 0.0
    cost_before: float = 0.0
    cost_after: float = 0.0
    pool_ms: list[float] = field(default_factory=list)
    fit_seconds: float = 0.0

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


def draw_pool(split: Split, pool: int, seed: int, rank: int, number: int) -> Drawn:
    """Draw pool ``number``: images without replacement (a small data set comes round again), unit noise.

    It depends on nothing but its arguments: all couplings see the same images and noises, whatever came before.
    """
    g = generator(seed, "images", rank, number)
    rounds = -(-pool // len(split))
    rows = torch.cat([torch.randperm(len(split), generator=g) for _ in range(rounds)])[:pool]
    images = as_images(split.images[rows])
    noise = torch.randn(images.shape, generator=generator(seed, "noise", rank, number))
    return Drawn(rows, Pairs(images, noise, split.labels[rows]))


class PairStream:
    """Mini-batches of coupled pairs, from any step on.

    Args:
        split: the training images.
        coupling: a batch coupling, or a dataset coupling fitted on ``split``.
        pool: images and noises coupled at once, a multiple of ``batch``.
        batch: pairs handed out at a time.
        seed: seed of the run.
        rank: process number; every rank draws pools of its own.
        start_step: the step to begin with, for a resumed run.
        stop_step: the step to end before; None for an endless stream.
        cost: where gains and times are added up.
        scope: ``global`` couples the pools of all ranks of torch.distributed as one.
        workers: processes that solve batch couplings; 0 solves in a thread of this one.
        pin: leave the pairs in page-locked memory, for a GPU.

    Attributes:
        step: the step after the batch handed out last.
        state: what a dataset coupling that learns needs to go on from ``step``; None for others.

    """

    def __init__(
        self,
        split: Split,
        coupling: Coupling | Fitted,
        *,
        pool: int,
        batch: int,
        seed: int,
        rank: int = 0,
        start_step: int = 0,
        stop_step: int | None = None,
        cost: CouplingCost | None = None,
        scope: Literal["rank", "global"] = "rank",
        workers: int = 0,
        pin: bool = False,
    ):
        if pool % batch:
            raise ValueError(f"pool {pool} is no multiple of batch {batch}")
        self.split, self.pool, self.batch, self.pin = split, pool, batch, pin
        self.seed, self.rank, self.step, self.stop_step = seed, rank, start_step, stop_step
        self.cost = cost or CouplingCost()
        fitted = isinstance(coupling, Fitted)
        self.state = coupling.state_dict() if fitted and coupling.learns else None
        solves = not fitted and (scope == "rank" or rank == 0)
        self._workers = Workers(coupling, workers, _spare_threads(workers)) if workers and solves else None
        self._couple = _coupler(self._workers or coupling, split, scope)
        # Collectives must come in one order, and so must the pools of a coupling that learns.
        self._ahead = workers if self._workers and scope == "rank" else 1
        # On a CPU the trainer needs the cores: a product on all of them waits for the slowest, several-fold.
        threads = 1 if split.images.device.type == "cpu" else torch.get_num_threads()
        self._threads = ThreadPoolExecutor(self._ahead, "coupling", torch.set_num_threads, (threads,))
        if not fitted:
            self._warm_up()

    def __iter__(self) -> Iterator[Pairs]:
        per_pool = self.pool // self.batch
        number, within = divmod(self.step, per_pool)
        end = None if self.stop_step is None else -(-self.stop_step // per_pool)
        coming: deque[Future[Coupled]] = deque()
        while self.stop_step is None or self.step < self.stop_step:
            while len(coming) <= self._ahead and (end is None or number + len(coming) < end):
                coming.append(self._threads.submit(self._pool, number + len(coming)))
            # A pool that a stopped run had begun is coupled again but was counted then.
            coupled = self._take(coming.popleft(), count=not within)
            number += 1
            for k in range(within, per_pool):
                self.step += 1
                if k == per_pool - 1:
                    self.state = coupled.state
                yield coupled.pairs[k * self.batch : (k + 1) * self.batch]
            within = 0

    def close(self) -> None:
        """Stop the background threads and processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._workers:
            self._workers.close()

    def __enter__(self) -> PairStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _warm_up(self) -> None:
        """Import the solver's library before anything is timed, and find out now if it is missing."""
        self._couple(draw_pool(self.split, 2, self.seed, self.rank, 0), generator(self.seed, "warm-up"))

    def _pool(self, number: int) -> Coupled:
        drawn = draw_pool(self.split, self.pool, self.seed, self.rank, number)
        coupled = self._couple(drawn, generator(self.seed, "coupling", self.rank, number))
        return Coupled(coupled.pairs.pinned(), coupled.report, coupled.state) if self.pin else coupled

    def _take(self, coming: Future[Coupled], count: bool) -> Coupled:
        start = time.perf_counter()
        coupled = coming.result()
        self.cost.wait_seconds += time.perf_counter() - start
        if count:
            self.cost.add(coupled.report)
        return coupled


def _coupler(coupling: Coupling | Workers | Fitted, split: Split, scope: str) -> Coupler:
    if isinstance(coupling, Fitted):
        return couple_fitted(coupling, split)
    if scope == "global" and torch.distributed.is_initialized():
        return couple_ranks(coupling)
    return couple_pool(coupling)


def _spare_threads(workers: int) -> int:
    """Threads of a worker: the cores that the trainer leaves, where it computes on a GPU; else one."""
    if not workers or not torch.cuda.is_available():
        return 1
    return max(1, (len(os.sched_getaffinity(0)) - 1) // workers)

"""PairStream: draws pools, couples them in the background, hands out mini-batches of pairs.

The order is AOT's (arXiv 2403.05069, Alg. 1): the pool is coupled on unit noise, only the noise is
permuted, each image and each noise is used once, and sigma is drawn later, per sample, by the
trainer.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import torch

from bench.data import Split
from bench.pairs.cost import CouplingCost
from bench.pairs.couplers import Coupler, couple_fitted, couple_pool, couple_ranks
from bench.pairs.pool import Coupled, Drawn, Pairs, draw_pool
from bench.pairs.workers import Workers
from bench.process import background
from bench.randomness import generator
from couplings import Coupling, Fitted
from models.augment import Augment


class PairStream:
    """Mini-batches of coupled pairs, from any step on, on the device of the split.

    Args: split: the training images. coupling: a batch coupling, or a dataset coupling fitted on
        ``split``. pool: images and noises coupled at once; batches run on from one pool to the
        next, so any number does. batch: pairs that all ranks together are handed out at a time.
        seed: seed of the run. rank: process number. ranks: processes that share a batch. scope:
        with ``rank``, every rank draws and couples pools of its own; with ``global``, all draw the
        same pools,
            one couples, and each takes its share of every batch: the pairs are those of a single
                process. Dataset
            couplings, which may learn, are always ``global``.
        start_step: the step to begin with, for a resumed run.
        stop_step: the step to end before; None for an endless stream.
        cost: where gains and times are added up.
        workers: processes that solve batch couplings; 0 solves in a thread of this one.
        augment: what is done to the images, before batch couplings and after dataset couplings,
            whose images are fixed.

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
        ranks: int = 1,
        scope: Literal["rank", "global"] = "rank",
        start_step: int = 0,
        stop_step: int | None = None,
        cost: CouplingCost | None = None,
        workers: int = 0,
        augment: Augment | None = None,
    ):
        if batch % ranks:
            raise ValueError(f"batch {batch} must be a multiple of the {ranks} ranks")
        fitted = isinstance(coupling, Fitted)
        shared = fitted or scope == "global"
        self.split, self.augment, self.pool, self.seed = split, augment, pool, seed
        self.step, self.stop_step, self.cost = start_step, stop_step, cost or CouplingCost()
        self.state = coupling.state_dict() if fitted and coupling.learns else None
        # Of every `_stride` pairs, pool after pool, this rank takes `_share`, from `_first` on.
        self._share = batch // ranks
        self._stride, self._first = (batch, rank * self._share) if shared else (self._share, 0)
        self._drawn_by = 0 if shared else rank
        solves = not fitted and (rank == 0 or not shared)
        self._workers = (
            Workers(coupling, workers, _spare_threads(workers)) if workers and solves else None
        )
        self._fitted, self._shared = fitted, ranks > 1
        self._couple = _coupler(self._workers or coupling, split, shared and ranks > 1)
        # Collectives must come in one order, and so must the pools of a coupling that learns.
        self._ahead = workers if self._workers and not shared else 1
        # On a CPU the trainer needs the cores: with two threads here it trained a third fewer
        # images (2 cores).
        threads = 1 if split.images.device.type == "cpu" else torch.get_num_threads()
        self._threads = ThreadPoolExecutor(
            self._ahead, "coupling", torch.set_num_threads, (threads,)
        )
        self._coming: deque[Future[Coupled]] = deque()
        if not fitted:
            self._warm_up()

    def __iter__(self) -> Iterator[Pairs]:
        return self.batches()

    def batches(self, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Pairs]:
        """The batches; while one is waited for, ``meanwhile`` is called again and again, see
        ``background.result``.

        It is called between two batches: ``step``, ``state`` and ``cost`` are those after the batch
        handed out last.
        """
        number, used = divmod(self.step * self._stride, self.pool)
        end = None if self.stop_step is None else -(-self.stop_step * self._stride // self.pool)
        coming = self._coming
        left: Pairs | None = None  # of the pools taken so far
        before = latest = self.state  # after the pool before the newest, and after the newest
        while self.stop_step is None or self.step < self.stop_step:
            # A run stopped before this batch takes these pools again
            reports: list[dict[str, float]] = []
            while left is None or len(left) < self._stride:
                while len(coming) <= self._ahead and (end is None or number + len(coming) < end):
                    coming.append(self._threads.submit(self._pool, number + len(coming)))
                coupled = self._take(meanwhile)
                # A pool that a stopped run had begun is coupled again but was counted then.
                reports += [] if used else [coupled.report]
                left = coupled.pairs[used:] if left is None else left.joined(coupled.pairs)
                before, latest = latest, coupled.state
                number, used = number + 1, 0
            batch, left = left[: self._stride], left[self._stride :]
            for report in reports:
                self.cost.add(report)
            self.step += 1
            # What is left of a pool will be coupled again by a run that goes on from here.
            self.state = before if len(left) else latest
            yield batch[self._first : self._first + self._share]

    def close(self, wait: bool = True) -> None:
        """Stop the background threads and processes; without ``wait`` those at work are left to
        ``end_process``.
        """
        self._threads.shutdown(wait=wait, cancel_futures=True)
        background.abandon(self._coming)
        if self._workers:
            self._workers.close(wait)

    def __enter__(self) -> PairStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Ctrl-C and the end of a job do not wait for a pool; after an error the next run must not
        # share the cores. Among several processes a thread may be waiting for one that failed, so
        # an error ends without it too.
        self.close(wait=kind is None or (issubclass(kind, Exception) and not self._shared))

    def _warm_up(self) -> None:
        """Import the solver's library before anything is timed, and find out now if it is missing."""
        drawn = draw_pool(self.split, 2, self.seed, self._drawn_by, 0)
        self._coming.append(
            self._threads.submit(self._couple, drawn, generator(self.seed, "warm-up"))
        )
        try:
            background.result(self._coming[0])
        except BaseException as error:
            self.__exit__(type(error))
            raise
        self._coming.clear()

    def _pool(self, number: int) -> Coupled:
        drawn = draw_pool(self.split, self.pool, self.seed, self._drawn_by, number)
        if self.augment and not self._fitted:
            drawn = Drawn(drawn.rows, self._augmented(drawn.pairs, number))
        coupled = self._couple(drawn, generator(self.seed, "coupling", self._drawn_by, number))
        if self.augment and self._fitted:
            return replace(coupled, pairs=self._augmented(coupled.pairs, number))
        return coupled

    def _augmented(self, pairs: Pairs, number: int) -> Pairs:
        done = self.augment(pairs.images, generator(self.seed, "augment", self._drawn_by, number))
        return replace(pairs, images=done.images, augment_labels=done.labels)

    def _take(self, meanwhile: Callable[[], None]) -> Coupled:
        """The next pool, as soon as it is coupled."""
        clock = time.perf_counter()

        def count_wait() -> None:
            nonlocal clock
            now = time.perf_counter()
            self.cost.wait_seconds += now - clock
            clock = now

        def look() -> None:
            count_wait()  # of a run that stops here too
            meanwhile()

        coupled = background.result(self._coming[0], look)
        count_wait()
        self._coming.popleft()
        return coupled


def _coupler(coupling: Coupling | Workers | Fitted, split: Split, over_ranks: bool) -> Coupler:
    if isinstance(coupling, Fitted):
        return couple_fitted(coupling, split)
    return couple_ranks(coupling) if over_ranks else couple_pool(coupling)


def _spare_threads(workers: int) -> int:
    """Threads of a worker: the cores that the trainer leaves, where it computes on a GPU; else one."""
    if not workers or not torch.cuda.is_available():
        return 1
    return max(1, (len(os.sched_getaffinity(0)) - 1) // workers)

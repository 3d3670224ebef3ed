"""PairStream: draws pools, couples them in the background, hands out mini-batches of pairs.

The order is AOT's (arXiv 2403.05069, Alg. 1): the pool is coupled on unit noise, only the noise is
permuted, and the trainer draws sigma later, per sample. Each image and each noise sample is used
once, unless the coupling is biased in the noise (``knn``, ``unbalanced``) or one of the training
set.
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
from torch import Tensor

from bench.data import Split
from bench.pairs.cost import CouplingCost
from bench.pairs.couplers import (
    Coupler,
    couple_again,
    couple_fitted,
    couple_pool,
    couple_ranks,
    follows_model,
)
from bench.pairs.cursor import PoolCursor
from bench.pairs.facts import facts
from bench.pairs.pool import Coupled, Drawn, Pairs, draw_pool
from bench.pairs.workers import Workers
from bench.process import background
from bench.randomness import generator
from couplings import Coupling, Fitted
from models.augment import Augment


def _nothing() -> None:
    """Do nothing while a pool is waited for."""


class PairStream:
    """Mini-batches of coupled pairs, from any step on, on the device of the split.

    Args:
        split: the training images.
        coupling: a batch coupling, or a dataset coupling fitted on ``split``.
        pool: images and noise samples coupled at once; batches run on from one pool to the next, so
            any number does.
        batch: pairs that all ranks together get at a time.
        seed: seed of the run.
        rank: process number.
        ranks: processes that share a batch.
        scope: with ``rank``, every rank draws and couples pools of its own; with ``global``, all
            draw the same pools, one couples, and each takes its share of every batch: the pairs are
            those of a single process. Dataset couplings, which may learn, are always ``global``.
        start_step: the step to begin with, for a resumed run.
        stop_step: the step to end before; None for an endless stream.
        cost: sum of gains and times.
        workers: processes that solve batch couplings; 0 solves in a thread of this one.
        augment: changes the images, before batch couplings and after dataset couplings, whose
            images are fixed.
        labelled: True if the network gets the labels: reports then say how far these predict the
            noise samples.
        resumed: ``state`` of the run that ``start_step`` resumes, for a coupling that follows the
            model; None for others.

    Attributes:
        step: the step after the last batch.
        state: of a dataset coupling that learns, for a run that resumes from ``step``; of a
            coupling that follows the model, the pairing of the pool that ``step`` is in the midst
            of; None for others.

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
        labelled: bool = False,
        resumed: dict[str, Tensor] | None = None,
    ):
        if batch % ranks:
            raise ValueError(f"batch {batch} must be a multiple of the {ranks} ranks")
        self.split = split
        self.augment = augment
        self.labelled = labelled
        self.pool = pool
        self.seed = seed
        self.step = start_step
        self.stop_step = stop_step
        self.cost = cost or CouplingCost()
        self._fitted = isinstance(coupling, Fitted)
        self._several = ranks > 1
        self.state = None
        if isinstance(coupling, Fitted) and coupling.learns:
            self.state = coupling.state_dict()
        # Of a pool that all ranks draw, each takes its part of every batch; of its own pool, all.
        shared = self._fitted or scope == "global"
        share = batch // ranks
        self._batch = batch if shared else share
        first = rank * share if shared else 0
        self._share = slice(first, first + share)
        self._drawn_by = 0 if shared else rank
        solves_here = rank == 0 or not shared
        follows = follows_model(coupling)
        self._again = resumed if follows else None
        if follows:
            self.state = resumed
        self._resumed_pool = start_step * self._batch // pool
        self._workers = None
        # Other processes have no network.
        if workers and solves_here and not (follows or isinstance(coupling, Fitted)):
            self._workers = Workers(coupling, workers, _spare_threads(workers))
        self._couple = _coupler(self._workers or coupling, split, shared and self._several)
        # Collectives must come in one order, and so must the pools of a coupling that learns.
        self._ahead = workers if self._workers and not shared else 1
        # Paired ahead, a pool would be paired with the weights of an earlier step.
        if follows:
            self._ahead = 0
        # On a CPU the trainer needs the cores: with two threads here it trained a third fewer
        # images (2 cores).
        alongside = split.images.device.type == "cpu" and self._ahead > 0
        threads = 1 if alongside else torch.get_num_threads()
        self._threads = ThreadPoolExecutor(
            max(1, self._ahead), "coupling", torch.set_num_threads, (threads,)
        )
        self._coming: deque[Future[Coupled]] = deque()
        if not self._fitted:
            self._warm_up()

    def __iter__(self) -> Iterator[Pairs]:
        return self.batches()

    def batches(self, meanwhile: Callable[[], None] = _nothing) -> Iterator[Pairs]:
        """The batches, from ``step`` to ``stop_step``.

        Args:
            meanwhile: called again and again while a pool is waited for, see
                ``background.result``. It sees ``step``, ``state`` and ``cost`` as they were after
                the last batch.

        """
        cursor = PoolCursor(self.step, self._batch, self.pool, self.state)
        while self.stop_step is None or self.step < self.stop_step:
            while cursor.needs_pool:
                self._order(cursor.number)
                cursor.add(self._take(meanwhile))
            batch, counted = cursor.take()
            # Only now: a run that was stopped while it waited takes these pools again.
            for report, rows in counted:
                self.cost.add(report, rows, len(self.split))
            self.step += 1
            self.state = cursor.state
            yield batch[self._share]

    def close(self, wait: bool = True) -> None:
        """Stop the background threads and processes.

        Args:
            wait: False to leave those at work to ``end_process``.

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
        is_error = kind is not None and issubclass(kind, Exception)
        self.close(wait=kind is None or (is_error and not self._several))

    def _warm_up(self) -> None:
        """Import the solver's library before anything is timed; an error shows if it is missing."""
        # Two pairs suffice, except for a price on conditions, whose share of cells they may miss.
        count = self.pool if self.split.labels.is_floating_point() else 2
        drawn = draw_pool(self.split, count, self.seed, self._drawn_by, 0)
        warm_up = self._threads.submit(self._couple, drawn, generator(self.seed, "warm-up"))
        self._coming.append(warm_up)
        try:
            background.result(warm_up)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        self._coming.clear()

    def _order(self, number: int) -> None:
        """Have pool ``number`` and those after it coupled, as many as are solved ahead."""
        end = None
        if self.stop_step is not None:
            end = -(-self.stop_step * self._batch // self.pool)
        while len(self._coming) <= self._ahead:
            following = number + len(self._coming)
            if end is not None and following >= end:
                return
            self._coming.append(self._threads.submit(self._pool, following))

    def _pool(self, number: int) -> Coupled:
        drawn = draw_pool(self.split, self.pool, self.seed, self._drawn_by, number)
        if self.augment and not self._fitted:
            drawn = Drawn(drawn.rows, self._augmented(drawn.pairs, number))
        couple = self._couple
        # The weights that paired this pool have changed since.
        if self._again is not None and number == self._resumed_pool:
            couple = couple_again(self._again)
        coupled = couple(drawn, generator(self.seed, "coupling", self._drawn_by, number))
        found = facts(coupled.pairs, self.split.source is None, self.labelled)
        # What a coupling says of itself comes first.
        coupled = replace(coupled, report=found | coupled.report)
        if self.augment and self._fitted:
            return replace(coupled, pairs=self._augmented(coupled.pairs, number))
        return coupled

    def _augmented(self, pairs: Pairs, number: int) -> Pairs:
        changed = self.augment(
            pairs.images, generator(self.seed, "augment", self._drawn_by, number)
        )
        return replace(pairs, images=changed.images, augment_labels=changed.labels)

    def _take(self, meanwhile: Callable[[], None]) -> Coupled:
        """The next pool, as soon as it is coupled."""
        clock = time.perf_counter()

        def count_wait() -> None:
            nonlocal clock
            now = time.perf_counter()
            self.cost.wait_seconds += now - clock
            clock = now

        def look() -> None:
            # First, for ``meanwhile`` may save the cost and end the process.
            count_wait()
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
    """Threads of a worker: the cores that a trainer on a GPU leaves; on a CPU it leaves none."""
    if not workers or not torch.cuda.is_available():
        return 1
    return max(1, (len(os.sched_getaffinity(0)) - 1) // workers)

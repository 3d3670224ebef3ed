"""Runs made at once, and the cores that each of them gets."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.suitable import pool_bytes

if TYPE_CHECKING:
    from bench.data import Dataset

THREADS = "OMP_NUM_THREADS"
# Of a process without its pool: torch and a small data set take 0.6 GB.
LEAST_BYTES = 1e9


@dataclass(frozen=True)
class Sharing:
    """Runs at once, each in a process of its own, and the threads of each."""

    at_once: int
    threads: int


def share(asked: int | None, runs: int, cores: int, threads: int | None = None) -> Sharing:
    """Share out the cores.

    Sums of floats depend on the number of threads in their last digits. So threads depend on what
    the command says and on the machine only, neither on its load nor on what is done already: a
    command that resumes gets the numbers of one that was never stopped.

    Args:
        asked: ``--parallel``; None for as many as the cores take.
        runs: of the command, finished ones included.
        cores: that the command may use.
        threads: that the user has set for each process (``OMP_NUM_THREADS``).

    """
    at_once = min(asked or max(1, cores // (threads or 1)), runs)
    return Sharing(at_once, threads or max(1, cores // at_once))


def within_memory(
    sharing: Sharing,
    configs: Sequence[RunConfig],
    dataset: Dataset,
    available: float,
    expected: float = 0.0,
) -> Sharing:
    """Fewer runs at once, with the same threads, if memory would not hold them all.

    Args:
        sharing: of the cores.
        configs: of the runs that have work to do.
        dataset: that they are trained on; all of them read one copy of it.
        available: bytes.
        expected: bytes of each run with its pools, as far as they are known.

    """
    # A run measures after its training, when the pools are gone.
    largest = (max(pool_bytes(each, dataset), metric_bytes(each, dataset)) for each in configs)
    needed = max(LEAST_BYTES + max(largest, default=0), expected)
    if math.isinf(available):
        return sharing
    return replace(sharing, at_once=max(1, min(sharing.at_once, int(available / needed))))


def metric_bytes(config: RunConfig, dataset: Dataset) -> int:
    """The memory that the largest metric of a run takes, in bytes, when its pools are gone."""
    from bench.metrics.w2 import MOST_POINTS, in_the_plane, w2_bytes

    if not in_the_plane(dataset):
        return 0  # features and moments are small
    counts = (config.evaluation.samples, len(dataset.train), len(dataset.test), MOST_POINTS)
    return w2_bytes(min(counts))


def usable_cores() -> int:
    """The cores that this process may use, which a cluster or a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of_user() -> int | None:
    """The threads that ``OMP_NUM_THREADS`` asks for; None without it."""
    # OpenMP takes a list, one number for each level of nesting.
    first = os.environ.get(THREADS, "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) else None

"""Cost of the coupling over a training, and means of what it reports."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Keys of a report that have fields, and rows, of their own
_OWN_FIELDS = ("seconds", "cost_before", "cost_after")


@dataclass
class CouplingCost:
    """Gains, times and reports of all pools coupled so far; sums, so that a resumed run adds to
    them.

    Attributes:
        pools: number of pools coupled.
        solver_seconds: time of the solver, in parallel to the training.
        wait_seconds: time that the trainer waited for a pool.
        cost_before: sum over pools of the mean squared distance of a pair, as drawn.
        cost_after: the same as coupled.
        pool_ms: solver time of each pool, in ms.
        fit_seconds: time of fitting a dataset coupling, before the training.
        sums: sum over pools of each further key of their reports.
        counts: number of pools that had the key.
        fit: the report of the fit, without its time.
        uses: ``[images]``, how often each training image came; None before the first pool.

    """

    # Checkpoints hold these fields by name: later ones need a default, for earlier files lack them.
    pools: int = 0
    solver_seconds: float = 0.0
    wait_seconds: float = 0.0
    cost_before: float = 0.0
    cost_after: float = 0.0
    # All of them, for the median: the first pools are slower, and a mean would show that.
    pool_ms: list[float] = field(default_factory=list)
    fit_seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    fit: dict[str, float] = field(default_factory=dict)
    uses: Tensor | None = None

    @property
    def median_ms(self) -> float:
        """Median solver time of a pool, in ms."""
        return statistics.median(self.pool_ms)

    def add(self, report: dict[str, float], rows: Tensor | None = None, images: int = 0) -> None:
        """Count one pool.

        Args:
            report: of the pool.
            rows: ``[n]``, the numbers of its images.
            images: of the training set.

        """
        self.pools += 1
        # The solver works in parallel to the training; only the waits cost time of their own.
        self.solver_seconds += report["seconds"]
        self.cost_before += report["cost_before"]
        self.cost_after += report["cost_after"]
        self.pool_ms.append(1000 * report["seconds"])
        for key, value in report.items():
            if key not in _OWN_FIELDS:
                self.sums[key] = self.sums.get(key, 0.0) + value
                self.counts[key] = self.counts.get(key, 0) + 1
        if rows is not None:
            uses = torch.bincount(rows, minlength=images)
            # A checkpoint is read onto the device of the training.
            self.uses = uses if self.uses is None else self.uses.cpu() + uses

    def add_fit(self, report: dict[str, float]) -> None:
        """Keep the report of a fit."""
        # Of the fit that made the file, also if another run did.
        self.fit_seconds = report["seconds"]
        self.fit = {key: value for key, value in report.items() if key not in _OWN_FIELDS}

    def means(self) -> Iterator[tuple[str, float, int]]:
        """Key, mean over the pools that had it, and their number."""
        # An entropy or an error may be there for some pools only, such as those of several classes.
        for key, total in self.sums.items():
            yield key, total / self.counts[key], self.counts[key]


def evenness(uses: Tensor) -> dict[str, float]:
    """Least and largest number of uses of an image, and chi-square against equal numbers.

    The last is Pearson's statistic over its degrees of freedom: 0 if all images came equally often,
    1 on average if each was drawn by itself (with replacement).

    Args:
        uses: ``[images]``, of at least two images.

    """
    counts = uses.double()
    mean = counts.mean()
    statistic = (counts - mean).square().sum() / mean
    return {
        "images_least": counts.min().item(),
        "images_most": counts.max().item(),
        "images_chi2": (statistic / (len(counts) - 1)).item(),
    }

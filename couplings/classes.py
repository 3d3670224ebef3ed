"""Pairing within classes: each label's images and noise samples are a pool of their own."""

from collections.abc import Callable

import torch
from torch import Tensor

from couplings.errors import require
from couplings.pool import Pairing, Pool


def largest_class(n: int, labels: Tensor | None) -> int:
    """The size of the largest class among n images with the class shares of some labels.

    Args:
        n: images.
        labels: `[m]` or `[m, k]`, of any number of images; None for one class.

    """
    if labels is None or not len(labels):
        return n
    _, counts = torch.unique(labels, dim=0, return_counts=True)
    return n * int(counts.max()) // len(labels)


def pair_within_classes(pool: Pool, solve: Callable[[Pool], Pairing]) -> Pairing:
    """Solve for one label after the other, among its images and their noise samples.

    A class of one has nothing to choose: its image keeps its noise sample, and no solver sees it.

    The report holds every key of the classes' reports, as the mean over the classes that were
    solved (of two images or more), weighted by their sizes. `classes` is the number of all classes
    and `singletons` the number of those of one image. `Coupling.pair` adds entries of the whole
    pool, such as `cost_after` and `duplicates`.

    Raises:
        CouplingError: the pool has no labels.

    """
    require(
        pool.labels is not None,
        "pairing within classes needs labels: pass labels=[n] or drop within_class",
    )
    device = pool.images.device
    values, which = torch.unique(pool.labels, dim=0, return_inverse=True)
    index = torch.arange(len(pool.images), device=device)
    sizes = []
    reports = []
    for label in range(len(values)):
        # Labels may be on another device than the images.
        rows = (which == label).nonzero()[:, 0].to(device)
        if len(rows) < 2:
            continue
        solved = solve(_part(pool, rows))
        # The solver counts within the class.
        index[rows] = rows[torch.as_tensor(solved.index, dtype=torch.int64, device=device)]
        sizes.append(len(rows))
        reports.append(solved.report)
    counts = {"classes": len(values), "singletons": len(values) - len(sizes)}
    return Pairing(index, weighted_means(reports, sizes) | counts)


def weighted_means(reports: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """The mean of every key over the reports that have it, weighted by size."""
    totals: dict[str, float] = {}
    weights: dict[str, int] = {}
    for report, size in zip(reports, sizes, strict=True):
        for key, value in report.items():
            totals[key] = totals.get(key, 0.0) + value * size
            weights[key] = weights.get(key, 0) + size
    return {key: total / weights[key] for key, total in totals.items()}


def _part(pool: Pool, rows: Tensor) -> Pool:
    """The pool of some rows `[m]`."""
    labels = pool.labels[rows.to(pool.labels.device)]
    # One generator for all classes: the draws of one must not repeat in the next.
    return Pool(pool.images[rows], pool.noise[rows], labels, pool.generator, pool.shape)

"""What a pairing gained and what it broke: pure functions on plain tensors.

Images y and noises z are `[n, ...]` each, row i a pair; nothing here needs a coupling of ours.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from couplings.cost import mean_pair_cost
from couplings.errors import require
from couplings.plan import entropy

renormalised_entropy = entropy


class KSTest(NamedTuple):
    """A Kolmogorov-Smirnov test: the largest distance of the distribution functions, and the
    p-value.
    """

    statistic: float
    pvalue: float


def transport_cost(images: Tensor, noise: Tensor) -> float:
    """C = mean_i ||y_i - z_i||^2."""
    images, noise = _flat(images, noise)
    return mean_pair_cost(images, noise)


def independent_cost(images: Tensor, noise: Tensor) -> float:
    """C_ind = the mean of ||y_i - z_j||^2 over all i, j: the expected cost of a random pairing."""
    images, noise = _flat(images, noise)
    # Centred, because the squares of an offset common to both would cancel with most of the digits.
    centre = noise.mean(0)
    images, noise = images - centre, noise - centre
    return float(images.square().sum(1).mean() + noise.square().sum(1).mean())


def optimal_cost(images: Tensor, noise: Tensor) -> float:
    """C_opt = the least C over all permutations of the noises, exactly, in O(n^3)."""
    from scipy.optimize import linear_sum_assignment

    cost = _distances(*_flat(images, noise)).numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def dual_bound(images: Tensor, noise: Tensor, potential: Tensor) -> float:
    """mean_j min_i (||y_i - z_j||^2 - f_i) + mean_i f_i <= C_opt, for any potential f.

    Args:
        images: `[n, ...]`.
        noise: `[n, ...]`.
        potential: `[n]`, f, one value an image, in units of squared distance.

    """
    potential = potential.detach().double().cpu()
    require(
        potential.shape == images.shape[:1],
        f"a potential [{len(images)}] expected, got {list(potential.shape)}",
    )
    slack = _distances(*_flat(images, noise)) - potential[:, None]  # [n, n]
    return float(slack.min(0).values.mean() + potential.mean())


def optimality_gap(images: Tensor, noise: Tensor, potential: Tensor | None = None) -> float:
    """(C - C_opt) / (C_ind - C_opt): 0 for the optimum, about 1 for a random pairing.

    With a potential `[n]` on the images, C_opt is its dual bound instead: the gap is then an upper
    bound of the exact one wherever C <= C_ind. NaN where all pairings cost the same.
    """
    independent = independent_cost(images, noise)
    best = (
        optimal_cost(images, noise) if potential is None else dual_bound(images, noise, potential)
    )
    attainable = independent - best
    return (
        (transport_cost(images, noise) - best) / attainable
        if attainable > 1e-12 * abs(independent)
        else math.nan
    )


def duplicates(index: Tensor) -> float:
    """1 - distinct / n: 0 for a permutation, about 1/e for n independent draws."""
    return 1 - len(index.unique()) / len(index) if len(index) else 0.0


def noise_norm_drift(noise: Tensor) -> float:
    """The mean of ||z||^2 / d, less 1: 0 for N(0, I) up to sqrt(2 / (n d)), negative where short
    noises won.
    """
    return float(noise.detach().double().square().mean() - 1)


def norm_ks(noise: Tensor) -> KSTest:
    """Are the norms ||z_i|| distributed as chi(d)?"""
    from scipy.stats import chi, kstest

    noise = noise.detach().double().cpu().flatten(1)
    result = kstest(noise.norm(dim=1).numpy(), chi(noise.shape[1]).cdf)
    return KSTest(float(result.statistic), float(result.pvalue))


def marginal_ks(noise: Tensor) -> KSTest:
    """Is every coordinate N(0, 1)? The worst coordinate, its p-value times d (Bonferroni), at most
    1.
    """
    from scipy.stats import kstest

    noise = noise.detach().double().cpu().flatten(1)
    results = [kstest(column.numpy(), "norm") for column in noise.T]
    statistic, pvalue = max(r.statistic for r in results), min(r.pvalue for r in results)
    return KSTest(float(statistic), min(1.0, float(pvalue) * len(results)))


def label_leakage(noise: Tensor, labels: Tensor, folds: int = 5) -> float:
    """The accuracy of a linear probe of the label from the PAIRED noise, cross-validated.

    1 / classes is no leak (for classes of one size). The probe is ridge regression to one-hot
    labels with penalty d.

    Args:
        noise: `[n, ...]`, `noise[i]` goes with an image of label `labels[i]`.
        labels: `[n]` int.
        folds: every class needs at least as many samples.

    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    labels = labels.detach().cpu()
    require(
        labels.shape == noise.shape[:1], f"labels [{len(noise)}] expected, got {list(labels.shape)}"
    )
    least = int(labels.unique(return_counts=True)[1].min())
    require(least >= folds, f"a class has {least} samples: use folds={least} or more samples")
    features = noise.detach().double().cpu().flatten(1).numpy()
    probe = RidgeClassifier(alpha=float(features.shape[1]))
    return float(cross_val_score(probe, features, labels.numpy(), cv=StratifiedKFold(folds)).mean())


def power_drift(images: Tensor, noise: Tensor, sigmas: Iterable[float]) -> dict[float, float]:
    """E||x_sigma||^2 of the pairs over its value for random pairs, less 1, for each sigma; x = y +
    sigma z.

    Coupled noise is not independent of the image, so x_sigma does not follow the law that
    score-based samplers assume: drift = 2 sigma (E<y, z> - <E y, E z>) / E||x_sigma||^2.
    """
    images, noise = _flat(images, noise)
    gain = float((images * (noise - noise.mean(0))).sum(1).mean())
    image, noises = float(images.square().sum(1).mean()), float(noise.square().sum(1).mean())
    cross = float(images.mean(0) @ noise.mean(0))
    return {s: 2 * s * gain / (image + s * s * noises + 2 * s * cross) for s in sigmas}


def conditional_variance(
    images: Tensor, noise: Tensor, sigma: float, neighbours: int = 16
) -> float:
    """E Var(y | x, sigma) / d of the pairs, x = y + sigma z, by nearest neighbours in x: the floor
    of the loss.

    The variance of y among the `neighbours` nearest x, x itself included, unbiased (k - 1). It
    needs samples dense in x: with few of them in many dimensions the neighbours lie far away and
    the estimate is too large.

    Args:
        images: `[n, ...]`.
        noise: `[n, ...]`, of unit variance.
        sigma: noise level.
        neighbours: k, from 2 to n.

    """
    from sklearn.neighbors import NearestNeighbors

    images, noise = _flat(images, noise)
    require(
        2 <= neighbours <= len(images),
        f"neighbours must be in 2 .. {len(images)}, got {neighbours}",
    )
    x = (images + sigma * noise).numpy()
    # [n, k]
    near = NearestNeighbors(n_neighbors=neighbours).fit(x).kneighbors(x, return_distance=False)
    return (
        sum(float(images[torch.from_numpy(rows)].var(1).sum()) for rows in _split(near))
        / images.numel()
    )


def posterior_variance(images: Tensor, noise: Tensor, sigma: float) -> float:
    """E Var(y | x, sigma) / d for INDEPENDENT noise: exact for the data set that consists of the
    images.

    The posterior of y given x has weights proportional to exp(-||x - y_j||^2 / (2 sigma^2)) on the
    images. The mean over x is taken at the given pairs, which must be random ones.
    """
    images, noise = _flat(images, noise)
    # The variance is a difference of squares, which an offset would swamp
    images = images - images.mean(0)
    x = images + sigma * noise
    total = 0.0
    for chunk in x.split(1024):
        logits = -torch.cdist(
            chunk, images, compute_mode="donot_use_mm_for_euclid_dist"
        ).square() / (2 * sigma**2)
        weights = logits.softmax(1)  # [b, n]
        mean = weights @ images
        total += float((weights @ images.square().sum(1) - mean.square().sum(1)).clamp_min(0).sum())
    return total / images.numel()


def _flat(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Both as `[n, d]` float64 on the CPU."""
    shapes = f"images {list(images.shape)}, noise {list(noise.shape)}"
    require(
        images.shape == noise.shape and images.dim() > 0,
        f"images and noise must have one shape [n, ...]: {shapes}",
    )
    require(images.numel() > 0, f"nothing to measure: {shapes}")
    n = len(images)
    return images.detach().double().cpu().reshape(n, -1), noise.detach().double().cpu().reshape(
        n, -1
    )


def _distances(images: Tensor, noise: Tensor) -> Tensor:
    """||y_i - z_j||^2, `[n, n]`."""
    return torch.cdist(images, noise, compute_mode="donot_use_mm_for_euclid_dist").square()


def _split(rows, size: int = 256):
    return (rows[first : first + size] for first in range(0, len(rows), size))

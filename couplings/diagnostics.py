"""Diagnostics of a pairing, its gains and its faults: pure functions on plain tensors.

Images y and noise samples z are `[n, ...]` each, row i a pair; nothing here needs a coupling of
ours.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from couplings.cost import mean_pair_cost
from couplings.errors import require
from couplings.extras import needed_by
from couplings.plan import entropy

renormalised_entropy = entropy

# A difference of two costs below this share of them is rounding.
NO_DIFFERENCE = 1e-12
# Rows at a time, where a row takes as much memory as all images (posterior) or k of them.
POSTERIOR_ROWS = 1024
NEIGHBOUR_ROWS = 256
# Distances by differences: a matrix product would lose the digits of near points.
EXACTLY = "donot_use_mm_for_euclid_dist"


class KSTest(NamedTuple):
    """A Kolmogorov-Smirnov test: the distance of the distribution functions, and its p-value."""

    statistic: float
    pvalue: float


def transport_cost(images: Tensor, noise: Tensor) -> float:
    """C = mean_i ||y_i - z_i||^2."""
    return mean_pair_cost(*_flat(images, noise))


def independent_cost(images: Tensor, noise: Tensor) -> float:
    """C_ind = the mean of ||y_i - z_j||^2 over all i, j: the expected cost of a random pairing."""
    y, z = _flat(images, noise)
    # Centred, because the squares of an offset common to both would cancel with most of the digits.
    centre = z.mean(0)
    of_images = (y - centre).square().sum(1).mean()
    of_noise = (z - centre).square().sum(1).mean()
    return float(of_images + of_noise)


def optimal_cost(images: Tensor, noise: Tensor) -> float:
    """C_opt = the least C over all permutations of the noise, exactly, in O(n^3)."""
    from scipy.optimize import linear_sum_assignment

    cost = _distances(*_flat(images, noise)).numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def dual_bound(images: Tensor, noise: Tensor, potential: Tensor) -> float:
    """mean_j min_i (||y_i - z_j||^2 - f_i) + mean_i f_i <= C_opt, for any potential f.

    Args:
        images: `[n, ...]`.
        noise: `[n, ...]`.
        potential: `[n]`, f, one value per image, in units of squared distance.

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
    bound of the exact one wherever C <= C_ind. NaN if all pairings cost the same.
    """
    independent = independent_cost(images, noise)
    if potential is None:
        best = optimal_cost(images, noise)
    else:
        best = dual_bound(images, noise, potential)
    attainable = independent - best
    if attainable <= NO_DIFFERENCE * abs(independent):
        return math.nan
    return (transport_cost(images, noise) - best) / attainable


def duplicates(index: Tensor) -> float:
    """1 - distinct / n: 0 for a permutation, about 1/e for n independent draws."""
    return 1 - len(index.unique()) / len(index) if len(index) else 0.0


def noise_norm_drift(noise: Tensor, weights: Tensor | None = None) -> float:
    """The mean of ||z||^2 / d, less 1.

    It is 0 for N(0, I) up to sqrt(2 / (n d)), and negative if short noise samples are preferred.

    Args:
        noise: `[n, ...]`.
        weights: `[n]` of mean 1, of `Pairing.weights`; None for equal ones.

    """
    squares = noise.detach().double().square()
    if weights is not None:
        squares = squares.flatten(1).mean(1) * weights
    return float(squares.mean() - 1)


def norm_ks(noise: Tensor) -> KSTest:
    """The test of the norms ||z_i|| against chi(d)."""
    from scipy.stats import chi, kstest

    rows = noise.detach().double().cpu().flatten(1)
    result = kstest(rows.norm(dim=1).numpy(), chi(rows.shape[1]).cdf)
    return KSTest(float(result.statistic), float(result.pvalue))


def marginal_ks(noise: Tensor) -> KSTest:
    """The test of every coordinate against N(0, 1): the worst one.

    The p-value is multiplied by d (Bonferroni) and at most 1.
    """
    from scipy.stats import kstest

    rows = noise.detach().double().cpu().flatten(1)
    results = [kstest(column.numpy(), "norm") for column in rows.T]
    statistic = max(result.statistic for result in results)
    pvalue = min(result.pvalue for result in results)
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
    with needed_by("label_leakage"):
        from sklearn.linear_model import RidgeClassifier
        from sklearn.model_selection import StratifiedKFold, cross_val_score

    labels = labels.detach().cpu()
    require(
        labels.shape == noise.shape[:1], f"labels [{len(noise)}] expected, got {list(labels.shape)}"
    )
    _, counts = labels.unique(return_counts=True)
    least = int(counts.min())
    require(least >= folds, f"a class has {least} samples: use folds={least} or more samples")
    features = noise.detach().double().cpu().flatten(1).numpy()
    # Unit noise has a Gram matrix of about n I, so d is a mild penalty at n > d, and enough to
    # solve at n < d.
    probe = RidgeClassifier(alpha=float(features.shape[1]))
    return float(cross_val_score(probe, features, labels.numpy(), cv=StratifiedKFold(folds)).mean())


def label_share(noise: Tensor, labels: Tensor) -> float:
    """The share of the PAIRED noise's variance that the label explains, less that of random labels.

    1 - (W / (n - C)) / (T / (n - 1)), with W and T the squared distances from the means of the C
    classes and from the mean of all: epsilon squared of the analysis of variance (Kelley 1935),
    over all coordinates. Its mean over all permutations of the labels is exactly 0, so it may be
    slightly negative; 1 if the label determines the noise. Quick, but it sees means only; see
    `label_leakage`. NaN without two classes, or if all labels or all noise samples are distinct or
    equal.

    Args:
        noise: `[n, ...]`, `noise[i]` goes with an image of label `labels[i]`.
        labels: `[n]` or `[n, k]`.

    """
    n = len(noise)
    _, which, counts = labels.to(noise.device).unique(
        dim=0, return_inverse=True, return_counts=True
    )
    classes = len(counts)
    if not 1 < classes < n:
        return math.nan
    z = noise.detach().double().reshape(n, -1)
    z = z - z.mean(0)
    sums = z.new_zeros(classes, z.shape[1]).index_add_(0, which, z)
    total = float(z.square().sum())
    if not total:
        return math.nan
    between = float((sums.square().sum(1) / counts).sum())
    return 1 - (total - between) / (n - classes) / (total / (n - 1))


def power_drift(images: Tensor, noise: Tensor, sigmas: Iterable[float]) -> dict[float, float]:
    """E||x_sigma||^2 of the pairs over its value for random pairs, less 1, for each sigma.

    x_sigma = y + sigma z. Coupled noise is not independent of the image, so x_sigma does not follow
    the law that score-based samplers assume: drift = 2 sigma (E<y, z> - <E y, E z>) /
    E||x_sigma||^2.
    """
    y, z = _flat(images, noise)
    gain = float((y * (z - z.mean(0))).sum(1).mean())
    image_power = float(y.square().sum(1).mean())
    noise_power = float(z.square().sum(1).mean())
    cross = float(y.mean(0) @ z.mean(0))
    drifts = {}
    for sigma in sigmas:
        random_power = image_power + sigma * sigma * noise_power + 2 * sigma * cross
        drifts[sigma] = 2 * sigma * gain / random_power
    return drifts


def conditional_variance(
    images: Tensor, noise: Tensor, sigma: float, neighbours: int = 16
) -> float:
    """E Var(y | x, sigma) / d of the pairs by nearest neighbours: the floor of the training loss.

    x = y + sigma z. It is the variance of y among the `neighbours` nearest x, x itself included,
    unbiased (k - 1). It needs samples dense in x: with few of them in many dimensions the
    neighbours are distant and the estimate is too large.

    Args:
        images: `[n, ...]`.
        noise: `[n, ...]`, of unit variance.
        sigma: noise level.
        neighbours: k, from 2 to n.

    """
    with needed_by("conditional_variance"):
        from sklearn.neighbors import NearestNeighbors

    y, z = _flat(images, noise)
    require(
        2 <= neighbours <= len(y),
        f"neighbours must be in 2 .. {len(y)}, got {neighbours}",
    )
    x = (y + sigma * z).numpy()
    search = NearestNeighbors(n_neighbors=neighbours).fit(x)
    near = torch.from_numpy(search.kneighbors(x, return_distance=False))  # [n, k]
    total = 0.0
    for rows in near.split(NEIGHBOUR_ROWS):
        total += float(y[rows].var(1).sum())
    return total / y.numel()


def posterior_variance(images: Tensor, noise: Tensor, sigma: float) -> float:
    """E Var(y | x, sigma) / d for INDEPENDENT noise: exact for the data set of the images.

    The posterior of y given x has weights proportional to exp(-||x - y_j||^2 / (2 sigma^2)) on the
    images. The mean over x is taken at the given pairs, which must be random ones.
    """
    y, z = _flat(images, noise)
    # The variance is a difference of squares, which an offset would swamp.
    y = y - y.mean(0)
    square = y.square().sum(1)
    total = 0.0
    for chunk in (y + sigma * z).split(POSTERIOR_ROWS):
        logits = -torch.cdist(chunk, y, compute_mode=EXACTLY).square() / (2 * sigma**2)
        weights = logits.softmax(1)  # [b, n]
        mean = weights @ y
        variance = weights @ square - mean.square().sum(1)
        total += float(variance.clamp_min(0).sum())
    return total / y.numel()


def _flat(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Both as `[n, d]` float64 on the CPU."""
    shapes = f"images {list(images.shape)}, noise {list(noise.shape)}"
    require(
        images.shape == noise.shape and images.dim() > 0,
        f"images and noise must have one shape [n, ...]: {shapes}",
    )
    require(images.numel() > 0, f"nothing to measure: {shapes}")
    n = len(images)
    y = images.detach().double().cpu().reshape(n, -1)
    z = noise.detach().double().cpu().reshape(n, -1)
    return y, z


def _distances(images: Tensor, noise: Tensor) -> Tensor:
    """||y_i - z_j||^2, `[n, n]`."""
    return torch.cdist(images, noise, compute_mode=EXACTLY).square()

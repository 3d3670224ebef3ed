"""Noise of the denoiser's regression target: E Var(y | x, sigma) / d of pairs, x = y + sigma z.

It is the floor of the loss, E|y - D|^2 = E Var(y | x) + E|D - E[y|x]|^2, so that the loss of ANY
denoiser that was not made from the pairs it is measured on is an upper bound, for every coupling.
Two cases are known without a denoiser:

- independent noise: the posterior over a finite set of images is closed form
  (``posterior_variance``);
- any pairing as sigma -> infinity, where x determines the noise only: two pools that share a noise
  sample give two independent images of it (``partner_variance``).

For coupled noise at finite sigma no such form is known. Nearest neighbours in x
(``couplings.diagnostics``) would also give an upper bound, but in more than a few dimensions they
are so far away that it is the variance of all images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 2048  # candidates weighted at a time


def posterior_variance(
    candidates: Tensor, rows: Tensor, noise: Tensor, sigmas: Sequence[float]
) -> list[float]:
    """E Var(y | x, sigma) / d under INDEPENDENT noise and y uniform on the candidates, one value a
    sigma: unbiased.

    Candidate j has posterior weight w_j ~ exp(-|x - y_j|^2 / (2 sigma^2)); y and a draw y' from the
    posterior are independent copies given x, so E Var = E|y - y'|^2 / 2 = E sum_j w_j |y - y_j|^2 /
    2. Time and memory beyond two matrix products do not grow with d.

    Where the candidates are a random part of a larger set, to know the part is to know more: E
    Var(y | x, part) <= E Var(y | x), so that the value is a LOWER bound for the whole set. In the
    same sense the value of a training set is below that of the population; at small sigma it
    falls to 0, as each image is recognised by its x.

    Args:
        candidates: ``[n, ...]`` images.
        rows: ``[q]`` int64, the candidates y that noise is added to, drawn uniformly.
        noise: ``[q, ...]``, independent N(0, I).
        sigmas: noise levels.

    """
    flat = candidates.flatten(1)
    z = noise.flatten(1).double()
    # At sigma 0.02 a logit is 1,250 times a squared distance, and so is its rounding error: in
    # float32 it would reach tenths for images, which changes the weights.
    y = flat[rows].double()
    # A softmax over all candidates in one pass: sums are kept relative to the running maximum of
    # the logits, because exp(-1e6) alone would be 0 at small sigma.
    peak = z.new_full((len(sigmas), len(y)), -torch.inf)
    mass = torch.zeros_like(peak)  # sum of w over exp(peak)
    spread = torch.zeros_like(peak)  # sum of w |y - y_j|^2 over exp(peak)
    for chunk in flat.split(CHUNK):
        other = chunk.double()
        # The three terms cancel where two images are equal; rounding may leave less than 0.
        # [q, b]
        gap = (y.square().sum(1)[:, None] + other.square().sum(1) - 2 * y @ other.T).clamp_min(0)
        along = (z * y).sum(1)[:, None] - z @ other.T  # <z, y - y_j>
        for k, sigma in enumerate(sigmas):
            # -|x - y_j|^2 / (2 sigma^2) without |z|^2 / 2, which all candidates share: no digits
            # lost at small sigma.
            logits = -gap / (2 * sigma**2) - along / sigma
            top = torch.maximum(peak[k], logits.max(1).values)
            weights = (logits - top[:, None]).exp()
            # What is summed so far refers to the former maximum.
            fade = (peak[k] - top).exp()
            mass[k] = mass[k] * fade + weights.sum(1)
            spread[k] = spread[k] * fade + (weights * gap).sum(1)
            peak[k] = top
    return ((spread / mass).mean(1) / (2 * flat.shape[1])).tolist()


def partner_variance(first: Tensor, second: Tensor) -> float:
    """E Var(y | z) / d from two images ``[n, ...]`` each of the same noise samples, paired in two
    independent pools: unbiased.

    Given the noise the two are independent copies, so E Var = E|y - y'|^2 / 2. Pools that share m
    noise samples condition each on the other m - 1. By the law of total variance the value is then
    a lower bound, which is close if m is a small part of the pool.
    """
    return (first.double() - second.double()).square().mean().item() / 2

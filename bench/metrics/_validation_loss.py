"""The loss of a denoiser on given pairs.

A coupled denoiser estimates E[y|x] under its own pairs. Its loss under independent noise asks it
for another expectation. A single one of these losses therefore compares no two couplings: measure
each denoiser under both pairings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 256  # pairs denoised at a time


@torch.no_grad()
def denoising_errors(
    denoise: Callable[..., Tensor],
    images: Tensor,
    noise: Tensor,
    sigma: Tensor,
    labels: Tensor | None = None,
) -> Tensor:
    """|D(y + sigma z; sigma) - y|^2 / d of every pair, ``[n]`` float64: the loss of Karras et al.
    2022, Eq. 2, a pixel.

    Args:
        denoise: called as ``denoise(x, sigma, labels)``.
        images: y ``[n, c, h, w]``.
        noise: z, the same shape, unit variance.
        sigma: ``[n]``.
        labels: one-hot ``[n, k]``, or None.

    """
    errors = []
    for rows in torch.arange(len(images), device=images.device).split(CHUNK):
        y = images[rows]
        s = sigma[rows]
        x = y + s[:, None, None, None] * noise[rows]
        denoised = denoise(x, s, None if labels is None else labels[rows])
        # In float64, because at small sigma the error is a small difference of large values.
        errors.append((denoised.double() - y.double()).square().flatten(1).mean(1))
    return torch.cat(errors)

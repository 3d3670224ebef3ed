"""Global truncation error of a coarse sampler against a dense one from the same latents."""

from __future__ import annotations

from torch import Tensor


def truncation_error(coarse: Tensor, reference: Tensor) -> float:
    """Root mean square difference per pixel of two sets of images ``[n, c, h, w]``, in units of the
    range [-1, 1].

    Both start at the same latents and use the same denoiser, so the difference is due to the steps
    alone.
    """
    return (coarse.double() - reference.double()).square().mean().sqrt().item()

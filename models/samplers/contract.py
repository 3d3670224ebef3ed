"""What a sampler is given, and the counter of evaluations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Observe = Callable[[float, Tensor, Tensor], None]


class CountNFE:
    """A denoiser that counts its evaluations: the only source of every NFE reported."""

    def __init__(self, denoise: Denoise):
        self.denoise, self.nfe = denoise, 0

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.nfe += 1
        return self.denoise(x, sigma, labels)


def _intervals(sigmas: Tensor) -> list[tuple[float, float]]:
    levels = sigmas.tolist()
    return list(zip(levels[:-1], levels[1:], strict=True))


def _evaluate(denoise: Denoise, x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
    return denoise(x, torch.tensor(sigma, dtype=x.dtype, device=x.device), labels).double()

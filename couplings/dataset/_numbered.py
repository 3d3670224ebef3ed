"""Noise samples that are kept as numbers, and drawn again when they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from couplings._streams import stream


def numbered_noise(seed: int, purpose: str, numbers: Tensor, images: Tensor) -> Tensor:
    """The noise samples `[b, ...]` of some numbers, always the same.

    Args:
        seed: of all noise samples.
        purpose: of the stream.
        numbers: `[b]` int64.
        images: `[n, ...]`, whose shape, dtype and device the noise samples have.

    """
    shape = images.shape[1:]
    draws = [_draw(stream(seed, purpose, number), shape) for number in numbers.tolist()]
    return torch.stack(draws).to(images) if draws else images.new_empty(0, *shape)


def _draw(seed: int, shape: torch.Size) -> Tensor:
    # A state holds numbers only, so the draw must be the same everywhere: in float32 on the CPU,
    # whatever defaults the caller has set.
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

"""Randomness by named axes: every stream is found by what it is for, never by how much was drawn
before.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, rank: int = 0, step: int = 0) -> int:
    """A 63-bit seed for the stream of ``purpose`` (images, noise, sigma, ...) at one rank and step."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{rank}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, rank: int = 0, step: int = 0) -> torch.Generator:
    """The CPU generator of one stream.

    Drawing on the CPU keeps the streams equal on every device, and nothing here depends on earlier
    draws: a resumed run needs no saved state, and all couplings of a comparison see the same
    images, noises and sigmas.
    """
    return torch.Generator().manual_seed(derive(seed, purpose, rank, step))

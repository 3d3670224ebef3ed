"""Randomness by named axes: the purpose of a stream finds it, never the number of earlier draws."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, rank: int = 0, step: int = 0) -> int:
    """A seed of 63 bits for one stream.

    Args:
        seed: of the run.
        purpose: such as images, noise or sigma.
        rank: of the process.
        step: of the training, or the number of a pool or a chunk.

    """
    # A hash, so that neighbouring seeds and steps have unrelated streams.
    digest = hashlib.sha256(f"{seed}/{purpose}/{rank}/{step}".encode()).digest()
    # Without the top bit: seeds of torch are signed.
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, rank: int = 0, step: int = 0) -> torch.Generator:
    """The CPU generator of one stream; arguments as of ``derive``.

    Drawing on the CPU keeps the streams equal on every device, and nothing here depends on earlier
    draws: a resumed run needs no saved state, and all couplings of a comparison are given the same
    images, noise samples and sigmas. Not all of them use each one once, see
    ``bench.pairs.pool.draw_pool``.
    """
    return torch.Generator().manual_seed(derive(seed, purpose, rank, step))

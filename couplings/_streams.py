"""Seeds of streams of random numbers, found by their purpose."""

from __future__ import annotations

import hashlib


def stream(seed: int, *axes: str | int) -> int:
    """The 63-bit seed of the stream of random numbers for one purpose, such as `("step", 7)`.

    It does not depend on what was drawn before, so a resumed fit or training needs nothing but its
    seed and its step.
    """
    text = "/".join(map(str, (seed, *axes)))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes seeds below 2^63

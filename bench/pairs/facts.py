"""Facts about the pairs of a pool that no solver reports: drift of the noise, leak of the label."""

from __future__ import annotations

import math

from torch import Tensor

from bench.pairs.pool import Pairs
from couplings.diagnostics import label_share, noise_norm_drift

SEEN = 16  # values of a noise sample that tell it from all others


def facts(pairs: Pairs, gaussian: bool, labelled: bool) -> dict[str, float]:
    """Keys for the report of a pool.

    ``noise_norm_drift`` is E|z|^2 / d - 1, and ``label_leakage`` the share of the noise's variance
    that the class explains, see ``couplings.diagnostics.label_share``.

    Args:
        pairs: as coupled.
        gaussian: True if noise samples are drawn from N(0, I), so that the drift means something.
        labelled: True if a network gets the labels, so that a leak of them does harm.

    """
    found = {}
    if gaussian:
        found["noise_norm_drift"] = noise_norm_drift(pairs.noise, pairs.weights)
    if labelled:
        found["label_leakage"] = label_share(pairs.noise, pairs.labels)
    # A pool of one class, or of conditions that never repeat, says nothing of leaks.
    return {key: value for key, value in found.items() if math.isfinite(value)}


def repeated(noise: Tensor) -> float:
    """1 - distinct / n of noise samples ``[n, ...]``: 0 if each of them comes once."""
    # Sorting rows of thousands of values would take longer than the coupling.
    distinct = noise.flatten(1)[:, :SEEN].unique(dim=0)
    return 1 - len(distinct) / len(noise)

"""Check for NaN and infinity, shared by all metrics: the value is then NaN, never an error or a
number.
"""

from __future__ import annotations

from torch import Tensor


def all_finite(*tensors: Tensor) -> bool:
    """True if no value of these tensors is NaN or infinite.

    A metric that compares or sorts would give a number for NaN all the same: comparisons with it
    are false, and it is sorted as the largest. One that factorises a matrix would raise. So metrics
    ask here first.
    """
    return all(bool(tensor.isfinite().all()) for tensor in tensors)

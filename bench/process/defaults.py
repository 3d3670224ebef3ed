"""The defaults of torch that this project computes with, whatever a caller has set for the whole
process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_torch() -> Iterator[None]:
    """New tensors are float32 on the CPU in here, as torch begins; both defaults are the caller's
    again afterwards.

    Other defaults would draw other random numbers, or put them where the rest is not. One guard
    where work begins covers all that is called from there, the layers of torch among it. It also
    decorates functions. What runs in threads, or is called by itself, names dtype and device
    instead: the default dtype is one for all threads.
    """
    import torch

    # As torch makes it, both for a default and within `with torch.device(...)`
    found = torch.empty(0)
    if found.dtype == torch.float32 and found.device.type == "cpu":
        yield  # a device context costs every call of torch a little, so there is none without need
        return
    try:
        torch.set_default_dtype(torch.float32)
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(found.dtype)

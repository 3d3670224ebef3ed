"""The defaults of torch that this project computes with, whatever a caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_torch() -> Iterator[None]:
    """Make new tensors float32 on the CPU, as torch begins; restore the caller's defaults after.

    Other defaults would draw other random numbers, or put them on another device than the rest.
    One guard at the begin of the work covers all that is called from there, also the layers of
    torch. It also decorates functions. Code that runs in threads, or is called directly, names
    dtype and device instead, because all threads share one default dtype.
    """
    import torch

    # A tensor shows both defaults, also those of a surrounding `with torch.device(...)`.
    sample = torch.empty(0)
    if sample.dtype == torch.float32 and sample.device.type == "cpu":
        # Without need no device context: it costs every call of torch a little.
        yield
        return
    try:
        torch.set_default_dtype(torch.float32)
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(sample.dtype)

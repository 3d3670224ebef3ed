"""The defaults of torch that this project computes with, and how its threads wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Of OpenMP, of GNU's library (torch for the CPU) and of Intel's
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def wait_without_spinning() -> None:
    """Have torch's threads sleep while they wait for each other, unless the user chose otherwise.

    By default they spin, and where other processes need the cores, one thread that is not running
    makes all others spin until it is. Without effect once torch is imported.
    """
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)


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

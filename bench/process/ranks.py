"""The processes of one run: ``torchrun --nproc-per-node N -m bench.run ...`` starts N of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Timer
from typing import Any, TypeVar

from bench.record import UserError

# Ranks wait while one fits a coupling, solves a pool or measures: torch's 10 minutes would end the
# run.
PATIENCE = timedelta(hours=2)
_MOMENT_S = 2.0  # after which a waiting process says so
T = TypeVar("T")
_WAY_OUT = "start with torchrun or unset WORLD_SIZE"


@dataclass(frozen=True)
class Ranks:
    """A process among those of the run.

    Attributes:
        rank: its number; 0 keeps the run folder.
        count: how many there are.
        device: what it computes on.

    """

    rank: int
    count: int
    device: str

    @property
    def first(self) -> bool:
        """True for the process that writes, prints and measures."""
        return self.rank == 0

    def share(self, value: Any = None) -> Any:
        """The value of rank 0, on every rank; it must be picklable."""
        if self.count == 1:
            return value
        from torch import distributed

        shared = [value]
        distributed.broadcast_object_list(shared, src=0)
        return shared[0]

    def from_first(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` on rank 0, on every rank.

        Its error is raised on every rank too: no rank waits for one that failed.
        """
        if self.count == 1:
            return function(*args)
        result = None
        error = None
        if self.first:
            try:
                result = function(*args)
            except Exception as caught:  # noqa: BLE001 - any error must reach the other ranks
                error = caught
        result, error = self.share((result, error))
        if error is not None:
            raise error
        return result

    def first_then_all(self, function: Callable[..., T], *args: Any) -> T:
        """Each rank's own result of ``function(*args)``; the others begin when rank 0 is through.

        For work that leaves files: rank 0 downloads or fits, the others read. An error of rank 0
        is raised on every rank, before any other one begins.
        """
        result = None
        error = None
        if self.first:
            try:
                result = function(*args)
            except Exception as caught:  # noqa: BLE001 - any error must reach the other ranks
                error = caught
        # Only the error is sent: the result may be large, or tied to its process.
        error = self.share(error)
        if error is not None:
            raise error
        return result if self.first else function(*args)

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


def join(device: str) -> Ranks:
    """Join the process group that torchrun's variables describe; without them there is no other.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.

    Raises:
        UserError: CUDA is asked for and not there, or the variables are not those of torchrun.

    """
    import torch

    # TF32 keeps three digits: it would put a floor under truncation errors and order pairs by
    # chance.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device here; leave --device out or say cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    count, rank, local = _place()
    if count == 1:
        return Ranks(0, 1, device)
    if device == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    # Commands join once, but a program may run several.
    if not torch.distributed.is_initialized():
        backend = "gloo"
        bound = None
        if device.startswith("cuda"):
            backend = "nccl"
            bound = torch.device(device)
        others = f"{count - 1} more process{'es' if count > 2 else ''}"
        with _said_if_long(f"process {rank} of {count}: waiting for {others}"):
            torch.distributed.init_process_group(backend, timeout=PATIENCE, device_id=bound)
    return Ranks(torch.distributed.get_rank(), count, device)


def leave() -> None:
    """Destroy the process group, if there is one."""
    # Not imported here: a command that ends without torch should not load it now.
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _place() -> tuple[int, int, int]:
    """Number of processes, number of this one, and its number on this machine.

    Raises:
        UserError: some variables of torchrun are missing, or are no such numbers.

    """
    if "WORLD_SIZE" not in os.environ:
        return 1, 0, 0
    count = _number("WORLD_SIZE", least=1)
    if count == 1:
        return 1, 0, 0
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UserError(f"WORLD_SIZE={count}, but {name} is not set: {_WAY_OUT}")
    _number("MASTER_PORT", least=0, most=65535)
    rank = _number("RANK", least=0, most=count - 1)
    return count, rank, _number("LOCAL_RANK", least=0, most=count - 1, default="0")


def _number(name: str, least: int, most: int | None = None, default: str | None = None) -> int:
    """The number in a variable of torchrun, from ``least`` to ``most``."""
    text = os.environ.get(name, default)
    size = f" (WORLD_SIZE={os.environ['WORLD_SIZE']})" if name != "WORLD_SIZE" else ""
    if text is None:
        raise UserError(f"{name} is not set{size}: {_WAY_OUT}")
    # By a pattern: `int` also takes signs, spaces, underscores and digits of other scripts.
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
    if number < least or (most is not None and number > most):
        span = f"{least} to {most}" if most is not None else f"{least} or more"
        raise UserError(f"{name}={text!r}{size} must be a whole number, {span}: {_WAY_OUT}")
    return number


@contextmanager
def _said_if_long(what: str) -> Iterator[None]:
    """Print a line if the block takes more than a moment: a forgotten process looks like a hang."""
    timer = Timer(_MOMENT_S, print, [f"{what} ({_WAY_OUT})"], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

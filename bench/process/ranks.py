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
from typing import Any

from bench.config import ConfigError

# Ranks wait while one fits a coupling, solves a pool or measures: torch's 10 minutes would end the
# run.
PATIENCE = timedelta(hours=2)
_MOMENT_S = 2.0
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
        """Whether this process writes, prints and measures."""
        return self.rank == 0

    def share(self, value: Any = None) -> Any:
        """What rank 0 passes, on every rank."""
        if self.count == 1:
            return value
        from torch import distributed

        word = [value]
        distributed.broadcast_object_list(word, src=0)
        return word[0]

    def first_does(self, action: Callable[[], Any]) -> Any:
        """The result of an action of rank 0 on every rank, or its error: no rank waits for one that
        failed.
        """
        if self.count == 1:
            return action()
        result = error = None
        if self.first:
            try:
                result = action()
            except Exception as caught:  # noqa: BLE001 - the other ranks must hear of it, whatever it is
                error = caught
        result, error = self.share((result, error))
        if error is not None:
            raise error
        return result

    def first_begins(self, action: Callable[[], Any]) -> Any:
        """Each rank's own result of an action; the others begin when rank 0 is through, or hear of
        its error.
        """
        own = []
        self.first_does(lambda: own.append(action()))
        return own[0] if self.first else action()

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


def join(device: str) -> Ranks:
    """The place of this process, by the variables that torchrun sets; without them it is alone.

    ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: CUDA is asked for and not there, or the variables are not those of torchrun.

    """
    import torch

    # TF32 keeps three digits: it would put a floor under truncation errors and order pairs by
    # chance.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device here; leave --device out or say cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    count, rank, local = _place()
    if count == 1:
        return Ranks(0, 1, device)
    if device == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        backend, bound = (
            ("nccl", torch.device(device)) if device.startswith("cuda") else ("gloo", None)
        )
        with _said_if_long(
            f"process {rank} of {count}: waiting for {count - 1} more"
            f" process{'es' if count > 2 else ''}"
        ):
            torch.distributed.init_process_group(backend, timeout=PATIENCE, device_id=bound)
    return Ranks(torch.distributed.get_rank(), count, device)


def leave() -> None:
    """Part from the other processes."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _place() -> tuple[int, int, int]:
    """How many processes there are, the number of this one, and its number on this machine.

    Raises:
        ConfigError: the variables of torchrun are there in part, or are no such numbers.

    """
    if "WORLD_SIZE" not in os.environ:
        return 1, 0, 0
    count = _number("WORLD_SIZE", least=1)
    if count == 1:
        return 1, 0, 0
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise ConfigError(f"WORLD_SIZE={count}, but {name} is not set: {_WAY_OUT}")
    _number("MASTER_PORT", least=0, most=65535)
    rank = _number("RANK", least=0, most=count - 1)
    return count, rank, _number("LOCAL_RANK", least=0, most=count - 1, default="0")


def _number(name: str, least: int, most: int | None = None, default: str | None = None) -> int:
    """The number in a variable of torchrun, from ``least`` to ``most``."""
    text = os.environ.get(name, default)
    size = f" (WORLD_SIZE={os.environ['WORLD_SIZE']})" if name != "WORLD_SIZE" else ""
    if text is None:
        raise ConfigError(f"{name} is not set{size}: {_WAY_OUT}")
    if (
        not re.fullmatch(r"[0-9]{1,9}", text)
        or int(text) < least
        or (most is not None and int(text) > most)
    ):
        span = f"{least} to {most}" if most is not None else f"{least} or more"
        raise ConfigError(f"{name}={text!r}{size} must be a whole number, {span}: {_WAY_OUT}")
    return int(text)


@contextmanager
def _said_if_long(what: str) -> Iterator[None]:
    """Print a line if the block takes more than a moment."""
    timer = Timer(_MOMENT_S, print, [f"{what} ({_WAY_OUT})"], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

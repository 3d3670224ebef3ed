"""The processes of one run: ``torchrun --nproc-per-node N -m bench.run ...`` starts N of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bench.config import ConfigError

# Ranks wait while one fits a coupling, solves a pool or measures: torch's 10 minutes would end the run.
PATIENCE = timedelta(hours=2)


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
        """The result of an action of rank 0 on every rank, or its error: no rank waits for one that failed."""
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
        """Each rank's own result of an action; the others begin when rank 0 is through, or hear of its error."""
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
        ConfigError: CUDA is asked for and not there.

    """
    import torch

    # TF32 keeps three digits: it would put a floor under truncation errors and order pairs by chance.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device here; leave --device out or say cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return Ranks(0, 1, device)
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        backend, bound = ("nccl", torch.device(device)) if device.startswith("cuda") else ("gloo", None)
        torch.distributed.init_process_group(backend, timeout=PATIENCE, device_id=bound)
    return Ranks(torch.distributed.get_rank(), count, device)


def leave() -> None:
    """Part from the other processes."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

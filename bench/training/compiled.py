"""The network compiled by torch.compile, with its failures in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.record import one_line
from bench.training.state import TrainingError

_MOST = 120  # characters of a reason


@contextmanager
def explained(arch: str) -> Iterator[None]:
    """Turn an error of torch.compile inside the block into one line that names the network.

    The backward pass is compiled too, but only when it runs for the first time.

    Raises:
        TrainingError: the network cannot be compiled.

    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise TrainingError(
            f"--compile: torch.compile fails for --arch {arch}"
            f" ({one_line(error)[:_MOST]}); leave --compile out"
        ) from error


class Compiled:
    """A denoiser that is compiled at its first call.

    Shapes are static: all batches are full, and only the last micro-batch may be smaller, so two
    shapes are compiled at most. Dynamic ones would give slower kernels.

    Args:
        denoise: the network, perhaps in DistributedDataParallel.
        arch: its name, for messages.
        backend: of torch.compile, a name or a function.

    """

    def __init__(self, denoise: nn.Module, arch: str, backend: Any = "inductor"):
        self.denoise: Any = torch.compile(denoise, dynamic=False, backend=backend)
        self.arch = arch
        self.is_checked = False

    def __call__(self, *args: Any) -> Tensor:
        """Denoise.

        Raises:
            TrainingError: the network cannot be compiled.

        """
        if self.is_checked:
            return self.denoise(*args)
        from torch._dynamo.utils import counters

        # Other networks of this process may have been compiled before.
        before = Counter(counters["graph_break"])
        with explained(self.arch):
            output = self.denoise(*args)
        self.is_checked = True
        self._note_breaks(Counter(counters["graph_break"]) - before)
        return output

    def __getattr__(self, name: str) -> Any:
        """Whatever else the trainer or an objective asks of the network."""
        return getattr(self.denoise, name)

    def _note_breaks(self, reasons: Counter[str]) -> None:
        """Print a line if the network was compiled in parts: it is then slower than it could be."""
        if reasons:
            # Torch's reasons have several lines.
            reason = " ".join(next(iter(reasons)).split())
            tqdm.write(
                f"note: --compile: --arch {self.arch} is compiled in {reasons.total() + 1}"
                f" parts, because of {reason[:_MOST]}"
            )

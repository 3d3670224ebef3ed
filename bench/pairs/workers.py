"""Worker processes that couple pools, so that a solver does not hold the trainer's GIL."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
from torch import Tensor

from bench.process.signals import ENDS
from couplings import Coupling, CouplingError, Pairing
from couplings.pool import Jitter

_coupling: Coupling | None = None  # of this worker process


class Workers:
    """A batch coupling whose pools are solved in other processes.

    A solver that holds Python's interpreter lock there does not stop the trainer.

    Args:
        coupling: the batch coupling.
        count: processes; as many pools can be solved at once.
        threads: of torch in each process.

    """

    def __init__(self, coupling: Coupling, count: int, threads: int = 1):
        self.coupling = coupling
        # Forked processes would inherit locks and OpenMP pools in whatever state the trainer's
        # threads hold them.
        context = multiprocessing.get_context("spawn")
        self._processes = ProcessPoolExecutor(count, context, _start_worker, (coupling, threads))

    @property
    def spec(self) -> str:
        """Spec of the coupling."""
        return self.coupling.spec

    def pair(
        self,
        images: Tensor,
        noise: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pairing:
        """As ``Coupling.pair`` for float32 pools: images ``[n, ...]`` and noise travel, the index
        ``[n]`` comes back.

        Raises:
            CouplingError: as ``Coupling.pair``, or the process died.

        """
        # Arrays are pickled as bytes; tensors would travel through shared memory, which containers
        # often limit.
        arrays = (_as_array(images), _as_array(noise), _as_array(labels))
        stream = None if generator is None else generator.get_state().numpy()
        try:
            index, report, weights, jitter = self._processes.submit(_pair, arrays, stream).result()
        except BrokenProcessPool:
            raise CouplingError(
                f"{self.coupling}: a worker process died, most likely for lack of memory: "
                "take a smaller --pool, or --workers 0"
            ) from None
        on_device = torch.from_numpy(index).to(images.device)
        factors = None if weights is None else torch.from_numpy(weights).to(images.device)
        return Pairing(on_device, report, weights=factors, jitter=jitter, given_noise=noise)

    def close(self, wait: bool = True) -> None:
        """Stop the processes; without ``wait`` those at work end with this one."""
        self._processes.shutdown(wait=wait, cancel_futures=True)


def _as_array(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().cpu().numpy()


def _as_tensor(array: np.ndarray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _start_worker(coupling: Coupling, threads: int) -> None:
    global _coupling
    _coupling = coupling
    torch.set_num_threads(threads)
    # Ctrl-C, a cluster's warnings and its request to end, which reach all processes, are the
    # trainer's to handle: a worker that died of one would look like a failure. It ends with the
    # trainer.
    for number in (signal.SIGINT, *ENDS):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A trainer that was killed cannot stop its workers.
    multiprocessing.parent_process().join()
    os._exit(1)


def _pair(
    arrays: tuple[np.ndarray | None, ...], stream: np.ndarray | None
) -> tuple[np.ndarray, dict[str, float], np.ndarray | None, Jitter | None]:
    """Pair in a worker: images, noise and labels come in, the parts of the pairing go out."""
    generator = None
    if stream is not None:
        # The trainer's stream, so that the pairs do not depend on who solves.
        generator = torch.Generator()
        generator.set_state(torch.from_numpy(stream))
    images, noise, labels = (_as_tensor(array) for array in arrays)
    pairing = _coupling.pair(images, noise, labels, generator)
    weights = _as_array(pairing.weights)
    return pairing.index.numpy(), pairing.report, weights, pairing.jitter

"""Entropic optimal transport by OTT-JAX's Sinkhorn, in float32 on JAX's own device."""

import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from couplings.batch._entropic import Entropic, RelativeCost
from couplings.errors import CouplingError
from couplings.memory import is_shortage
from couplings.plan import LogPlan

PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


@dataclass(frozen=True, kw_only=True)
class OttSinkhorn(Entropic):
    """The plan of `sinkhorn` by OTT-JAX, compiled once for every n; it holds the cost matrix, 8 n^2
    bytes.

    JAX works in float32: below an epsilon of about .01, or a tolerance of about 1e-4, it may stall
    and is then refused. The plan is rebuilt in float64 from the potentials and its marginals are
    checked there. Source: Cuturi et al. 2022 (arXiv 2201.12324).
    """

    def peak_bytes(self, n: int, d: int) -> int:
        """The costs in float64, and at least two copies in float32, at any n."""
        return max(super().peak_bytes(n, d), 16 * n * n)

    def log_plan(self, cost: RelativeCost) -> tuple[LogPlan, int]:
        """The plan and the number of iterations."""
        matrix = cost.matrix().to("cpu", torch.float32).numpy()
        with _variables_explained():
            f, g, iterations = _compiled_solver(self.max_iterations, self.tolerance)(matrix)
        f, g = (
            torch.from_numpy(np.array(potential, dtype=np.float64)).to(cost.x.device)
            for potential in (f, g)
        )
        return LogPlan(f, g, cost), int(iterations)


@contextmanager
def _variables_explained() -> Iterator[None]:
    """Name the variables that JAX is set by where it fails: its own message, if any, does not.

    Raises:
        CouplingError: JAX failed and such variables are set.

    """
    try:
        yield
    except Exception as error:
        names = sorted(
            name for name in os.environ if name.startswith(("JAX_", "XLA_")) and name != PREALLOCATE
        )
        if not names or is_shortage(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        settings = ", ".join(f"{name}={os.environ[name]}" for name in names)
        raise CouplingError(
            f"ott-sinkhorn: JAX fails ({reason}) with {settings}: unset what does not fit this"
            " machine, or use sinkhorn"
        ) from error


@functools.cache
def _compiled_solver(max_iterations: int, tolerance: float) -> Callable:
    """A compiled function from a cost `[n, n]` at eps = 1 to the potentials f, g `[n]` and the
    iterations.
    """
    # Otherwise JAX takes three quarters of the GPU memory that the model trains in.
    os.environ.setdefault(PREALLOCATE, "false")
    # "An NVIDIA GPU may be present": the CPU build of JAX beside a CUDA build of torch is a fair
    # choice.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="JAXopt is no longer maintained", category=DeprecationWarning
        )
        import jax
        from ott.geometry.geometry import Geometry
        from ott.solvers import linear

    @jax.jit
    def solve(cost):
        # Half the tolerance: the marginals are checked again in float64.
        out = linear.solve(
            Geometry(cost, epsilon=1.0), threshold=tolerance / 2, max_iterations=max_iterations
        )
        return out.f, out.g, out.n_iters

    return solve

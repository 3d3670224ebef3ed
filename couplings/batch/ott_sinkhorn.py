"""Entropic optimal transport by OTT-JAX's Sinkhorn, in float32 on JAX's own device."""

import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from couplings.batch._entropic import Entropic, RelativeCost
from couplings.errors import CouplingError
from couplings.extras import needed_by, quiet_ott
from couplings.memory import is_shortage
from couplings.plan import LogPlan

PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
LONGEST_REASON = 200  # characters of JAX's message; all of it fills a screen


@dataclass(frozen=True, kw_only=True)
class OttSinkhorn(Entropic):
    """The plan of `sinkhorn` by OTT-JAX, compiled once for every n.

    JAX works in float32: below an epsilon of about .01, or a
    tolerance of about 1e-4, it may stall and is then refused. The plan is rebuilt in float64 from
    the potentials, and its marginals are checked there.

    Cost: O(n^2) time an iteration, 16 n^2 bytes; compiled again for every n.

    Source: Cuturi et al. 2022 (arXiv 2201.12324).
    """

    def peak_bytes(self, n: int, d: int) -> int:
        """The costs in float64, and at least two copies in float32, at any n."""
        return max(super().peak_bytes(n, d), 16 * n * n)

    def log_plan(self, cost: RelativeCost) -> tuple[LogPlan, int]:
        """The plan and the number of iterations."""
        matrix = cost.matrix().to("cpu", torch.float32).numpy()
        with _variables_explained():
            f, g, iterations = _compiled_solver(self.max_iterations, self.tolerance)(matrix)
        potentials = [np.array(potential, dtype=np.float64) for potential in (f, g)]
        f, g = (torch.from_numpy(potential).to(cost.x.device) for potential in potentials)
        return LogPlan(f, g, cost), int(iterations)


@contextmanager
def _variables_explained() -> Iterator[None]:
    """Name the variables that configure JAX if it fails, which its own message does not.

    Raises:
        CouplingError: JAX failed and such variables are set.

    """
    try:
        yield
    except CouplingError:
        raise  # JAX is not installed
    except Exception as error:
        names = sorted(name for name in os.environ if _configures_jax(name))
        # Memory runs out with any variables, and has its own message.
        if not names or is_shortage(error):
            raise
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        settings = ", ".join(f"{name}={os.environ[name]}" for name in names)
        raise CouplingError(
            f"ott-sinkhorn: JAX fails ({reason}) with {settings}: unset what does not fit this"
            " machine, or use sinkhorn"
        ) from error


def _configures_jax(name: str) -> bool:
    """True for the environment variables of JAX and XLA, but the one that is set here."""
    return name.startswith(("JAX_", "XLA_")) and name != PREALLOCATE


@functools.cache
def _compiled_solver(max_iterations: int, tolerance: float) -> Callable:
    """A compiled function of a cost `[n, n]` at eps = 1: potentials f, g `[n]` and iterations."""
    # Otherwise JAX takes three quarters of the GPU memory that the model trains in.
    os.environ.setdefault(PREALLOCATE, "false")
    # "An NVIDIA GPU may be present": the CPU build of JAX with a CUDA build of torch is a fair
    # choice.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    with quiet_ott(), needed_by("ott-sinkhorn"):
        import jax
        from ott.geometry.geometry import Geometry
        from ott.solvers import linear

    @jax.jit
    def solve(cost):
        # Half the tolerance: the marginals are checked again in float64.
        out: Any = linear.solve(
            Geometry(cost, epsilon=1.0), threshold=tolerance / 2, max_iterations=max_iterations
        )
        return out.f, out.g, out.n_iters

    return solve

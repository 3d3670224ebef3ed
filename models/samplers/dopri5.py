"""Dormand and Prince's embedded Runge-Kutta pair of orders 5 and 4: an adaptive sampler.

The solver, scipy's, chooses its steps and with them the number of evaluations. It integrates the
sampling ODE in the logarithm of time, d state / d ln time = state - D: as smooth as the denoiser
and without a small divisor. In sigma itself the same error takes nearly twice the evaluations: on
eight Gaussians 177 instead of 93. The same form holds in the coordinates of flow matching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.integrate import RK45
from torch import Tensor

from models.samplers.contract import ODE, Sampler
from models.streams import Streams

DEFAULT_TOLERANCE = 1e-4
# A float32 denoiser rounds: below that error the solver would shorten its steps without end.
MOST_EVALUATIONS = 5000


class SolverError(RuntimeError):
    """The solver cannot finish; the message names the way out."""


class NotFinite(SolverError):
    """The denoiser's output is not finite, so there is no image."""


@dataclass(frozen=True, kw_only=True)
class Dopri5(Sampler):
    """Error control by ``tolerance``; a last denoising at sigma_min, as in Heun's method.

    One batch has one sequence of steps, so the number of evaluations depends a little on which
    samples are in it. Samples of a denoiser whose output is not finite are NaN, as they are with
    the other samplers. Observers and guides are ignored.

    Options:
        tolerance: of one step, see ``dopri5``; 1e-4 by default.
    """

    fixed_steps: ClassVar[bool] = False

    # Not 1e-4 itself: a spec leaves out options that have their default, and results name the
    # tolerance in any case.
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is None:
            object.__setattr__(self, "tolerance", DEFAULT_TOLERANCE)
        check_tolerance(self.tolerance)

    def steps(self, nfe: int) -> int:
        raise ValueError(f"{self.name} chooses its own steps, so it cannot take {nfe} evaluations")

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        # The last time is 0, whose logarithm has no value.
        try:
            return dopri5(ode, latents, times[-2].item(), times[0].item(), self.tolerance)
        except NotFinite:
            return torch.full_like(latents, math.nan, dtype=torch.float64)


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that float64 cannot meet, or that controls nothing.

    Raises:
        ValueError: it is not in [1e-12, 1).

    """
    if not 1e-12 <= tolerance < 1:
        raise ValueError(f"tolerance {tolerance}: take one from 1e-12 to below 1, such as 1e-3")


def dopri5(ode: ODE, latents: Tensor, last: float, first: float, tolerance: float) -> Tensor:
    """Integrate from the first time to the last with error control, then denoise once.

    A step is accepted if the root mean square over the batch of error / (1 + |state|) is below the
    tolerance (it is both scipy's rtol and atol: 1 is half the images' range). That lets errors at
    high noise be larger in proportion to the noise, as the end allows: from sigma on, the path
    of data of standard deviation s shrinks deviations by s / sqrt(s^2 + sigma^2). The tolerance is
    that of one step: the error at the end is a few times as large.

    Make the ODE of a ``CountNFE`` to measure the evaluations. A float32 denoiser is accurate enough
    for tolerances of 1e-5 and above.

    Args:
        ode: its denoiser gets the state in float64, on the device of the latents.
        latents: unit noise ``[n, c, h, w]``; sampling starts at ``latents * first``.
        last: time of the last denoising, sigma or t.
        first: time of the start.
        tolerance: of one step, relative and absolute.

    Returns:
        images ``[n, c, h, w]`` in float64.

    Raises:
        ValueError: not 0 < last < first, or the tolerance is not in [1e-12, 1).
        NotFinite: the denoiser's output is not finite.
        SolverError: the tolerance cannot be met.

    """
    if not 0 < last < first:
        raise ValueError(f"last time {last} and first {first}: 0 < last < first must hold")
    check_tolerance(tolerance)

    def denoised(state: Tensor, time: float) -> Tensor:
        output = ode.denoised(state, time)
        # Scipy would halve its step for ever.
        if not output.isfinite().all():
            raise NotFinite(
                f"the denoiser's answer at {ode.coordinates} time {time:g} is not finite: check"
                " its weights"
            )
        return output

    def unflattened(flat: np.ndarray) -> Tensor:
        return torch.from_numpy(flat).to(latents.device).reshape(latents.shape)

    def slope(log_time: float, flat: np.ndarray) -> np.ndarray:
        # Scipy integrates flat float64 arrays on the CPU.
        state = unflattened(flat)
        return (state - denoised(state, math.exp(log_time))).cpu().numpy().ravel()

    start = (latents.double() * first).cpu().numpy().ravel()
    # RK45 integrates in falling time too, here from ln first down to ln last.
    span = (math.log(first), start, math.log(last))
    end = _integrate(RK45(slope, *span, rtol=tolerance, atol=tolerance))
    # Below the last time its logarithm falls without end, so the rest is one Euler step to 0.
    return denoised(unflattened(end), last)


def _integrate(solver: RK45) -> np.ndarray:
    """Step to the end and return the state there, ``[n]``.

    ``solve_ivp`` would keep all states in between, each as large as the batch.
    """
    while solver.status == "running":
        message = solver.step()
        if solver.status == "failed" or solver.nfev > MOST_EVALUATIONS:
            why = message or f"more than {MOST_EVALUATIONS} evaluations"
            raise SolverError(
                f"dopri5 stopped at time {math.exp(solver.t):g} ({why}): raise the tolerance"
            )
    return solver.y

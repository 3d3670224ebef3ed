"""An adaptive sampler: the solver chooses its steps, and with them the number of evaluations.

Dormand and Prince's embedded Runge-Kutta pair of orders 5 and 4, from scipy, on the
probability-flow ODE in ln sigma: dx / d ln sigma = x - D(x; sigma), which is as smooth as the
denoiser and has no small divisor (Karras et al. 2022, Eq. 4, with d sigma = sigma d ln sigma). In
sigma itself the same error takes nearly twice the evaluations: on eight Gaussians 177 where these
are 93.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.integrate import RK45
from torch import Tensor

from models.samplers.contract import Denoise

# A float32 denoiser rounds: asked for less than that, the solver would hardly move on
MOST_EVALUATIONS = 5000


class SolverError(RuntimeError):
    """The solver cannot go on; the message names the way out."""


class NotFinite(SolverError):
    """The denoiser's answer is not finite, so there is no image."""


def dopri5(
    denoise: Denoise,
    latents: Tensor,
    sigma_min: float,
    sigma_max: float,
    tolerance: float,
    labels: Tensor | None = None,
) -> Tensor:
    """Integrate from sigma_max to sigma_min with error control, then denoise once, as the last step
    of ``heun`` does.

    A step is accepted where the root mean square over the batch of error / (1 + |x|) is below the
    tolerance (scipy's rtol and atol are both the tolerance: 1 is half the images' range). That lets
    errors at high noise be larger in proportion to the noise, which is what the end asks for: from
    sigma on, the path of data of standard deviation s shrinks deviations by s / sqrt(s^2 +
    sigma^2). The tolerance is of one step: the end's error is a few times that.

    One batch, one sequence of steps, so its evaluations depend a little on which samples are in it:
    wrap the denoiser in ``CountNFE`` to measure them. A float32 denoiser serves tolerances of 1e-5
    and above.

    Args:
        denoise: the denoiser; x comes to it in float64, on the device of the latents.
        latents: unit noise ``[n, c, h, w]``; sampling starts at ``latents * sigma_max``.
        sigma_min: noise level of the last denoising.
        sigma_max: noise level of the start.
        tolerance: of one step, relative and absolute.
        labels: one-hot ``[n, label_dim]`` or None.

    Returns:
        Images ``[n, c, h, w]`` in float64.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max, or the tolerance is not in [1e-12, 1).
        NotFinite: the denoiser's answer is not finite.
        SolverError: the tolerance cannot be met.

    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min {sigma_min} and sigma_max {sigma_max}: 0 < sigma_min < sigma_max must hold"
        )
    if not 1e-12 <= tolerance < 1:
        raise ValueError(f"tolerance {tolerance}: take one from 1e-12 to below 1, such as 1e-3")

    def denoised(x: Tensor, sigma: float) -> Tensor:
        found = denoise(x, torch.tensor(sigma, dtype=x.dtype, device=x.device), labels).double()
        if not found.isfinite().all():  # scipy would halve its step for ever
            raise NotFinite(
                f"the denoiser's answer at sigma {sigma:g} is not finite: check its weights"
            )
        return found

    def slope(log_sigma: float, flat: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(flat).to(latents.device).reshape(latents.shape)
        return (x - denoised(x, math.exp(log_sigma))).cpu().numpy().ravel()

    start = (latents.double() * sigma_max).cpu().numpy().ravel()
    end = _integrate(
        RK45(slope, math.log(sigma_max), start, math.log(sigma_min), rtol=tolerance, atol=tolerance)
    )
    return denoised(torch.from_numpy(end).to(latents.device).reshape(latents.shape), sigma_min)


def _integrate(solver: RK45) -> np.ndarray:
    """Step to the end and return the state there, ``[n]``; ``solve_ivp`` would keep the states
    between.
    """
    while solver.status == "running":
        message = solver.step()
        if solver.status == "failed" or solver.nfev > MOST_EVALUATIONS:
            why = message or f"more than {MOST_EVALUATIONS} evaluations"
            raise SolverError(
                f"dopri5 stopped at sigma {math.exp(solver.t):g} ({why}): raise the tolerance"
            )
    return solver.y

"""Heun's method with a boost of the guidance (Kim et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.guidance.guide import like
from models.ode import ODE
from models.samplers.contract import intervals
from models.streams import Streams, unit_noise


def boosted_heun(ode: ODE, latents: Tensor, sigmas: Tensor, streams: Streams) -> Tensor:
    """Integrate by Heun's method with the boost of ``ode.guide``, in x against sigma.

    Arguments and result as for ``Sampler``. The boost's fresh noise is independent of the image, so
    a denoiser trained with a coupling has not seen such points.

    Raises:
        ValueError: the ODE is in other coordinates.

    """
    if ode.coordinates != "sigma":
        raise ValueError("the boost adds noise to x: sample along a schedule of sigma")
    guide = ode.guide
    labels = ode.labels
    denoise = ode.denoise
    assert guide is not None, "no guide"
    assert guide.boost is not None, "no boost"
    boost = guide.boost
    steps = len(sigmas) - 1
    # Larger factors would move a sample above the level that it came from (Karras, Alg. 2).
    gamma = min(boost.churn / steps, 2**0.5 - 1)
    x = ode.start(latents, sigmas)
    # The log ratio of the step before: below 0 the discriminator takes a sample for generated.
    judged = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for step, (now, after) in enumerate(intervals(sigmas)):
        sigma = torch.full_like(judged, now)
        # Nothing is judged before the first step.
        if step and step % boost.churn_every == 0:
            raised = torch.where(judged < 0, sigma * (1 + gamma), sigma)
            # Variances add: this much noise brings a sample from level sigma to level raised.
            added = (raised**2 - sigma**2).sqrt()
            # Noise is drawn for all samples, also for those that get none: each stream then
            # stays in step, whatever the samples drawn alongside it are judged to be.
            x = x + like(added, x) * unit_noise(x, streams)
            sigma = raised
        slope = (x - denoise(x, sigma, labels).double()) / like(sigma, x)
        if guide.weight:
            term = guide.guidance(sigma, x, labels)
            judged = term.log_ratio
            doubled = (judged < 0) & (step % boost.double_every == 0)
            weight = guide.weight * (1 + doubled.double())
            slope = slope + like(weight, x) * term.slope
        x_euler = x + like(after - sigma, x) * slope
        if after == 0:
            return x_euler
        level = torch.full_like(judged, after)
        slope_next = (x_euler - denoise(x_euler, level, labels).double()) / after
        slope_next = slope_next + guide.second_slope(after, x_euler, labels)
        x = x + like(after - sigma, x) * (slope + slope_next) / 2
    return x

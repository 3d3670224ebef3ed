"""Local truncation error: how far one step of a sampler ends from the path it began on, for each
noise level.

Karras et al. 2022, Sec. 3: the root mean square difference between one step and many small ones
over the same interval, both from a point of the finely integrated path. That path is followed once,
whatever the steps do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from bench.metrics.contract import DenoiserMetric, Item, Profile, Subject
from bench.record import Measurement
from bench.record.infos import Info
from bench.sampling import sample as sampling
from bench.sampling.setting import Setting
from models.ode import Denoise, SigmaODE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

EULER = "local_error_euler"
HEUN = "local_error_heun"
SUBSTEPS = 16
"""Heun steps that make one interval of the fine path.

They err by 16^-2 = 0.4 % of what one Heun step does, by the order. On eight Gaussians, with 7 steps
or more, profiles are within 0.6 % of their greatest value, and within 2.1 % of every value above a
thousandth of it.
"""

STEPS = 9  # of the schedule whose single steps are measured
MOST_PATHS = 128  # enough for a root mean square


class LocalError(DenoiserMetric):
    """Errors of single Euler and Heun steps of Karras' schedule at its fixed rho."""

    infos = (
        Info(
            EULER,
            "Root mean square error per pixel of one Euler step of the 9-step schedule, from a"
            " point of the exact path at that sigma.",
            "lower",
            per="sigma",
            kind="path",
            place=50,
        ),
        Info(
            HEUN,
            "Root mean square error per pixel of one Heun step of the 9-step schedule, from a"
            " point of the exact path at that sigma.",
            "lower",
            per="sigma",
            kind="path",
            place=51,
        ),
    )
    group: ClassVar[str] = "local"

    @classmethod
    def items(cls, subject: Subject) -> list[Item]:
        """One, at the fixed rho of Karras' schedule, whatever the objective."""
        evaluation = subject.config.evaluation
        return [Item(f"rho{evaluation.rho:g}", min(evaluation.trajectories, MOST_PATHS))]

    @classmethod
    @torch.no_grad()
    def rows(cls, subject: Subject, item: Item) -> Iterator[Measurement]:
        """Profiles over sigma, under the settings whose steps they are."""
        evaluation = subject.config.evaluation
        levels = karras_sigmas(STEPS, evaluation.rho, evaluation.sigma_min, evaluation.sigma_max)
        chunks = []
        for start in range(0, item.n, sampling.CHUNK):
            count = min(item.n - start, sampling.CHUNK)
            latents = subject.latents(range(start, start + count))
            labels = subject.net.one_hot(latents.labels.to(subject.device))
            noise = latents.noise.to(subject.device)
            chunks.append(local_errors(subject.net, noise, levels, labels))
        errors = {}
        for name in (EULER, HEUN):
            errors[name] = torch.cat([chunk[name] for chunk in chunks])
        settings = {
            EULER: Setting("euler", STEPS, evaluation.rho),
            HEUN: Setting("heun", 2 * STEPS - 1, evaluation.rho),
        }
        for (name, sigma), value in summary(errors, interval_sigmas(levels)).items():
            yield settings[name].row(name, value, n=item.n, sigma=sigma)


def local_errors(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    substeps: int = SUBSTEPS,
) -> dict[str, Tensor]:
    """Squared error per pixel of one step over each interval, ``[n, steps - 1]`` float64, by
    ``EULER`` and ``HEUN``.

    The last step, to 0, has none: its denoising is the end of every sampler's path. Takes 2
    substeps + 3 evaluations an interval; the fine levels are geometric, so that they are dense
    where sigma is small.

    Args:
        denoise: the denoiser.
        latents: unit noise ``[n, ...]``; the path starts at ``latents * sigmas[0]``.
        sigmas: falling noise levels ``[steps + 1]`` that end with 0, as for the samplers.
        labels: one-hot ``[n, label_dim]`` or None.
        substeps: Heun steps of the fine path in each interval.

    """
    levels = sigmas[:-1].double()
    # In float64, because the error of a Heun step is a small difference of nearly equal states.
    ode = SigmaODE(denoise, labels)
    x = ode.start(latents, levels)
    errors: dict[str, list[Tensor]] = {EULER: [], HEUN: []}
    for interval in levels.unfold(0, 2, 1):
        unit = x / interval[0].item()  # the samplers start at a multiple of unit noise
        x = heun(ode, unit, _geometric(interval, substeps))
        for name, sampler in ((EULER, euler), (HEUN, heun)):
            step = sampler(ode, unit, interval)
            errors[name].append((step - x).square().flatten(1).mean(1))
    return {name: torch.stack(columns, dim=1) for name, columns in errors.items()}


def interval_sigmas(sigmas: Tensor) -> list[float]:
    """The noise levels that the errors belong to: the upper ends of the intervals of ``sigmas``
    ``[steps + 1]``.
    """
    # Without 0, and without the level from which the step to 0 begins: that step has no error.
    return sigmas[:-2].tolist()


def summary(per_sample: dict[str, Tensor], sigmas: list[float]) -> Profile:
    """Root mean squares over all samples, by metric and noise level, in units of the images' range
    [-1, 1].

    One Euler step of h from sigma errs by h^2 / (2 sigma^2) times the denoiser's drift in ln sigma,
    to leading order.
    """
    values: Profile = {}
    for name in (EULER, HEUN):
        profile = per_sample[name].mean(0).sqrt().tolist()
        for sigma, value in zip(sigmas, profile, strict=True):
            values[name, sigma] = value
    return values


def _geometric(interval: Tensor, steps: int) -> Tensor:
    """Levels ``[steps + 1]`` between the two of an interval, both among them, exactly."""
    fraction = torch.arange(1, steps, dtype=interval.dtype, device=interval.device) / steps
    between = interval[0] * (interval[1] / interval[0]) ** fraction
    # The ends are copied: a power may miss them in the last digit, and the coarse step would then
    # end at another level than the fine ones.
    return torch.cat([interval[:1], between, interval[1:]])

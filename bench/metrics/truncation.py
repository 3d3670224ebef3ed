"""Global truncation error of a coarse sampler against a dense one from the same latents."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.config import EvaluationConfig
from bench.metrics.contract import SolverMetric
from bench.record.infos import Info
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore


class Truncation(SolverMetric):
    """The truncation error of plain settings, which solve the ODE that the reference solves."""

    infos = (
        Info(
            "truncation_error",
            "Root mean square difference per pixel from where a dense solver ends, from the same"
            " noise.",
            "lower",
            title="Truncation error",
            place=30,
        ),
    )
    group: ClassVar[str] = "truncation"

    @classmethod
    def suits(cls, setting: Setting) -> bool:
        """True without a start or guidance, for samplers that solve the ODE."""
        return setting.is_plain and setting.solves_the_ode

    @classmethod
    def samples(cls, evaluation: EvaluationConfig) -> int:
        """As many as there are trajectories."""
        return evaluation.trajectories

    @classmethod
    def values(cls, samples: SampleStore, dense: SampleStore, n: int) -> dict[str, float]:
        """The error of float images: rounding to 8 bits would hide small ones."""
        coarse = torch.cat(list(samples.tensors("exact", n)))
        reference = torch.cat(list(dense.tensors("exact", n)))
        return {"truncation_error": truncation_error(coarse, reference)}


def truncation_error(coarse: Tensor, reference: Tensor) -> float:
    """Root mean square difference per pixel of two sets of images ``[n, c, h, w]``, in units of the
    range [-1, 1].

    Both start at the same latents and use the same denoiser, so the difference is due to the steps
    alone.
    """
    return (coarse.double() - reference.double()).square().mean().sqrt().item()

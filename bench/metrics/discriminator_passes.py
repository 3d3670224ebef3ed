"""Passes of the discriminator: what guidance costs in addition to the denoiser's evaluations."""

from __future__ import annotations

from typing import ClassVar

from bench.config import EvaluationConfig
from bench.metrics.contract import SolverMetric
from bench.record.infos import Info
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore


class DiscriminatorPasses(SolverMetric):
    """Counted passes, at every guided setting."""

    infos = (
        Info(
            "discriminator_passes",
            "Passes of the discriminator for each image, forward and back, in addition to the"
            " denoiser's evaluations.",
            "lower",
            kind="guidance",
            title="Discriminator passes",
            place=70,
        ),
    )
    # Sampling the reference takes far longer than reading a count.
    needs_dense: ClassVar[bool] = False

    @classmethod
    def suits(cls, setting: Setting) -> bool:
        """True if a discriminator guides."""
        return setting.uses_discriminator

    @classmethod
    def samples(cls, evaluation: EvaluationConfig) -> int:
        """As many as are generated."""
        return evaluation.samples

    @classmethod
    def values(cls, samples: SampleStore, dense: SampleStore, n: int) -> dict[str, float]:
        """The count of the first sample: all samples of a setting take equally many."""
        return {"discriminator_passes": next(samples.tensors("passes", 1)).item()}

"""The smoke budget of ``--quick``: a configuration with little of everything.

Images, batch and reference are part of a run's identity, so such runs never mix with full ones.
The network stays as it is: that it can be built, and what it takes, is what a smoke run shows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from bench.config import EvaluationConfig, GuidanceConfig, RunConfig, TrainingConfig

STEPS = 20
BATCH = 32
POOL = 256
NFE = (5, 9)
SAMPLES = 100  # more than features of the classifier
TRAJECTORIES = 16
REFERENCE_STEPS = 24
# Groups of metrics that take most of the time of so short a run
SLOW = ("local", "learning")


def quick(config: RunConfig) -> RunConfig:
    """The configuration of a preset with a smoke budget, unchecked.

    No option grows: a preset may have less of something.
    """
    return replace(
        config,
        training=_training(config.training),
        evaluation=_evaluation(config.evaluation),
        guidance=_guidance(config.guidance),
    )


def _training(training: TrainingConfig) -> TrainingConfig:
    batch = min(training.batch, BATCH)
    images = min(training.images, STEPS * batch)
    return replace(
        training,
        images=images,
        batch=batch,
        pool=min(training.pool, POOL),
        # Recipes of millions of images would not leave the initial weights.
        lr_ramp=min(training.lr_ramp, images // 4),
        ema_halflife=min(training.ema_halflife, images // 4),
        select_every=min(training.select_every, images // 2),
    )


def _evaluation(evaluation: EvaluationConfig) -> EvaluationConfig:
    few = _few(evaluation.nfe)
    return replace(
        evaluation,
        nfe=few,
        samples=min(evaluation.samples, SAMPLES),
        trajectories=min(evaluation.trajectories, TRAJECTORIES),
        # The reference has to be finer than the samples.
        reference_steps=min(evaluation.reference_steps, max(REFERENCE_STEPS, max(few) + 1)),
        # No search for the best schedule
        rhos=(),
        shifts=(),
        grid_samples=min(evaluation.grid_samples, SAMPLES),
        metrics=tuple(name for name in evaluation.metrics if name not in SLOW),
        start_nfe=_few(evaluation.start_nfe)[:1],
    )


def _guidance(guidance: GuidanceConfig) -> GuidanceConfig:
    return replace(
        guidance,
        nfe=_few(guidance.nfe)[:1],
        images=min(guidance.images, STEPS * BATCH),
        fakes=SAMPLES if guidance.fakes is None else min(guidance.fakes, SAMPLES),
        fakes_nfe=min(guidance.fakes_nfe, max(NFE)),
    )


def _few(nfe: Collection[int]) -> tuple[int, ...]:
    """Those of ``NFE`` that are among some numbers of evaluations, else the fewest of these."""
    return tuple(number for number in NFE if number in nfe) or tuple(sorted(nfe)[:1])

"""Means of what a coupling reported in the training, and its distance from the optimum.

The training records all rows but ``coupling_optimality_gap``, from the pools that it trained on;
``bench.training.loop.report_measurements`` names them. A key that a user's own coupling reports
becomes a row too, without a sentence of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import ClassVar

from bench.data import Split
from bench.metrics.contract import DenoiserMetric, Item, Subject
from bench.pairs.stream import PairStream
from bench.pairs.velocity import following
from bench.randomness import derive
from bench.record import Measurement
from bench.record.infos import Info
from couplings import Coupling, diagnostics, get
from models.augment import Augment

PREFIX = "coupling_"
MOST_PAIRS = 2048  # of a pool that is assigned exactly: a second of one core, and 80 MB
POOLS = 4

_signal = partial(Info, per="run", kind="signal", ratio=False, figure=False, terminal=False)
_cost = partial(_signal, kind="cost")
_OTHER = _signal(PREFIX, "Mean over pools of {}, as the coupling reports it.", place=105)


class CouplingReport(DenoiserMetric):
    """The optimality gap of pools like those of the training; the other rows are recorded there."""

    infos = (
        _signal(
            "coupling_optimality_gap",
            "Cost of the pairs above that of an exact assignment of the pool, as a share of what"
            " random pairs are above it: 0 at the optimum, about 1 for random pairs.",
            title="Optimality gap of the coupling",
            place=71,
        ),
        _signal(
            "coupling_entropy",
            "Entropy of the transport plan that pairs are drawn from: 0 for an assignment, 1 for"
            " independent pairs.",
            title="Entropy of the plan",
            place=72,
        ),
        _signal(
            "coupling_marginal_error",
            "Largest L1 distance of a marginal of the plan from equal weights; 2 is the worst.",
            title="Marginal error of the plan",
            place=73,
        ),
        _signal("coupling_transported", "Mass that the plan transports, of 1.", place=74),
        _signal(
            "coupling_duplicates",
            "Share of a pool's noise samples that no image gets, as others come more than once.",
            share=True,
            title="Unused noise samples",
            place=75,
        ),
        _signal(
            "coupling_noise_norm_drift",
            "Mean of |z|²/d over the noise samples of the pairs, less 1: 0 for Gaussian noise,"
            " negative if short samples are preferred.",
            title="Drift of the noise norm",
            place=76,
        ),
        _signal(
            "coupling_label_leakage",
            "Share of the variance of the noise samples that their class explains, less that of"
            " random labels: 0 if noise is independent of the class, as it is in sampling.",
            title="Class information in the noise",
            place=77,
        ),
        _signal(
            "coupling_images_chi2",
            "Chi-square of how often each training image came, over its degrees of freedom: 0 if"
            " all came equally often, 1 if each was drawn by itself.",
            title="Chi-square of image uses",
            place=78,
        ),
        _signal(
            "coupling_fit_chi2",
            "Chi-square of the images' shares of the noise in the fitted map, against equal ones.",
            place=79,
        ),
        _signal(
            "coupling_images_least",
            "Least uses of a training image.",
            title="Least uses of an image",
            place=99,
        ),
        _signal(
            "coupling_images_most",
            "Most uses of a training image.",
            title="Most uses of an image",
            place=100,
        ),
        _signal(
            "coupling_ratio",
            "Share of the pool's cells that cost no more than the pairs as drawn, with the price of"
            " the condition.",
            place=101,
        ),
        _signal("coupling_weight", "Price of the condition, in squared distances.", place=102),
        _signal("coupling_classes", "Classes in a pool, each paired by itself.", place=103),
        _signal("coupling_singletons", "Classes of one image, which keeps its noise.", place=104),
        _cost(
            "coupling_iterations",
            "Iterations of the solver for a pool.",
            title="Solver iterations",
            place=118,
        ),
        _cost(
            "coupling_converged",
            "Share of pools whose solver converged.",
            share=True,
            title="Converged pools",
            place=119,
        ),
        _cost("coupling_fit_steps", "Steps of the fit.", place=126),
        _cost("coupling_fit_noises", "Noise samples that the fit drew.", place=127),
        _cost("coupling_fit_targets", "Distinct images that the fit knows.", place=128),
        _cost("coupling_fit_swaps", "Noise samples that the fit exchanged.", place=129),
    )
    group: ClassVar[str] = "learning"

    @classmethod
    def describe(cls, metric: str) -> tuple[int, Info] | None:
        """As for all metrics; of any other key of a report, one sentence for all."""
        match = super().describe(metric)
        if match is not None or not metric.startswith(PREFIX):
            return match
        key = metric.removeprefix(PREFIX)
        return len(PREFIX), replace(_OTHER, name=metric, about=_OTHER.about.format(key))

    @classmethod
    def rows(cls, subject: Subject, item: Item) -> Iterator[Measurement]:
        """The gap of a coupling that permutes the noise samples of pools of up to MOST_PAIRS."""
        config = subject.config
        coupling = None if config.checkpoint else get(config.coupling)
        pool = config.training.pool
        if not isinstance(coupling, Coupling) or not coupling.permutes or pool > MOST_PAIRS:
            return
        train = subject.dataset.train.to(subject.device)
        # Other streams than those of training, the same for all couplings.
        seed = derive(config.seed, "optimality gap")
        coupling = following(coupling, subject.net)
        gap = optimality_gap(train, coupling, pool, seed, config.training.augment)
        if math.isfinite(gap):
            yield Measurement("coupling_optimality_gap", gap, split="train", n=POOLS)


def optimality_gap(
    train: Split, coupling: Coupling, pool: int, seed: int, augment: float = 0.0
) -> float:
    """Mean of ``couplings.diagnostics.optimality_gap`` over some pools, as training draws and
    couples them; NaN where all pairings of a pool cost the same.

    Args:
        train: the training images.
        coupling: one that permutes.
        pool: pairs of a pool.
        seed: of the draws.
        augment: probability of each augmentation.

    """
    changes = Augment(augment) if augment else None
    total = 0.0
    with PairStream(
        train, coupling, pool=pool, batch=pool, seed=seed, stop_step=POOLS, augment=changes
    ) as stream:
        for pairs in stream:
            total += diagnostics.optimality_gap(pairs.images, pairs.noise)
    return total / POOLS

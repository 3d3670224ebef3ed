"""Cost of training and evaluation: recorded while they run, described here."""

from __future__ import annotations

from functools import partial

from bench.metrics.contract import RecordedMetric
from bench.record.infos import Info

_per_run = partial(Info, per="run", kind="cost", figure=False)


class TrainingCost(RecordedMetric):
    """Values of ``bench.training.loop.training_measurements``, and times of whole stages."""

    infos = (
        _per_run(
            "transport_cost",
            "Mean cost of the pairs that were trained on; lower means closer pairs.",
            place=110,
        ),
        _per_run(
            "transport_cost_independent",
            "Mean cost of the pairs as they were drawn, before the coupling.",
            ratio=False,
            terminal=False,
            place=111,
        ),
        Info(
            "coupling_ms",
            "Milliseconds to couple one pool.",
            per="run",
            kind="cost",
            ratio=False,
            place=112,
        ),
        _per_run(
            "coupling_share",
            "Time the solver worked, as a share of the training time: it runs at the same time and"
            " is not added to it.",
            ratio=False,
            share=True,
            place=113,
        ),
        _per_run(
            "coupling_fit_seconds",
            "Seconds to fit the coupling on the training set, once, before the training.",
            ratio=False,
            place=114,
        ),
        _per_run(
            "coupling_wait_share",
            "Share of the training time that the trainer stood still for the coupling.",
            ratio=False,
            share=True,
            terminal=False,
            place=115,
        ),
        _per_run(
            "selected_images",
            "Training images that the measured weights had seen: those of least validation loss.",
            ratio=False,
            terminal=False,
            place=116,
        ),
        _per_run(
            "images_per_s",
            "Training images per second; the fit of a coupling is not included.",
            "higher",
            place=117,
        ),
        Info(
            "classifier_accuracy",
            "Share of held-out real images that the classifier of the features recognises.",
            per="run",
            kind="signal",
            ratio=False,
            figure=False,
            share=True,
            place=900,
        ),
        _per_run(
            "evaluate_seconds",
            "Seconds that the evaluation took, over all sessions.",
            terminal=False,
            place=901,
        ),
        _per_run(
            "train_seconds",
            "Seconds that the training took, without the fit of a coupling.",
            terminal=False,
            place=902,
        ),
    )

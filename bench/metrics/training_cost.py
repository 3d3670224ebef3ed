"""Cost of training and evaluation: recorded while they run, described here."""

from __future__ import annotations

from bench.metrics.contract import RecordedMetric
from bench.record.infos import Info


class TrainingCost(RecordedMetric):
    """Values of ``bench.training.loop.training_measurements``, and times of whole stages."""

    infos = (
        Info(
            "adaptive_nfe",
            "Evaluations that Dormand-Prince takes at its tolerance.",
            "lower",
            figure=False,
            place=100,
        ),
        Info(
            "transport_cost",
            "Mean cost of the pairs that were trained on; lower means closer pairs.",
            per="run",
            kind="cost",
            figure=False,
            place=110,
        ),
        Info(
            "transport_cost_independent",
            "The same cost before pairing.",
            per="run",
            kind="cost",
            ratio=False,
            figure=False,
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
        Info(
            "coupling_share",
            "Time the solver worked, as a share of the training time: it runs at the same time and"
            " is not added to it.",
            per="run",
            kind="cost",
            ratio=False,
            figure=False,
            share=True,
            place=113,
        ),
        Info(
            "coupling_fit_seconds",
            "Seconds to fit the coupling on the training set, once, before the training.",
            per="run",
            kind="cost",
            ratio=False,
            figure=False,
            place=114,
        ),
        Info(
            "coupling_wait_share",
            "Share of the training time that the trainer stood still for the coupling.",
            per="run",
            kind="cost",
            ratio=False,
            figure=False,
            share=True,
            place=115,
        ),
        Info(
            "images_per_s",
            "Training images a second; the fit of a coupling comes on top.",
            "higher",
            per="run",
            kind="cost",
            figure=False,
            place=116,
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
        Info(
            "evaluate_seconds",
            "Seconds that the evaluation took, over all sessions.",
            per="run",
            kind="cost",
            figure=False,
            place=901,
        ),
        Info(
            "train_seconds",
            "Seconds that the training took, without the fit of a coupling.",
            per="run",
            kind="cost",
            figure=False,
            place=902,
        ),
    )

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
            title="Transport cost",
            place=110,
        ),
        _per_run(
            "transport_cost_independent",
            "Mean cost of the same images and noise samples as drawn, before pairing.",
            ratio=False,
            terminal=False,
            title="Transport cost of random pairs",
            place=111,
        ),
        Info(
            "coupling_ms",
            "Milliseconds to couple one pool.",
            per="run",
            kind="cost",
            ratio=False,
            title="Solving time per pool, ms",
            place=112,
        ),
        _per_run(
            "coupling_share",
            "Time that the solver worked, as a share of the training time. It runs in parallel and"
            " is not added to it.",
            ratio=False,
            share=True,
            title="Solver time, share of training",
            place=113,
        ),
        _per_run(
            "coupling_fit_seconds",
            "Seconds to fit the coupling on the training set, once, before the training.",
            ratio=False,
            title="Coupling fit time, s",
            place=114,
        ),
        _per_run(
            "coupling_wait_share",
            "Share of the training time that the trainer waited for the coupling.",
            ratio=False,
            share=True,
            terminal=False,
            title="Waiting time, share of training",
            place=115,
        ),
        _per_run(
            "selected_images",
            "Training images that the measured weights had seen: those of least validation loss.",
            ratio=False,
            terminal=False,
            title="Images seen by the selected weights",
            place=116,
        ),
        _per_run(
            "images_per_s",
            "Training images per second, without the fit of a coupling.",
            "higher",
            title="Training images per second",
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
            title="Accuracy of the feature classifier",
            place=900,
        ),
        _per_run(
            "evaluate_seconds",
            "Seconds that the evaluation took, over all sessions.",
            terminal=False,
            title="Evaluation time, s",
            place=901,
        ),
        _per_run(
            "train_seconds",
            "Seconds that the training took, without the fit of a coupling.",
            terminal=False,
            title="Training time, s",
            place=902,
        ),
    )

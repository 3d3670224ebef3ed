"""Quality of a discriminator on held-out images: AUC, accuracy and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.guidance.images import Sides
from bench.guidance.logits import Logits, judge
from bench.metrics._discrimination import accuracy, auc, calibration_error
from bench.metrics.contract import DenoiserMetric, HeldOut, Item, Subject
from bench.record import Measurement
from bench.record.infos import Info

BINS = 8  # of ln sigma
METRICS = {"dg_auc": auc, "dg_accuracy": accuracy, "dg_calibration_error": calibration_error}


_quality = partial(Info, per="run", kind="guidance")


class Quality(DenoiserMetric):
    """Every discriminator, over the guided window and in bins of ln sigma."""

    infos = (
        _quality(
            "dg_auc",
            "Chance that the discriminator ranks a held-out real image over a generated one, both"
            " noised: 0.5 where it cannot tell them apart, so neither higher nor lower is better.",
            title="Discriminator AUC",
            place=80,
        ),
        _quality(
            "dg_accuracy",
            "Share of held-out noisy images that it sorts rightly into real and generated: 0.5 is"
            " guessing, and neither higher nor lower is better.",
            title="Discriminator accuracy",
            place=81,
        ),
        _quality(
            "dg_calibration_error",
            "How far its probabilities are from the shares that turn out real; guidance believes"
            " them.",
            "lower",
            title="Discriminator calibration error",
            place=82,
        ),
    )

    @classmethod
    def items(cls, subject: Subject) -> list[Item]:
        """One for each discriminator."""
        return [Item(name) for name in subject.methods.discriminators]

    @classmethod
    def rows(cls, subject: Subject, item: Item) -> Iterator[Measurement]:
        """Against the reals that chose its checkpoint (``train``) and against those of the test
        split, used neither for training nor for the choice.
        """
        trained = subject.methods.discriminators[item.name]
        yield from measure(trained, trained.images, "train")
        # The same fakes as before, so that only the origin of the reals differs between the splits.
        test = Sides(subject.dataset.test, trained.images.fake)
        yield from measure(trained, test, "test")


def measure(trained: HeldOut, images: Sides, split: str) -> Iterator[Measurement]:
    """Values over the guided window, and in bins of ln sigma, on held-out images.

    ``split`` names where the reals come from; ``sigma`` is a bin's geometric middle.
    """
    config = trained.config
    model = trained.model
    logits = judge(config, model, trained.net, images, f"measure {split}")
    low, high = torch.tensor(model.guided).log10().tolist()
    edges = torch.logspace(low, high, BINS + 1)
    # Without the outer edges: a level that rounding puts beyond one of these still has a bin.
    bins = torch.bucketize(logits.sigma, edges[1:-1])
    parts: dict[float | None, Tensor] = {None: torch.ones_like(bins, dtype=torch.bool)}
    for number in range(BINS):
        middle = float((edges[number] * edges[number + 1]).sqrt())
        parts[middle] = bins == number
    for sigma, rows in parts.items():
        # A bin may be empty when few images are judged.
        if rows.any():
            yield from _values(logits, rows, sigma, config.name, split)


def _values(
    logits: Logits, rows: torch.Tensor, sigma: float | None, guidance: str, split: str
) -> Iterator[Measurement]:
    for name, metric in METRICS.items():
        value = metric(logits.real[rows], logits.fake[rows])
        n = int(rows.sum())
        yield Measurement(name, value, guidance=guidance, split=split, n=n, sigma=sigma)

"""Learning signal of a coupling: noise of target and gradient, and the loss under both pairings.

On training images, in other pools than those of training (though ``cached`` has no noise samples
but its own):

- ``target_variance`` by sigma: E Var(y | x, sigma) / d under independent noise, for ``random``
  only, not with a source; a lower bound where the set has more than ``Effort.candidates`` images.
- ``target_variance_bound`` by sigma: an upper bound of it under the run's own pairing, the
  denoiser's loss there.
- ``target_variance_from_noise``: E Var(y | z) / d under the run's own pairing, the limit of large
  sigma, without a denoiser; for couplings that permute the noise samples of a pool.
- ``gradient_variance`` by sigma and, without one, over the sigmas of training: tr(Sigma) of the
  training loss of a pair, without the noise that an objective's ``path_sigma`` adds.
- ``gradient_signal`` and ``gradient_noise_scale``: |G|^2 over the sigmas of training, and their
  ratio.

On held-out images, the same for all couplings with the same seed and pool:

- ``validation_loss_own`` and ``validation_loss_independent`` by sigma: E|D - y|^2 / d under the two
  pairings, of the same images in the same pools; as large as those of training, or as the split
  where that is smaller.
- ``validation_loss_edm_own`` and ``validation_loss_edm_independent``: over the sigmas of training,
  with its weights.

Dataset couplings pair the images they were fitted on and no others, so they have no ``own`` on
held-out ones. A network that was not trained here has no pairing of its own: only the
``independent`` ones are measured of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from bench.config import RunConfig
from bench.data import Dataset
from bench.metrics._learning import (
    SIGMAS,
    Effort,
    held_out_losses,
    independent_target,
    on_training_images,
    variance_from_noise,
)
from bench.metrics.contract import DenoiserMetric, Item, Subject
from bench.pairs.fit import fit
from bench.pairs.velocity import following
from bench.process.defaults import plain_torch
from bench.record import Measurement
from bench.record.infos import Info
from couplings import Coupling, Fitted, get
from models.denoiser import Denoiser

_per_run = partial(Info, per="run", kind="signal", figure=False)


class LearningSignal(DenoiserMetric):
    """Noise of target and gradient, and validation losses under both pairings."""

    infos = (
        Info(
            "target_variance",
            "E Var(y | x, sigma) per pixel under independent noise, in closed form: what no"
            " denoiser can know.",
            "lower",
            per="sigma",
            kind="signal",
            title="Target variance, independent noise",
            place=60,
        ),
        Info(
            "target_variance_bound",
            "Denoising loss per pixel on training images, paired as in training: an upper bound of"
            " the variance of the target, loose at a sigma where training hardly goes.",
            "lower",
            per="sigma",
            kind="signal",
            title="Training loss per pixel",
            place=61,
        ),
        _per_run(
            "target_variance_from_noise",
            "Variance of the image that belongs to a noise sample, per pixel, where sigma is large:"
            " 0 for an exact map, the variance of the data for random pairs.",
            "lower",
            title="Image variance given the noise",
            place=62,
        ),
        Info(
            "validation_loss_own",
            "Denoising loss for each sigma on held-out images, with noise paired as in training;"
            " each coupling has its own task, so couplings cannot be compared by it.",
            per="sigma",
            kind="signal",
            ratio=False,
            title="Validation loss, own pairs",
            place=63,
        ),
        Info(
            "validation_loss_independent",
            "Denoising loss for each sigma on held-out images with independent noise: the same task"
            " for all couplings, but not the one that a coupled run was trained for.",
            per="sigma",
            kind="signal",
            title="Validation loss, independent noise",
            place=64,
        ),
        _per_run(
            "validation_loss_edm_own",
            "The loss of training on held-out images, with noise paired as in training; each"
            " coupling has its own task, so couplings cannot be compared by it.",
            title="Weighted validation loss, own pairs",
            place=65,
        ),
        _per_run(
            "validation_loss_edm_independent",
            "The loss of training on held-out images, with independent noise: one task for all"
            " couplings, but not the one that a coupled run was trained for.",
            title="Weighted validation loss, independent noise",
            place=66,
        ),
        Info(
            "gradient_variance",
            "Variance of the loss gradient of one pair at the final weights, for each sigma and"
            " over those of training.",
            "lower",
            per="run",
            kind="signal",
            title="Gradient variance",
            place=67,
        ),
        _per_run(
            "gradient_signal",
            "Squared norm of the mean gradient at the final weights; small near a minimum, so"
            " neither higher nor lower is better.",
            title="Gradient signal",
            place=68,
        ),
        _per_run(
            "gradient_noise_scale",
            "Variance over signal: images in a batch at which the gradient's noise equals its"
            " signal; noisy itself, and neither higher nor lower is better.",
            title="Gradient noise scale",
            place=69,
        ),
    )
    group: ClassVar[str] = "learning"

    @classmethod
    def rows(cls, subject: Subject, item: Item) -> Iterator[Measurement]:
        """All values of ``learning_signal`` for the run's own coupling."""
        config = subject.config
        coupling = own_coupling(config, subject.dataset, subject.cache, subject.device, subject.net)
        if isinstance(coupling, Fitted) and subject.learned is not None:
            coupling.load_state_dict(subject.learned)
        yield from learning_signal(config, subject.net, subject.dataset, subject.device, coupling)


def own_coupling(
    config: RunConfig, dataset: Dataset, cache: Path, device: str, net: Denoiser
) -> Coupling | Fitted | None:
    """The run's coupling, fitted or from its file in ``cache``; None for a network that was not
    trained here. One that follows the model pairs by ``net``, as at the end of the training.

    A coupling that learned while training gets its state from the checkpoint by
    ``load_state_dict``.

    Raises:
        CouplingError: as ``bench.pairs.fit.fit``.

    """
    if config.checkpoint:
        return None
    coupling = get(config.coupling)
    if coupling.kind == "batch":
        return following(coupling, net)
    return fit(coupling, dataset, config.seed, cache, device)


@plain_torch()
def learning_signal(
    config: RunConfig,
    net: Denoiser,
    dataset: Dataset,
    device: str,
    coupling: Coupling | Fitted | None,
    effort: Effort = Effort(),  # noqa: B008 - frozen
) -> list[Measurement]:
    """Measure all of the above; images, noise and sigmas are those of every run with the same seed
    and pool.

    Args:
        config: of the run.
        net: the trained denoiser, on ``device``; its weights stay as they are.
        dataset: of the run.
        device: where to compute.
        coupling: that of ``own_coupling``. One that learns continues to learn, so give it a state
            that nothing else uses.
        effort: how much is computed.

    Raises:
        CouplingError: a pool cannot be solved.

    """
    net = net.eval()
    rows = _on_held_out_images(config, net, dataset, device, coupling, effort)
    if coupling is not None:
        rows += _on_training_images(config, net, dataset, device, coupling, effort)
    return rows


def _on_held_out_images(
    config: RunConfig,
    net: Denoiser,
    dataset: Dataset,
    device: str,
    coupling: Coupling | Fitted | None,
    effort: Effort,
) -> list[Measurement]:
    test = dataset.test.to(device)
    pairings = {"independent": get("random")}
    if coupling is not None and get(config.coupling).kind == "batch":
        pairings = {"own": coupling, **pairings}
    by_sigma = []
    over_training = []
    for pairing, paired_by in pairings.items():
        losses, weighted = held_out_losses(config, net, test, paired_by, effort)
        by_sigma += _profile(f"validation_loss_{pairing}", losses, effort.pairs, "test")
        name = f"validation_loss_edm_{pairing}"
        over_training.append(Measurement(name, weighted, split="test", n=effort.pairs))
    return by_sigma + over_training


def _on_training_images(
    config: RunConfig,
    net: Denoiser,
    dataset: Dataset,
    device: str,
    coupling: Coupling | Fitted,
    effort: Effort,
) -> list[Measurement]:
    training = config.training
    train = dataset.train.to(device)
    batch, level_batch = effort.batches(training.pool)
    found = on_training_images(config, net, train, coupling, effort)
    n = effort.pools * level_batch
    rows = _profile("target_variance_bound", list(found.bound.values()), n, "train")
    rows += _profile("gradient_variance", list(found.variance.values()), n, "train")
    overall = {
        "gradient_variance": found.noise.variance,
        "gradient_signal": found.noise.signal,
        "gradient_noise_scale": found.noise.scale,
    }
    for name, value in overall.items():
        rows.append(Measurement(name, value, split="train", n=effort.pools * batch))
    kind = get(config.coupling)
    # With labels, augmentation or a source the posterior is another one than the closed form's.
    plain = not training.conditional and not training.augment and dataset.source is None
    if kind.independent and plain:
        values = independent_target(config, train, effort)
        rows += _profile("target_variance", values, effort.queries, "train")
    if isinstance(coupling, Coupling) and _shares_noise(coupling) and not training.conditional:
        value = variance_from_noise(config, train, coupling, effort)
        n = math.prod(effort.sharing(training.pool))
        rows.append(Measurement("target_variance_from_noise", value, split="train", n=n))
    return rows


def _shares_noise(coupling: Coupling) -> bool:
    """True if pools can have noise samples in common: each is used once, and as it was drawn."""
    return coupling.permutes and not coupling.jitter


def _profile(metric: str, values: list[float], n: int, split: str) -> list[Measurement]:
    """Rows of a metric at each of ``SIGMAS``."""
    rows = []
    for sigma, value in zip(SIGMAS, values, strict=True):
        rows.append(Measurement(metric, value, split=split, n=n, sigma=sigma))
    return rows

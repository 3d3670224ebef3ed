"""Builds the starts and the discriminators that the settings of a run name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.config import RunConfig
from bench.config.guidance import GuidanceConfig
from bench.data import Dataset
from bench.guidance.images import GuidedModel, make_fakes
from bench.guidance.train import train_discriminator
from bench.metrics.contract import HeldOut, Methods
from bench.sampling.sample import Steering
from bench.sampling.starts import prepare
from bench.sampling.store import weights_digest
from bench.suitable import stated_coupling
from models.denoiser import Denoiser
from models.guidance.guide import Guidance, Guide
from models.starts.contract import PreparedStart


def guidances(config: RunConfig) -> list[GuidanceConfig]:
    """The discriminators that a run asks for, one for each noising."""
    return config.guidance.per_noising() if config.guidance.kind == "discriminator" else []


def prepare_methods(
    config: RunConfig, net: Denoiser, dataset: Dataset, folder: Path, device: str, progress: bool
) -> Methods:
    """Fit the maps of the starts and train the discriminators, or read them from the run's folder
    and the cache.

    Raises:
        bench.guidance.images.GuideError: a discriminator does not belong to this denoiser.
        ValueError: a map cannot be fitted.

    """
    model = GuidedModel(net, dataset, config.seed, device, config.evaluation)
    cache = folder.parent / ".cache"
    discriminators = {}
    guides = {}
    prints = {}
    for one in guidances(config):
        trained, held = train_discriminator(one, model, folder / "guidance", cache, progress)
        fingerprint = weights_digest(trained.net)[:10]
        # With the fingerprint, so that one that was trained again is measured again.
        discriminators[f"{one.name}@{fingerprint}"] = HeldOut(one, model, trained.net, held)
        for weight in one.weights:
            prints[one.label(weight)] = fingerprint
            # Weight 0 is unguided sampling: no guide, and no passes of a discriminator.
            if weight:
                guides[one.label(weight)] = Guide(Guidance(trained.net), weight, one.second)
    coupling = stated_coupling(config)
    coupled = coupling is not None and not coupling.independent
    starts = _prepare_starts(config, model, folder, coupled, progress)
    steering = Steering(starts, guides, coupled, config.seed, config.guidance.boost)
    return Methods(steering, starts, discriminators, prints)


def _prepare_starts(
    config: RunConfig, model: GuidedModel, folder: Path, coupled: bool, progress: bool
) -> dict[str, PreparedStart]:
    # Only a start that jumps to the model's own images generates any.
    generate = partial(make_fakes, GuidanceConfig(), model, folder / "guidance", progress)
    starts = {}
    for spec in config.evaluation.start:
        starts[spec] = prepare(
            spec,
            model.dataset,
            config.seed,
            folder.parent / ".cache",
            model.device,
            config.evaluation.sigma_max,
            conditional=model.net.label_dim > 0,
            coupled=coupled,
            generate=generate,
        )
    return starts

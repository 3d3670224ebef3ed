"""Starts and guidance made ready for one arm: what the names in its settings stand for, and what
they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.config import RunConfig
from bench.config.guidance import GuidanceConfig
from bench.data import Dataset, Split
from bench.guidance.images import Arm, Sides, make_fakes
from bench.guidance.train import train_discriminator
from bench.metrics.discriminator import measure
from bench.record import Measurement
from bench.sampling.sample import Steering
from bench.sampling.starts import Ready, prepare
from bench.sampling.store import weights_digest
from models.guidance.guide import Guidance, Guide
from models.objectives.edm import EDMDenoiser


@dataclass(frozen=True)
class Prepared:
    """All that steers the sampling of one arm.

    Attributes: steering: for ``bench.sampling.sample.sample``. starts: by spec. discriminators:
        what each is worth, by its name and fingerprint. prints: fingerprint of the discriminator
        behind a label of guidance: what another one gave does not count.

    """

    steering: Steering = Steering()
    starts: dict[str, Ready] = field(default_factory=dict)
    discriminators: dict[str, list[Measurement]] = field(default_factory=dict)
    prints: dict[str, str] = field(default_factory=dict)


def guidances(config: RunConfig) -> list[GuidanceConfig]:
    """The discriminators that a run asks for, one for each noising."""
    return config.guidance.apart() if config.guidance.kind == "discriminator" else []


def make_ready(
    config: RunConfig, net: EDMDenoiser, dataset: Dataset, folder: Path, device: str, progress: bool
) -> Prepared:
    """Fit the maps of the starts and train the discriminators, or read them from the run's folder
    and the cache.

    Raises:
        bench.guidance.images.GuideError: a discriminator does not belong to this arm.
        ValueError: a map cannot be fitted.

    """
    cache, arm = folder.parent / ".cache", Arm(net, dataset, config.seed, device, config.evaluation)
    coupled = not config.checkpoint and config.coupling != "random"
    discriminators, guides, prints = {}, {}, {}
    for one in guidances(config):
        trained, held = train_discriminator(one, arm, folder / "guidance", cache, progress)
        rows = measure(one, arm, trained.net, held, "train")
        rows += measure(one, arm, trained.net, Sides(dataset.test, held.fake), "test")
        digest = weights_digest(trained.net)[:10]
        discriminators[f"{one.name}@{digest}"] = rows
        prints |= dict.fromkeys(map(one.label, one.weights), digest)
        guides |= {
            one.label(w): Guide(Guidance(trained.net), w, one.second) for w in one.weights if w
        }

    def generated() -> Split:
        return make_fakes(GuidanceConfig(), arm, folder / "guidance", progress)

    sigma_max, told = config.evaluation.sigma_max, net.label_dim > 0
    starts = {
        spec: prepare(
            spec, dataset, config.seed, cache, device, sigma_max, told, coupled, generated
        )
        for spec in config.evaluation.start
    }
    ready = {spec: one.start for spec, one in starts.items()}
    steering = Steering(ready, guides, coupled, config.seed, config.guidance.boost)
    return Prepared(steering, starts, discriminators, prints)

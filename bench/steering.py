"""Starts and guidance made ready for one arm: what the names in its settings stand for, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import guide
from bench.config import RunConfig
from bench.data import Dataset, Split
from bench.guidance_config import GuidanceConfig
from bench.record import Measurement
from bench.samples import weights_digest
from bench.sampling import Setting, Steering
from bench.starting import Ready, prepare, prior_errors
from models.guidance import Guidance, Guide
from models.precondition import EDMDenoiser


@dataclass(frozen=True)
class Prepared:
    """All that steers the sampling of one arm.

    Attributes:
        steering: for ``bench.sampling.sample``.
        starts: by spec.
        discriminators: what each is worth, by its name and fingerprint.
        prints: fingerprint of the discriminator behind a label of guidance: what another one gave does not count.

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
    """Fit the maps of the starts and train the discriminators, or read them from the run's folder and the cache.

    Raises:
        bench.guide.GuideError: a discriminator does not belong to this arm.
        ValueError: a map cannot be fitted.

    """
    cache, arm = folder.parent / ".cache", guide.Arm(net, dataset, config.seed, device, config.evaluation)
    coupled = not config.checkpoint and config.coupling != "random"
    discriminators, guides, prints = {}, {}, {}
    for one in guidances(config):
        trained, rows = guide.train_discriminator(one, arm, folder / "guidance", cache, progress)
        digest = weights_digest(trained.net)[:10]
        discriminators[f"{one.name}@{digest}"] = rows
        prints |= dict.fromkeys(map(one.label, one.weights), digest)
        guides |= {one.label(w): Guide(Guidance(trained.net), w, one.second) for w in one.weights if w}

    def generated() -> Split:
        return guide.make_fakes(GuidanceConfig(), arm, folder / "guidance", progress)

    sigma_max, told = config.evaluation.sigma_max, net.label_dim > 0
    starts = {
        spec: prepare(spec, dataset, config.seed, cache, device, sigma_max, told, coupled, generated)
        for spec in config.evaluation.start
    }
    ready = {spec: one.start for spec, one in starts.items()}
    steering = Steering(ready, guides, coupled, config.seed, config.guidance.boost)
    return Prepared(steering, starts, discriminators, prints)


def start_rows(ready: Ready, dataset: Dataset, seed: int) -> Iterator[Measurement]:
    """What a start costs and how good a prior it is."""
    setting = Setting(start=ready.start.spec)
    yield setting.row("start_sigma", ready.start.sigma)
    for metric, value in {**ready.costs, **prior_errors(ready, dataset, seed)}.items():
        yield setting.row(metric, value)

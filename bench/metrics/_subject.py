"""The subject of an evaluation: a trained denoiser and all that its measurements depend on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.config.guidance import GuidanceConfig
from bench.data import Dataset, Decoder, as_images, decoded
from bench.features import Features, pixels
from bench.guidance.images import GuidedModel, Sides
from bench.metrics._space import FeatureSpace
from bench.sampling import sample as sampling
from bench.sampling.latents import EVALUATION, Latents, draw_latents
from bench.sampling.sample import Steering
from bench.sampling.store import weights_digest
from models.denoiser import Denoiser
from models.guidance.discriminator import Discriminator
from models.starts.contract import PreparedStart


@dataclass(frozen=True)
class HeldOut:
    """A trained discriminator, and images that had no part in its training.

    Attributes:
        config: how it was trained.
        model: the denoiser that it belongs to.
        net: the discriminator.
        images: held-out real and generated images.

    """

    config: GuidanceConfig
    model: GuidedModel
    net: Discriminator
    images: Sides


@dataclass(frozen=True)
class Methods:
    """Starts and discriminators of a run, prepared to sample with.

    Attributes:
        steering: for ``bench.sampling.sample.sample``.
        starts: by spec.
        discriminators: by name and fingerprint of their weights.
        prints: fingerprint of the discriminator that each label of guidance stands for, so that
            values of another discriminator under the same label do not count.

    """

    steering: Steering = Steering()
    starts: dict[str, PreparedStart] = field(default_factory=dict)
    discriminators: dict[str, HeldOut] = field(default_factory=dict)
    prints: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A trained denoiser and all that its measurements depend on.

    Attributes:
        config: of the run.
        net: the denoiser, on ``device``, in evaluation mode.
        dataset: of the run.
        extractors: the features that samples are measured in.
        device: where to compute.
        folder: of the run.
        methods: starts and discriminators that its samples are steered by.
        learned: state of a coupling that learned in training.
        decoder: of the latents that the data set holds, if images are measured in their place.

    """

    config: RunConfig
    net: Denoiser
    dataset: Dataset
    extractors: list[Features]
    device: str
    folder: Path
    methods: Methods = Methods()
    learned: dict[str, Tensor] | None = None
    decoder: Decoder | None = None

    @property
    def cache(self) -> Path:
        """Folder that the runs next to this one share."""
        return self.folder.parent / ".cache"

    @property
    def judge(self) -> Features:
        """The features that choose the best schedule: a classifier's, if any, else the first."""
        for features in self.extractors:
            if features.classify is not None:
                return features
        return self.extractors[0]

    @property
    def samples_folder(self) -> Path:
        """Folder of samples and of their pictures."""
        return self.folder / "samples"

    @cached_property
    def origin(self) -> dict[str, object]:
        """Everything that samples depend on, in addition to their setting."""
        evaluation = self.config.evaluation
        known: dict[str, object] = {
            # By content: a run that is trained again under the same name gives other samples.
            "weights": weights_digest(self.net),
            "data": self.dataset.checksum,
            "seed": self.config.seed,
            "sigma_min": evaluation.sigma_min,
            "sigma_max": evaluation.sigma_max,
        }
        # An unconditional denoiser is asked for no classes, so their law changes nothing.
        if self.net.label_dim:
            known["class_law"] = evaluation.class_law
        return known

    @cached_property
    def measured(self) -> Dataset:
        """The data set as features see it: decoded images if there is a decoder."""
        return decoded(self.dataset, self.decoder)

    def as_measured(self, samples: Tensor) -> Tensor:
        """Stored samples ``[n, ...]`` as features see them: decoded if there is a decoder."""
        return samples if self.decoder is None else self.decoder(samples)

    def as_shown(self, samples: Tensor) -> Tensor:
        """Stored samples ``[n, ...]`` as images of a picture, float32 in [-1, 1]."""
        return as_images(self.as_measured(samples))

    @cached_property
    def spaces(self) -> dict[str, FeatureSpace]:
        """Feature spaces by the name of their features, pixels always among them."""
        spaces = {}
        known = [pixels.load(self.measured, self.cache, self.device), *self.extractors]
        for features in known:
            spaces[features.name] = FeatureSpace(
                features, self.measured, self.device, self.cache, self.requested
            )
        return spaces

    @cached_property
    def requested(self) -> Tensor | None:
        """Classes ``[samples]`` that the samples are asked for; None if unconditional."""
        if not self.net.label_dim:
            return None
        n = self.config.evaluation.samples
        labels = []
        # In chunks, because latents come with the noise of every sample, and only classes are kept.
        for start in range(0, n, sampling.CHUNK):
            rows = range(start, min(n, start + sampling.CHUNK))
            labels.append(self.latents(rows).labels)
        return torch.cat(labels)

    def latents(self, rows: range, purpose: str = EVALUATION) -> Latents:
        """Latents of these samples, by the seed and the class law of the run."""
        law = self.config.evaluation.class_law
        return draw_latents(len(rows), self.dataset, self.config.seed, rows.start, law, purpose)

"""The discriminator's default encoder: a classifier of noisy images, trained once and cached by the
data's checksum.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bench.data import Dataset, as_images
from bench.randomness import derive, generator
from bench.record import write_bytes
from bench.record.files import made_once
from bench.sampling.store import weights_digest
from models.guidance.discriminator import (
    EncoderOptions,
    NoisyEncoder,
    draw_log_uniform_sigma,
    encoder_files,
    load_encoder,
)

VERSION = 1  # raise it when network or training change, so that no old cache is used
TRAINING_IMAGES = 100_000
BATCH = 128
CLUSTERS = 10  # of images without labels
CLUSTERED = 10_000  # images that the clusters are fitted on


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder and a fingerprint that changes whenever its features do."""

    net: nn.Module
    fingerprint: str


def load(dataset: Dataset, cache: Path, device: str, path: Path | None = None) -> Encoder:
    """The encoder in a file, or the default: from the cache, or trained on the training split.

    Raises:
        models.guidance.discriminator.EncoderRefused: the file holds none for these images, or the
            cached one is damaged.

    """
    if path is None:
        options = EncoderOptions()
        # The options are part of the name: weights of other sizes would not load.
        size = "-".join(str(value) for value in asdict(options).values())
        path = cache / f"noisy-encoder-v{VERSION}-{size}-{dataset.checksum[:16]}.safetensors"
        # Runs with one data set share it, so one of them trains for all.
        made_once(path, partial(_train_and_save, dataset, options, device, path))
    net = load_encoder(path, dataset.image_shape).to(device)
    return Encoder(net, weights_digest(net))


def _train_and_save(dataset: Dataset, options: EncoderOptions, device: str, path: Path) -> None:
    files = encoder_files(_train(dataset, options, device), path)
    # The .safetensors file comes last: if it is there, the others are.
    for name, data in files.items():
        write_bytes(path.parent / name, data)


def _train(dataset: Dataset, options: EncoderOptions, device: str) -> NoisyEncoder:
    """Cross-entropy at ln sigma ~ U, Adam, a falling learning rate.

    The seed is fixed: all runs with one data set use the same encoder.
    """
    labels, classes = _targets(dataset)
    # What the caller draws next must not depend on whether the encoder was in the cache.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "encoder weights"))
        encoder = NoisyEncoder(dataset.image_shape, options)
        linear = nn.Linear(encoder.channels, classes)
    encoder = encoder.to(device)
    linear = linear.to(device)
    steps = max(1, TRAINING_IMAGES // BATCH)
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *linear.parameters()], lr=2e-3, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for step in tqdm(range(steps), desc="train the noise-aware encoder", disable=None):
        g = generator(0, "encoder", step=step)
        rows = torch.randint(len(labels), (BATCH,), generator=g)
        images = as_images(dataset.train.images[rows])
        sigma = draw_log_uniform_sigma(BATCH, g)
        x = images + sigma[:, None, None, None] * torch.randn(images.shape, generator=g)
        # Unit variance at every level, roughly, as the denoiser's own input has it.
        x_in = x / (1 + sigma[:, None, None, None] ** 2).sqrt()
        # A discriminator takes the encoder's maps; the class needs one vector of an image.
        features = encoder(x_in.to(device), sigma.to(device)).mean((2, 3))
        loss = F.cross_entropy(linear(features), labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder.eval()


def _targets(dataset: Dataset) -> tuple[Tensor, int]:
    """Labels ``[n]`` and their number; images without labels get that of their k-means cluster.

    Clusters of pixels are a coarse substitute for classes, but recognising them through noise takes
    the same kind of features.
    """
    if dataset.num_classes > 1:
        return dataset.train.labels, dataset.num_classes
    from sklearn.cluster import KMeans

    images = as_images(dataset.train.images).flatten(1).numpy()
    # KMeans refuses more clusters than images.
    clusters = min(CLUSTERS, len(images))
    # At random, because image files are often sorted by what they show.
    order = torch.randperm(len(images), generator=generator(0, "encoder clusters")).numpy()
    means = KMeans(clusters, n_init=1, random_state=0).fit(images[order[:CLUSTERED]])
    return torch.from_numpy(means.predict(images)).long(), clusters

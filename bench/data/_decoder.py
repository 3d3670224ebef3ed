"""The decoder of latents: metrics and pictures are those of the images that it makes.

It is a TorchScript file that maps latents ``[n, c, h, w]`` float32, as the data set holds them, to
images ``[n, c, h, w]`` in [-1, 1]. Any scaling of the latents belongs in the script, as for
``bench.features.torchscript``. Images are cut to [-1, 1] and rounded to 8 bits, as generated
pictures are, both those of the data and the samples.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.config import EvaluationConfig
from bench.data._decoded import DecodedImages
from bench.data._script import ScriptError, read_script
from bench.data.contract import DataError, Dataset, Split, as_images

BATCH = 64  # latents that are decoded at a time: images of 512 x 512 pixels take 200 MB then
TRIED = 4  # training latents that are decoded before a training
# Decoders of autoencoders overshoot a little; values of 0 to 255 or unscaled ones are far outside.
LARGEST = 2.0
LEVELS = 1  # of 255, by which two calls may differ: fused operators round in other ways


@dataclass(frozen=True)
class Decoder:
    """A decoder that was tried on training latents.

    Attributes:
        path: its file.
        digest: SHA-256 of the file.
        net: the network, on ``device``.
        device: where it computes.
        image: shape of an image ``(c, h, w)``.
        least: smallest value of the images that were tried.
        largest: largest value of them.

    """

    path: Path
    digest: str
    net: nn.Module
    device: str
    image: tuple[int, int, int] = (0, 0, 0)
    least: float = math.nan
    largest: float = math.nan

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` of stored latents ``[n, ...]``, on the CPU.

        They are uint8, or float32 if a latent or an image is not finite: such an image is NaN.
        """
        levels = torch.empty((len(latents), *self.image), dtype=torch.uint8, device="cpu")
        finite = torch.empty(len(latents), dtype=torch.bool, device="cpu")
        # Each batch is brought to bytes at once: floats of all would take four times the memory.
        batches = zip(
            latents.split(BATCH),
            levels.split(BATCH),
            finite.split(BATCH),
            strict=bool(len(latents)),
        )
        for part, into, whole in batches:
            images = self.net(as_images(part).to(self.device)).float()
            whole.copy_(images.flatten(1).isfinite().all(1))
            into.copy_(_levels(images))
        if finite.all():
            return levels
        return as_images(levels).masked_fill(~finite[:, None, None, None], math.nan)

    @property
    def note(self) -> str:
        """The line of reports on what is measured in which space."""
        return (
            f"distances and pictures are of images that {self.path.name} (SHA-256"
            f" {self.digest[:10]}) decodes; paths, curvature and truncation are of the latents"
        )

    @property
    def record(self) -> dict[str, object]:
        """The entry of the provenance."""
        return {
            "file": self.path.name,
            "sha256": self.digest,
            "images": list(self.image),
            "values": [self.least, self.largest],
        }


@dataclass(frozen=True)
class DecodedDataset(Dataset):
    """A data set as metrics see it, by the checksum of the latents and of the decoder."""

    key: str = ""

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of what the images are made of: decoding all of them would take hours."""
        return hashlib.sha256(self.key.encode()).hexdigest()


def load_decoder(evaluation: EvaluationConfig, dataset: Dataset, device: str) -> Decoder | None:
    """The decoder of an evaluation, tried on a few training latents; None if it has none.

    Args:
        evaluation: checked, so that ``decoder`` is the hash of the file ``decode``.
        dataset: of latents.
        device: where it is to compute.

    Raises:
        DataError: the file holds another kind of network, or is another one by now, or its images
            are not what ``--decode`` promises; or the data are points.

    """
    if evaluation.decode is None:
        return None
    option = f"--decode {evaluation.decode}"
    # They are measured by exact transport and drawn as points, neither of which suits images.
    if math.prod(dataset.image_shape) == 2:
        raise DataError(f"{option}: {dataset.name} has points in the plane; leave it out")
    if dataset.bounded:
        raise DataError(f"{option}: {dataset.name} has pictures, not latents; leave it out")
    path = Path(evaluation.decode).expanduser()
    try:
        script = read_script(path, device)
    except ScriptError as error:
        raise DataError(f"--decode: {error}") from None
    if script.digest != evaluation.decoder:
        raise DataError(f"{option}: the file changes while it is used; run the command again")
    decoder = Decoder(path, script.digest, script.net, device)
    return _tried(decoder, as_images(dataset.train.images[:TRIED]), option)


def decoded(dataset: Dataset, decoder: Decoder | None) -> Dataset:
    """The data set as metrics see it: its images decoded, or itself without a decoder."""
    if decoder is None:
        return dataset
    splits = []
    for split in (dataset.train, dataset.test):
        # They are no tensor, but everything that metrics do with one is here.
        images: Any = DecodedImages(split.images, decoder, decoder.image)
        splits.append(Split(images, split.labels))
    train, test = splits
    # Caches of features are keyed by it, and two decoders must not share one.
    key = f"{dataset.checksum} decoded by {decoder.digest}"
    return DecodedDataset(dataset.name, train, test, dataset.num_classes, key=key)


def noted(dataset: Dataset, decoder: Decoder | None) -> Dataset:
    """The latents with a note on what is measured of decoded images; unchanged without any."""
    if decoder is None or decoder.note in dataset.origin.notes:
        return dataset
    # The data set's own note on distances is about latents without a decoder.
    notes = [note for note in dataset.origin.notes if not note.startswith("distances ")]
    return replace(dataset, origin=replace(dataset.origin, notes=(*notes, decoder.note)))


@torch.no_grad()
def _tried(decoder: Decoder, latents: Tensor, option: str) -> Decoder:
    """The decoder with the shape and the range of its images."""
    try:
        images = decoder.net(latents.to(decoder.device))
        again = decoder.net(latents.to(decoder.device))
    # A script can raise any error of Python's as well as torch's own.
    except Exception as error:  # noqa: BLE001 - see above
        reason = str(error).strip().splitlines()[-1][:120] if str(error).strip() else ""
        raise DataError(
            f"{option} cannot take latents {list(latents.shape)} ({reason}): prepare them in the"
            " script"
        ) from None
    least, largest = _checked(images, len(latents), option)
    # Samples that are decoded twice, such as those of a resumed run, must be the same images.
    difference = (_levels(images.float()).int() - _levels(again.float()).int()).abs().max().item()
    if difference > LEVELS:
        raise DataError(
            f"{option} gives other images at a second call: leave dropout and sampling out of the"
            " script"
        )
    channels, height, width = images.shape[1:]
    return replace(decoder, image=(channels, height, width), least=least, largest=largest)


def _checked(images: object, count: int, option: str) -> tuple[float, float]:
    """Least and largest value of decoded images ``[count, c, h, w]``, h = w.

    Raises:
        DataError: they are no such images.

    """
    wanted = f"wanted are float images [{count}, c, h, w] in [-1, 1]"
    if not isinstance(images, Tensor):
        raise DataError(f"{option} returns {type(images).__name__}; {wanted}")
    shape = list(images.shape)
    kind = str(images.dtype).removeprefix("torch.")
    if images.dim() != 4 or len(images) != count or not images.is_floating_point():
        raise DataError(f"{option} returns {kind} {shape}; {wanted}: change it in the script")
    if shape[2] != shape[3] or not images.numel():
        raise DataError(
            f"{option} returns images {shape}; squares with h = w are needed: crop them"
        )
    if not images.isfinite().all():
        raise DataError(
            f"{option} gives NaN or infinity for training latents: check their scale (scale them in"
            " the script), or decode in float32"
        )
    least, largest = images.min().item(), images.max().item()
    if max(-least, largest) > LARGEST:
        raise DataError(
            f"{option} gives values from {least:.3g} to {largest:.3g}; {wanted}: scale them in the"
            " script, such as images / 127.5 - 1"
        )
    return least, largest


def _levels(images: Tensor) -> Tensor:
    """Float images in [-1, 1] as uint8 levels, cut and rounded as generated pictures are."""
    # 127.5 for the range [-1, 1] and another 0.5 so that truncation rounds to the nearest.
    return (images.nan_to_num(nan=0.0) * 127.5 + 128).clamp(0, 255).to(torch.uint8)

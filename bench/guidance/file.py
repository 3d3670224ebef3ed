"""The file of a trained discriminator, checked against what it was made for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.guidance import encoder as noisy_encoder
from bench.guidance.images import GuidedModel, GuideError
from bench.record import write_bytes
from bench.sampling.store import weights_digest
from models.guidance.discriminator import Discriminator, Head, HeadOptions, feature_channels

# What a user reads for the keys of ``made_for``. Those are stored in files, so they stay.
READABLE = {
    "images": "image shape",
    "classes told": "number of classes",
    "data": "data set",
    "sampling": "range of sigma or class law",
}
VERSION = 2  # raise it when the discriminator or its training change, so that no old one is used


@dataclass(frozen=True)
class Trained:
    """A discriminator for ``models.guidance.guide.Guidance``, chosen among several checkpoints.

    Attributes:
        net: the discriminator, frozen.
        images: training images it has seen.
        losses: held-out cross-entropy in the guided window of all checkpoints, by images seen.

    """

    net: Discriminator
    images: int
    losses: dict[int, float]


def made_for(model: GuidedModel, encoder: noisy_encoder.Encoder) -> dict[str, object]:
    """Everything that a discriminator was made for, with what a user would notice first."""
    return {
        "version": VERSION,
        "images": list(model.dataset.image_shape),
        "classes told": model.net.label_dim,
        "data": model.dataset.checksum,
        "denoiser": weights_digest(model.net),
        "encoder": encoder.fingerprint,
        "seed": model.seed,
        "sampling": model.sampling,
    }


def write_trained(
    path: Path, model: GuidedModel, encoder: noisy_encoder.Encoder, **content: object
) -> None:
    """Write tensors and numbers of a training, with everything that they were made for."""
    # In memory first: write_bytes then writes the file whole or not at all.
    buffer = io.BytesIO()
    torch.save({"made_for": made_for(model, encoder), **content}, buffer)
    write_bytes(path, buffer.getvalue())


def read_trained(path: Path, model: GuidedModel, encoder: noisy_encoder.Encoder) -> dict | None:
    """The content of a file; None if there is no file.

    Raises:
        GuideError: it is damaged, or was made for something else.

    """
    if not path.exists():
        return None
    try:
        # Tensors and plain values only: a pickle from elsewhere could run any code.
        content = torch.load(path, map_location=model.device, weights_only=True)
        made = content["made_for"]
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise GuideError(
            f"{path} cannot be read ({type(error).__name__}): delete it, it is trained again"
        ) from None
    for what, wanted in made_for(model, encoder).items():
        if made.get(what) != wanted:
            # Digests are long, and their beginnings differ.
            has = str(made.get(what))[:16]
            needs = str(wanted)[:16]
            raise GuideError(
                f"{path} was trained for another {READABLE.get(what, what)} ({has}, not {needs}):"
                " move it away and a new one is trained"
            )
    return content


def load_discriminator(path: Path, model: GuidedModel, encoder: noisy_encoder.Encoder) -> Trained:
    """A trained discriminator.

    Raises:
        GuideError: no such file, damaged, or made for another data set, resolution, conditioning,
            denoiser or encoder.

    """
    content = read_trained(path, model, encoder)
    if content is None:
        raise GuideError(f"no discriminator {path}: train one first")
    head = Head(
        feature_channels(encoder.net, model.dataset.image_shape), HeadOptions(**content["options"])
    )
    head.load_state_dict(content["head"])
    # Guidance differentiates by the image; gradients of weights would only cost memory.
    net = Discriminator(encoder.net, head).to(model.device).eval().requires_grad_(False)
    return Trained(net, content["images"], content["losses"])

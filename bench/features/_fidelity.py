"""Shared by the extractors of torch-fidelity, which is imported when one of them is loaded."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from bench.data import Dataset
from bench.features import FeatureError
from couplings.extras import install


def library(module: str) -> ModuleType:
    """A module of torch-fidelity.

    Raises:
        FeatureError: it is not installed, or its torchvision was built for another torch.

    """
    try:
        return import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        raise FeatureError(
            f"these features need torch-fidelity ({error}): {install('fid')}"
        ) from None
    except RuntimeError as error:  # an operator of torchvision is missing
        raise FeatureError(
            f"torch-fidelity cannot be imported ({first_line(error)}): install the torchvision of"
            f" the same build (CPU or CUDA) as torch {torch.__version__}, from where that torch"
            " came from"
        ) from None


def fingerprint(name: str, digest: str) -> str:
    """Fingerprint of a network with weights of a SHA-256.

    The library resizes images, so its version decides on features as well.
    """
    return f"{name}-{digest}-torch-fidelity-{library('version').__version__}"


def check_channels(dataset: Dataset, name: str) -> None:
    """Refuse images that are not pictures.

    Raises:
        FeatureError: images have neither 1 nor 3 channels, or are not in [-1, 1].

    """
    channels = dataset.image_shape[0]
    if channels not in (1, 3) or not dataset.bounded:
        raise FeatureError(
            f"{name} takes pictures of 1 or 3 channels, {dataset.name} has none: leave {name} out"
        )


def to_bytes(images: Tensor) -> Tensor:
    """Images ``[n, 1 or 3, h, w]`` in [-1, 1] to uint8 ``[n, 3, h, w]``; grey is repeated.

    Rounds to the nearest level, so that what was uint8 comes back unchanged.
    """
    # 127.5 for the range [-1, 1] and another 0.5, because the conversion to integers truncates.
    levels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return levels.expand(-1, 3, -1, -1).contiguous()


def first_line(error: Exception) -> str:
    """First line of an error's message."""
    return str(error).strip().partition("\n")[0]

"""DINOv2 features (Oquab et al. 2023) of ViT-L/14 through torch-fidelity: their Frechet distance is
known as FD-DINOv2.

Images are taken as 8 bits and resized to 224 x 224 as TensorFlow 1 did. Other codes resize in other
ways, so their numbers differ. Code and weights of the network come through torch.hub, which
keeps them under ``TORCH_HOME``: a machine without a network needs a copy of that folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from bench.data import Dataset
from bench.features import FeatureError, Features, in_batches
from bench.features._fidelity import check_channels, fingerprint, first_line, library, to_bytes

SIZE = 1024


def load(dataset: Dataset, cache: Path, device: str) -> Features:
    """DINOv2's class token ``[n, 1024]``.

    Raises:
        FeatureError: torch-fidelity is missing, the network cannot be fetched, or the images are
            not pictures.

    """
    check_channels(dataset, "dinov2")
    module = library("feature_extractor_dinov2")
    try:
        net = module.FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    except (OSError, RuntimeError, ImportError) as error:
        raise FeatureError(
            f"DINOv2 cannot be fetched ({first_line(error)}): "
            f"fetch it once where there is a network and copy {torch.hub.get_dir()}"
        ) from None
    digest = _digest(net)
    net = net.to(device)
    extract = in_batches(lambda images: net(to_bytes(images))[0])
    return Features("dinov2", extract, SIZE, fingerprint("dinov2", digest), slow=True)


def _digest(net: nn.Module) -> str:
    """SHA-256 of all weights, by name: torch.hub says nothing of the file they came from."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        # With names, because the same values in other layers are another network.
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()

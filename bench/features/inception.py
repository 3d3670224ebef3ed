"""Inception-v3 pool3 features through torch-fidelity: those, and no others, whose Frechet distance
is called FID.

Images are taken as 8 bits, resized to 299 x 299 as TensorFlow 1 did (bilinear, no antialiasing) and
fed to the network of Heusel et al. (2017), whose weights of 2015-12-05 torch-fidelity took over
from TensorFlow.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from bench.data import Dataset
from bench.features import FeatureError, Features, in_batches
from bench.features._fidelity import check_channels, fingerprint, first_line, library, to_bytes

SIZE = 2048
FILE = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def load(dataset: Dataset, cache: Path, device: str, *, weights: str | None = None) -> Features:
    """Inception-v3 pool3 ``[n, 2048]``, with the weights of a file or those that torch-fidelity
    downloads.

    Raises:
        FeatureError: torch-fidelity or the weights are missing, the weights are others than FID's,
            or the images are not pictures.

    """
    check_channels(dataset, "inception")
    module = library("feature_extractor_inceptionv3")
    path = Path(weights).expanduser() if weights else _downloaded(module.URL_INCEPTION_V3)
    _check(path)
    net = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", [str(SIZE)], feature_extractor_weights_path=str(path)
    ).to(device)
    # The extractor returns a tuple, with one tensor for each layer that was asked for.
    extract = in_batches(lambda images: net(to_bytes(images))[0])
    return Features("inception", extract, SIZE, fingerprint("inception", SHA256), slow=True)


def _downloaded(url: str) -> Path:
    """The file where torch-fidelity keeps it, fetched once.

    Raises:
        FeatureError: it cannot be fetched.

    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise FeatureError(
                f"{url} cannot be fetched ({first_line(error)}): "
                f"copy the file here and pass inception:weights=PATH, or put it at {path}"
            ) from None
    return path


def _check(path: Path) -> None:
    """Refuse other weights before they are unpickled: their distance would not be FID."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FeatureError(
            f"inception: {path} cannot be read ({error.strerror}): is the path right?"
        ) from None
    if found != SHA256:
        raise FeatureError(
            f"{path} does not hold the Inception weights that FID is defined by: "
            f"expected sha256 {SHA256}, found {found}; "
            f"get {FILE}, or measure in another network with torchscript:path=PATH"
        )

"""Features of any network that was saved with TorchScript: ``torchscript:path=PATH``.

The network is given images ``[n, c, h, w]`` float32 in [-1, 1] with the channels of the data set,
and returns features ``[n, d]``. Any other preparation (three channels, ImageNet's mean and
deviation) belongs in the script, which is then one file that says all::

    class Extractor(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):  # [n, 1, h, w] in [-1, 1]
            return self.net((images.expand(-1, 3, -1, -1) + 1) / 2)

    torch.jit.script(Extractor(net)).save("my-net.pt")

Loading such a file runs no Python and unpickles none: it can call only torch's operators. These can
read and write files, so use networks from people you trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data import Dataset, ScriptError, as_images, read_script
from bench.features import FeatureError, Features, all_names, in_batches


def load(
    dataset: Dataset,
    cache: Path,
    device: str,
    *,
    path: str | None = None,
    name: str | None = None,
    size: int | None = None,
) -> Features:
    """The network's features ``[n, d]``.

    Args:
        dataset: two of its images are tried, which gives the number of features.
        cache: not used.
        device: where the network runs.
        path: the TorchScript file.
        name: as in ``fd_<name>``; None takes the file's name without its ending.
        size: pixels to resize images to beforehand, bilinear and antialiased; None leaves them as
            they are.

    Raises:
        FeatureError: no or another kind of file, a name that is taken or malformed, or a network
            that cannot take these images or returns no features ``[n, d]``.

    """
    if path is None:
        raise FeatureError("torchscript: which file? torchscript:path=PATH")
    if size is not None and size < 1:
        raise FeatureError(f"torchscript: size={size}: at least 1 pixel")
    # A shell expands ~ at the beginning of a word only, not after path=.
    file = Path(path).expanduser()
    name = _checked(name or file.stem)
    try:
        script = read_script(file, device)
    except ScriptError as error:
        raise FeatureError(f"torchscript: {error}") from None

    def extract(images: Tensor) -> Tensor:
        if size is not None:
            images = F.interpolate(
                images, (size, size), mode="bilinear", antialias=True, align_corners=False
            )
        return script.net(images)

    # Two images, because one would not show a network that loses the batch or averages over it.
    features = _tried(extract, as_images(dataset.train.images[:2]).to(device), file)
    # The size changes the features as the weights do, so the fingerprint has both.
    resized = f"-size{size}" if size is not None else ""
    return Features(
        name, in_batches(extract), features, f"torchscript-{script.digest}{resized}", slow=True
    )


def _checked(name: str) -> str:
    """The name, if metrics can be named by it."""
    # kid_<name> must belong to one family and to one extractor.
    if name in {*all_names(), "fid"}:
        raise FeatureError(
            f"torchscript: {name!r} means another thing here: give another name=NAME"
        )
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        near = "-".join(re.findall(r"[a-z0-9]+", name.lower())) or "my-net"
        raise FeatureError(
            f"torchscript: {name!r}: a name has lower case, digits and dashes: give name={near}"
        )
    return name


@torch.no_grad()
def _tried(extract: Callable[[Tensor], Tensor], images: Tensor, path: Path) -> int:
    """The number of features, from two images."""
    shape = list(images.shape)
    try:
        features = extract(images)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FeatureError(
            f"{path} cannot take images {shape} ({reason}): prepare them in the script"
        ) from None
    if isinstance(features, Tensor):
        got = f"{features.dtype} {list(features.shape)}"
        if features.dtype == torch.float32 and features.ndim == 2 and len(features) == 2:
            return features.shape[1]
    else:
        got = type(features).__name__
    raise FeatureError(
        f"{path} returns {got}, wanted are float32 features [n, d]: average or flatten in the"
        " script"
    )

"""Discriminator of noisy images, real against generated (Kim et al. 2023, arXiv 2211.17091).

It is a frozen encoder that knows the noise level, and a small trained head with one logit.

The encoder is any module ``(x_in, sigma) -> features``. x_in ``[n, c, h, w]`` is the EDM state over
sqrt(1 + sigma^2), the state of the variance-preserving process; sigma is ``[n]``; features are
``[n, k, h', w']`` or ``[n, k]``, differentiable in x_in.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.unet.blocks import Init, Linear, PositionalEmbedding, UNetBlock
from models.unet.families import ADM

# Side in pixels to which large images are halved; one of this very side is halved once, to 4.
FINEST = 8


class EncoderRefused(ValueError):
    """The file has no encoder for these images; the message names the way out."""


@dataclass(frozen=True)
class EncoderOptions:
    """Size of the noise-aware encoder.

    Attributes:
        width: channels at full resolution; they double with each halving, up to four times as many.
        blocks: residual blocks per resolution.

    """

    width: int = 32
    blocks: int = 1


@dataclass(frozen=True)
class HeadOptions:
    """Size of the trained head.

    Attributes:
        width: its channels.
        blocks: its residual blocks.
        label_dim: number of classes; 0 for an unconditional discriminator.
        dropout: probability in the residual branches.

    """

    width: int = 64
    blocks: int = 1
    label_dim: int = 0
    dropout: float = 0.0


class NoiseEmbedding(nn.Module):
    """Embedding ``[n, 4 width]`` of sigma ``[n]``, plus one of one-hot labels if there are any."""

    def __init__(self, width: int, label_dim: int = 0):
        super().__init__()
        init = ADM.style.init
        emb = 4 * width
        self.positional = PositionalEmbedding(width, endpoint=True)
        self.layer0 = Linear(width, emb, init)
        self.layer1 = Linear(emb, emb, init)
        self.label = None
        if label_dim:
            # One entry in label_dim is 1: the factor gives the sum unit variance, as in ADM.
            label_init = Init("kaiming_normal", weight=math.sqrt(label_dim))
            self.label = Linear(label_dim, emb, label_init, bias=False)

    def forward(self, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        # The noise condition of EDM's networks: the levels span five decades.
        emb = self.positional(sigma.log() / 4)
        emb = self.layer1(F.silu(self.layer0(emb)))
        if self.label is not None:
            emb = emb + self.label(labels)
        return F.silu(emb)


class NoisyEncoder(nn.Module):
    """Half a U-Net: features ``[n, channels, h', w']`` of noisy images, at any noise level."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.options = options
        channels, side, _ = self.image_shape
        width = options.width
        self.embed = NoiseEmbedding(width)
        self.first = nn.Conv2d(channels, width, 3, padding=1, dtype=torch.float32)
        block: dict[str, Any] = {"emb_channels": 4 * width, "style": ADM.style}
        layers = [UNetBlock(width, width, **block) for _ in range(options.blocks)]
        # Large images are halved down to FINEST; images of that very side once, so that digits are
        # seen at two scales too.
        while side % 2 == 0 and (side > FINEST or side == FINEST == self.image_shape[1]):
            side //= 2
            wider = min(2 * width, 4 * options.width)
            layers.append(UNetBlock(width, wider, down=True, **block))
            layers += [UNetBlock(wider, wider, **block) for _ in range(options.blocks)]
            width = wider
        self.blocks = nn.ModuleList(layers)
        self.channels = width

    def forward(self, x_in: Tensor, sigma: Tensor) -> Tensor:
        emb = self.embed(sigma)
        h = self.first(x_in)
        for block in self.blocks:
            h = block(h, emb)
        return h


class Head(nn.Module):
    """One logit ``[n]`` from features ``[n, k, h', w']`` or ``[n, k]``: residual blocks, a mean."""

    def __init__(self, channels: int, options: HeadOptions = HeadOptions()):  # noqa: B008 - frozen
        super().__init__()
        self.options = options
        self.embed = NoiseEmbedding(options.width, options.label_dim)
        # A 1x1 convolution adapts any encoder's channels to the head's width.
        self.first = nn.Conv2d(channels, options.width, 1, dtype=torch.float32)
        block: dict[str, Any] = {
            "emb_channels": 4 * options.width,
            "style": ADM.style,
            "dropout": options.dropout,
        }
        self.blocks = nn.ModuleList(
            UNetBlock(options.width, options.width, **block) for _ in range(options.blocks)
        )
        # Begins undecided, at d = 1/2, so that early guidance does nothing.
        self.logit = Linear(options.width, 1, Init("kaiming_uniform", weight=0.0))

    def forward(self, features: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        if features.ndim == 2:
            features = features[:, :, None, None]
        h = self.first(features)
        emb = self.embed(sigma, labels)
        for block in self.blocks:
            h = block(h, emb)
        # No norm here: over features of one pixel it would hide how far out a point lies.
        return self.logit(F.silu(h).mean((2, 3))).squeeze(1)


class Discriminator(nn.Module):
    """Logit log(d / (1 - d)) of noisy images, d the probability that they are real.

    Only the head trains.
    """

    def __init__(self, encoder: nn.Module, head: Head):
        super().__init__()
        self.encoder = freeze(encoder)
        self.head = head

    @property
    def label_dim(self) -> int:
        """Number of classes that the labels encode; 0 without labels."""
        return self.head.options.label_dim

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the logit ``[n]`` of EDM states x ``[n, c, h, w]`` at sigma ``[n]``.

        Labels are one-hot ``[n, label_dim]``.

        Raises:
            ValueError: it is conditional and gets no labels.

        """
        if self.label_dim and labels is None:
            raise ValueError(
                f"this discriminator knows {self.label_dim} classes: pass the one-hot labels"
            )
        if not self.label_dim:
            labels = None
        return self.head(self.encode(x, sigma), sigma, labels)

    def encode(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Compute the frozen features of EDM states."""
        # Encoders see unit scale at every level: the state of the variance-preserving process.
        scale = (1 + sigma[:, None, None, None] ** 2).sqrt()
        return self.encoder(x / scale, sigma)

    def train(self, mode: bool = True) -> Discriminator:
        """Set the head's mode; the encoder stays in eval mode."""
        self.training = mode
        self.head.train(mode)
        return self


def freeze(net: nn.Module) -> nn.Module:
    """Fix a network's weights and set it to eval mode."""
    for weight in net.parameters():
        # TorchScript modules have no requires_grad_.
        weight.requires_grad = False
    return net.eval()


def draw_log_uniform_sigma(
    n: int, generator: torch.Generator, low: float = 1e-3, high: float = 152.0
) -> Tensor:
    """Draw noise levels ``[n]`` with ln sigma ~ U(ln low, ln high), on the generator's device.

    That is the paper's importance sampling of VP time, in EDM's sigma: with it the plain
    cross-entropy is the paper's loss.
    """
    first = math.log(low)
    span = math.log(high) - first
    uniform = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float32)
    return (first + span * uniform).exp()


def feature_channels(encoder: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Find the number of channels of an encoder's features by a trial.

    Raises:
        EncoderRefused: it cannot be called with such images, or returns no features.

    """
    device = next((weight.device for weight in encoder.parameters()), "cpu")
    options: dict[str, Any] = {"dtype": torch.float32, "device": device}
    try:
        with torch.no_grad():
            # Two images: features of one could be a batch or a row.
            features = encoder(torch.zeros(2, *image_shape, **options), torch.ones(2, **options))
    except Exception as error:  # noqa: BLE001 - a foreign network may raise anything
        line = (str(error).strip().splitlines() or [""])[-1]
        raise EncoderRefused(
            f"the encoder does not take (x_in {[2, *image_shape]}, sigma [2]):"
            f" {type(error).__name__}: {line}"
        ) from None
    # A classifier would return logits [n, classes] too: that shape is as good as features.
    if not isinstance(features, Tensor) or features.ndim not in (2, 4) or len(features) != 2:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise EncoderRefused(
            f"the encoder returns {shape}: it must return features [n, k, h, w] or [n, k]"
        )
    return features.shape[1]


def encoder_files(encoder: NoisyEncoder, path: Path) -> dict[str, bytes]:
    """Make the two files that ``load_encoder(path)`` reads, by name: JSON options and weights."""
    from safetensors.torch import save

    described = {"image_shape": list(encoder.image_shape), "options": asdict(encoder.options)}
    return {
        path.with_suffix(".json").name: (json.dumps(described, indent=2) + "\n").encode(),
        path.with_suffix(".safetensors").name: save(encoder.state_dict()),
    }


def load_encoder(path: Path, image_shape: tuple[int, int, int]) -> nn.Module:
    """Load an encoder for images of that shape.

    It is TorchScript called as ``f(x_in, sigma)``, or our own safetensors next to a JSON file with
    its options. No Python code in a file is run.

    Raises:
        EncoderRefused: no such file, damaged, or for other images.

    """
    path = Path(path)
    if not path.is_file():
        raise EncoderRefused(
            f"no encoder {path}: give a TorchScript file, or .safetensors with its .json next to it"
        )
    encoder: nn.Module
    if path.suffix == ".safetensors":
        encoder = _safetensors(path, image_shape)
    else:
        encoder = _torchscript(path)
    # A trial: a file that loads may still be for other images.
    feature_channels(encoder, image_shape)
    return encoder


def _torchscript(path: Path) -> nn.Module:
    try:
        return freeze(torch.jit.load(path, map_location="cpu"))
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise EncoderRefused(
            f"{path} is not a TorchScript file ({type(error).__name__}): save one with"
            " torch.jit.save"
        ) from None


def _safetensors(path: Path, image_shape: tuple[int, int, int]) -> NoisyEncoder:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description = path.with_suffix(".json")
    try:
        described = json.loads(description.read_text(encoding="utf-8"))
        made_for = tuple(described["image_shape"])
        options = EncoderOptions(**described["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderRefused(
            f"{description} does not give the encoder's options ({type(error).__name__})"
        ) from None
    if made_for != tuple(image_shape):
        raise EncoderRefused(
            f"{path} is for images {list(made_for)}, these are {list(image_shape)}"
        )
    # On the CPU whatever the default device: the file's weights are copied into these.
    with torch.device("cpu"):
        encoder = NoisyEncoder(made_for, options)
    try:
        encoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise EncoderRefused(
            f"{path} does not hold what {description.name} says ({type(error).__name__})"
        ) from None
    freeze(encoder)
    return encoder

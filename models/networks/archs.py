"""The networks by name; each returns the preconditioned denoiser D(x, sigma, labels=None,
augment_labels=None).
"""

from __future__ import annotations

from collections.abc import Sequence

from models.networks.unet import ADM, DDPMPP, NCSNPP, Family, UNet
from models.objectives.edm import EDMDenoiser


def _denoiser(family: Family, **options) -> EDMDenoiser:
    return EDMDenoiser(UNet(family, **options), label_dim=options["label_dim"])


def ddpmpp(
    img_resolution: int = 32,
    img_channels: int = 3,
    label_dim: int = 0,
    augment_dim: int = 9,
    model_channels: int = 128,
    channel_mult: Sequence[int] = (2, 2, 2),
    num_blocks: int = 4,
    attn_resolutions: Sequence[int] = (16,),
    dropout: float = 0.13,
) -> EDMDenoiser:
    """DDPM++ (Song et al. 2021) as in Karras et al. 2022, Table 7; 55.73 M parameters at the
    CIFAR-10 default.
    """
    return _denoiser(DDPMPP, **locals())


def ncsnpp(
    img_resolution: int = 32,
    img_channels: int = 3,
    label_dim: int = 0,
    augment_dim: int = 9,
    model_channels: int = 128,
    channel_mult: Sequence[int] = (2, 2, 2),
    num_blocks: int = 4,
    attn_resolutions: Sequence[int] = (16,),
    dropout: float = 0.13,
) -> EDMDenoiser:
    """NCSN++ (Song et al. 2021) as in Karras et al. 2022, Table 7; 56.40 M parameters at the
    CIFAR-10 default.
    """
    return _denoiser(NCSNPP, **locals())


def adm(
    img_resolution: int = 64,
    img_channels: int = 3,
    label_dim: int = 1000,
    augment_dim: int = 0,
    model_channels: int = 192,
    channel_mult: Sequence[int] = (1, 2, 3, 4),
    num_blocks: int = 3,
    attn_resolutions: Sequence[int] = (32, 16, 8),
    dropout: float = 0.10,
) -> EDMDenoiser:
    """ADM (Dhariwal & Nichol 2021) as in Karras et al. 2022, Table 7; 295.9 M parameters at the
    ImageNet-64 default.
    """
    return _denoiser(ADM, **locals())


def small(
    img_resolution: int = 8,
    img_channels: int = 1,
    label_dim: int = 0,
    augment_dim: int = 0,
    model_channels: int = 32,
    channel_mult: Sequence[int] = (1, 2),
    num_blocks: int = 1,
    attn_resolutions: Sequence[int] = (),
    dropout: float = 0.0,
) -> EDMDenoiser:
    """A DDPM++ of a few hundred thousand parameters, for images of 1 to 32 pixels on a laptop."""
    return _denoiser(DDPMPP, **locals())

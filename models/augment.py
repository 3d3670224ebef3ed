"""Non-leaking augmentation: flips and warps images, and describes this to the denoiser by labels.

Karras et al. 2022, F.2. The labels are the parameters: ``transform(images, labels)`` repeats what
``Augment`` drew. Zeros leave an image as it is, so that a network sampled with zero labels draws
images without augmentation.

=====  ==========  =======================================  ========================================
label  transform   value, 0 if not applied                  effect
=====  ==========  =======================================  ========================================
0      xflip       1 with probability 1/2                   left and right swapped, pixel for pixel
1      yflip       1 with probability 1/2                   top and bottom swapped, pixel for pixel
2      scale       w ~ N(0, 1)                              enlarged by 2^(0.2 w)
3, 4   rotation    cos a - 1, sin a; a ~ U(-pi, pi)         turned by a, counter-clockwise as seen
5, 6   anisotropy  w cos r, w sin r; w ~ N(0, 1),           enlarged by 2^(0.2 abs w) along this
                   r ~ U(-pi, pi)                           direction (right, up), shrunk across it
7, 8   translate   w_x, w_y ~ N(0, 1)                       moved w_x / 8 of the side right, w_y / 8
                                                            down
=====  ==========  =======================================  ========================================

They apply in this order. Everything from the scale on is one resampling, as in StyleGAN2-ADA
(Karras et al. 2020, App. B): the image, extended by reflection, is upsampled by two with the
orthogonal wavelet filter sym6, sampled bilinearly and filtered down with the same filter. Whole
turns by 90 degrees are split off and done by moving pixels. Overshoots of the filter are not
clipped.

In EDM a w < 0 shrinks along r, so that (w, r) and (-w, r + pi), opposite stretches, share a label.
Here the label decides: the distributions of the stretches and of the labels stay, but one is now a
function of the other. Reflection continues however far a transform reaches. The senses of the
angles and of the translation are ours; their distributions are symmetric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TRANSFORMS = ("xflip", "yflip", "scale", "rotation", "anisotropy", "translate")
GROUPS = (0, 1, 2, 3, 3, 4, 4, 5, 5)  # the transform that each label belongs to

SCALE_STD = 0.2  # of log2 of the factor
ANISOTROPY_STD = 0.2
TRANSLATE_STD = 0.125  # of the image side

# Low-pass filter of the Symlet with 6 vanishing moments (Daubechies 1992, Ten Lectures on Wavelets,
# Table 6.3).
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
# Sample m of an upsampled signal is at pixel (m - DELAY) / 2.
DELAY = sum(m * tap for m, tap in enumerate(SYM6)) / sum(SYM6)

# Images warped at once: their upsampled copies then stay within the processor's cache.
CHUNK = 32


@dataclass(frozen=True)
class Augmented:
    """Augmented images and their labels, float32, both on the images' device.

    Attributes:
        images: ``[n, c, s, s]``.
        labels: ``[n, 9]``.

    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Augment:
    """The augmentation of a training run.

    Attributes:
        p: probability of each transform, 0.12 for CIFAR-10 (Karras et al. 2022, App. F.2). x-flips
            are always on, unless p is 0; so an image is x-flipped with probability 1/2 and
            y-flipped with probability p/2.
        transforms: those that may be applied, of ``TRANSFORMS``.

    Raises:
        ValueError: p is no probability, or a transform is unknown.

    """

    p: float = 0.12
    transforms: tuple[str, ...] = TRANSFORMS

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p={self.p} is not a probability; take one in [0, 1]")
        unknown = set(self.transforms) - set(TRANSFORMS)
        if unknown:
            raise ValueError(
                f"unknown transforms {sorted(unknown)}; known are {', '.join(TRANSFORMS)}"
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Augment ``images`` ``[n, c, s, s]`` in [-1, 1] with numbers of the CPU ``generator``."""
        labels = self.draw(len(images), generator)
        return Augmented(transform(images, labels), labels.to(images.device))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw labels ``[n, 9]``.

        Each image takes 14 uniform numbers, whatever is applied to it, so that parts of a batch
        draw the same labels as the whole.
        """
        # Uniform numbers only, in float64: torch's normal numbers depend on how many are drawn at
        # once.
        options: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
        uniform = torch.rand(n, len(TRANSFORMS) + 8, generator=generator, **options)
        gate, value = uniform.split([len(TRANSFORMS), 8], dim=1)
        applied = gate < torch.tensor([self._probability(name) for name in TRANSFORMS], **options)
        # The inverse of the normal distribution; at 0 it would be infinite.
        normal = torch.special.ndtri(value.clamp_min(2**-54))
        turn = math.pi * (2 * value[:, 3] - 1)
        axis = math.pi * (2 * value[:, 5] - 1)
        labels = [
            (value[:, 0] < 0.5).double(),
            (value[:, 1] < 0.5).double(),
            normal[:, 2],
            turn.cos() - 1,
            turn.sin(),
            normal[:, 4] * axis.cos(),
            normal[:, 4] * axis.sin(),
            normal[:, 6],
            normal[:, 7],
        ]
        return torch.where(applied[:, GROUPS], torch.stack(labels, dim=1), 0.0).float()

    def _probability(self, name: str) -> float:
        if name not in self.transforms:
            return 0.0
        if name == "xflip":
            return float(self.p > 0)
        return self.p


def transform(images: Tensor, labels: Tensor) -> Tensor:
    """Transform images as their labels describe.

    An image is resampled only if its labels 2 to 8 ask for it: resampling by nothing would still
    blur it a little.

    Args:
        images: ``[n, c, s, s]``, float, s >= 2.
        labels: ``[n, 9]``, see the module; on the CPU, so that choosing the images to change does
            not wait for a GPU.

    Raises:
        ValueError: a shape or dtype is another, or the labels are elsewhere.

    """
    _check(images, labels)
    angle = torch.atan2(labels[:, 4].double(), labels[:, 3].double() + 1)
    turns = (angle / (math.pi / 2)).round()
    inverse = _inverse_linear(labels, angle - turns * math.pi / 2)
    shift = _shift(labels, images.shape[-1])

    images = images.clone()
    left_right = _rows(labels[:, 0] != 0, images)
    images[left_right] = images[left_right].flip(3)
    top_bottom = _rows(labels[:, 1] != 0, images)
    images[top_bottom] = images[top_bottom].flip(2)
    for quarter in (1, 2, 3):
        turned = _rows(turns % 4 == quarter, images)
        images[turned] = images[turned].rot90(quarter, (2, 3))
    resampled = (labels[:, 2:] != 0).any(1)
    if resampled.any():
        rows = _rows(resampled, images)
        images[rows] = _warp(images[rows], inverse[resampled], shift[resampled])
    return images


def _check(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or images.shape[2] != images.shape[3] or images.shape[2] < 2:
        raise ValueError(
            f"images are {list(images.shape)}; augmentation takes square ones [n, c, s, s] with s"
            " >= 2"
        )
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; scale them to floats in [-1, 1] first")
    if labels.shape != (len(images), len(GROUPS)) or labels.device.type != "cpu":
        raise ValueError(
            f"labels are {list(labels.shape)} on {labels.device}; take [{len(images)}, 9] on"
            " the CPU"
        )


def _rows(mask: Tensor, images: Tensor) -> Tensor:
    """Find the rows of a mask ``[n]`` on the CPU, for use on the images' device."""
    # A mask on a GPU would make the CPU wait until the number of rows is known.
    return mask.nonzero().flatten().to(images.device)


def _inverse_linear(labels: Tensor, angle: Tensor) -> Tensor:
    """Compute (A R S)^-1 ``[n, 2, 2]`` in float64, acting on (right, down).

    The scale S comes first, then the rotation R, then the anisotropy A.
    """
    scale = torch.exp2(-SCALE_STD * labels[:, 2].double())
    return scale[:, None, None] * _rotation(-angle) @ _stretch(labels, sign=-1)


def _rotation(angle: Tensor) -> Tensor:
    """Compute rotations ``[n, 2, 2]`` by ``angle`` ``[n]``, counter-clockwise as displayed."""
    cos = angle.cos()
    sin = angle.sin()
    # The second axis points down: in its coordinates the sense is the opposite of the usual one.
    return torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)


def _stretch(labels: Tensor, sign: int) -> Tensor:
    """Compute the anisotropy ``[n, 2, 2]`` for sign 1, its inverse for -1.

    It is the factor f along the labels' axis and 1/f across it.
    """
    right = labels[:, 5].double()
    up = labels[:, 6].double()
    axis = torch.atan2(up, right)
    factor = torch.exp2(sign * ANISOTROPY_STD * torch.hypot(right, up))
    diagonal = torch.diag_embed(torch.stack([factor, 1 / factor], dim=1))
    return _rotation(axis) @ diagonal @ _rotation(-axis)


def _shift(labels: Tensor, side: int) -> Tensor:
    """Compute the translation ``[n, 2]`` in pixels, (right, down), float64."""
    return TRANSLATE_STD * side * labels[:, 7:9].double()


def _warp(images: Tensor, inverse: Tensor, shift: Tensor) -> Tensor:
    """Resample ``[n, c, s, s]``: the point x from the centre moves to ``inverse``^-1 x + ``shift``.

    ``inverse`` and ``shift`` are in float64.
    """
    side = images.shape[-1]
    up = _up_matrix(side).to(images)
    down = _down_matrix(side).to(images)
    parts = zip(images.split(CHUNK), inverse.split(CHUNK), shift.split(CHUNK), strict=True)
    return torch.cat([_warp_part(*part, up, down) for part in parts])


def _warp_part(images: Tensor, inverse: Tensor, shift: Tensor, up: Tensor, down: Tensor) -> Tensor:
    side = images.shape[-1]
    period = len(up) - 1
    centre = side - 1 + DELAY  # of the image, on the upsampled grid
    m = torch.arange(down.shape[1], dtype=images.dtype, device=images.device) - centre
    # An upsampled point q comes from inverse (q - 2 shift). Its offset is computed in float64: in
    # float32 it would move the image by a visible part of a pixel at far translations.
    offset = (centre - inverse @ (2 * shift)[:, :, None]).to(images)  # [n, 2, 1]
    inverse = inverse.to(images)
    # [n, 2, l] each, for the columns and for the rows of q.
    across = inverse[:, :, :1] * m
    along = inverse[:, :, 1:] * m + offset
    source = across[:, :, None, :] + along[:, :, :, None]  # [n, 2, l, l]
    # Into [-1, 1], as grid_sample counts; the signal is periodic, so nothing is outside.
    grid = source.remainder(period).mul_(2 / period).sub_(1).permute(0, 2, 3, 1)
    fine = up @ (images @ up.T)  # [n, c, period + 1, period + 1]
    sampled = F.grid_sample(fine, grid, mode="bilinear", align_corners=True)
    return down @ (sampled @ down.T)


def _up_matrix(side: int) -> Tensor:
    """Make the upsampling of one axis ``[period + 1, side]``, float64.

    Its rows are one period of the endlessly reflected pixels. Reflection about the outer pixels'
    centres makes the pixels 2 (side - 1)-periodic, and the upsampled signal 4 (side - 1)-periodic
    whatever the filter: it holds all that any transform may ask for. Its first sample is repeated
    at the end, to interpolate towards it.
    """
    period = 4 * (side - 1)
    matrix = torch.zeros(period + 1, side, dtype=torch.float64, device="cpu")
    for index, tap in enumerate(SYM6):
        # Every second sample: upsampling puts zeros between the pixels before it filters.
        m = torch.arange(index % 2, period + 1, 2, device="cpu")
        pixel = ((m - index) // 2) % (period // 2)
        folded = (side - 1) - (pixel - (side - 1)).abs()
        # The filter's taps sum to sqrt(2); the zeros in between halve the mean.
        matrix[m, folded] += math.sqrt(2) * tap
    return matrix


def _down_matrix(side: int) -> Tensor:
    """Make the down-sampling of one axis ``[side, 2 (side - 1) + 12]``, float64.

    It is the transpose of upsampling, scaled so that the mean is kept.
    """
    matrix = torch.zeros(side, 2 * (side - 1) + len(SYM6), dtype=torch.float64, device="cpu")
    rows = torch.arange(side, device="cpu")
    for index, tap in enumerate(SYM6):
        matrix[rows, 2 * rows + index] = tap / math.sqrt(2)
    return matrix

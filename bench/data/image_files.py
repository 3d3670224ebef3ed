"""A user's own image files, decoded: what ``image-folder`` and ``image-zip`` share."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.data.contract import DataError, Split

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
HELD_OUT = 10  # every 10th image of a class is held out


@dataclass(frozen=True)
class ImageFile:
    """One encoded image: its name in messages, its class as the user names it, and how to read its bytes."""

    name: str
    label: str | int
    read: Callable[[], bytes]


def is_image(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, so that a damaged one is refused and not passed over."""
    return name.lower().endswith(SUFFIXES)


def hold_out(files: Sequence[ImageFile]) -> tuple[list[ImageFile], list[ImageFile]]:
    """Cut in two: of each class the 10th, 20th, ... file, in the order given, is held out.

    Raises:
        DataError: no class has as many.

    """
    seen: dict[str | int, int] = {}
    train, test = [], []
    for file in files:
        seen[file.label] = seen.get(file.label, 0) + 1
        (train if seen[file.label] % HELD_OUT else test).append(file)
    if not test:
        raise DataError(
            f"every {HELD_OUT}th image of a class is held out for testing, and no class has {HELD_OUT} images "
            f"(the largest has {max(seen.values())}): add images"
        )
    return train, test


def decode(
    train: Sequence[ImageFile], test: Sequence[ImageFile], resolution: int | None, title: str
) -> tuple[Split, Split, int]:
    """Decode both splits to uint8 ``[n, c, h, w]``; labels number the classes of ``train``, sorted.

    There is one channel if red, green and blue are equal in all images of both splits, and three otherwise.

    Args:
        train: the files to train on.
        test: the files held out.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        title: what the progress bar says.

    Returns:
        The two splits and the number of classes.

    Raises:
        DataError: an image cannot be read, sizes differ, or a class occurs in ``test`` alone.

    """
    classes = {label: number for number, label in enumerate(sorted({file.label for file in train}))}
    if stray := next((file for file in test if file.label not in classes), None):
        raise DataError(
            f"{stray.name} is of class {stray.label!r}, which has no training image: add some, or remove it"
        )
    files = [*train, *test]
    images = decode_images(files, resolution, title)
    labels = torch.tensor([classes[file.label] for file in files])
    cut = len(train)
    return Split(images[:cut], labels[:cut]), Split(images[cut:], labels[cut:]), len(classes)


def decode_images(files: Sequence[ImageFile], resolution: int | None, title: str) -> Tensor:
    """Decode ``files``, in order, to uint8 ``[n, c, side, side]``, with one channel if all are greyscale.

    Raises:
        DataError: an image cannot be read, or without ``resolution`` is not square or not of the first one's size.

    """
    from tqdm import tqdm

    pixels = np.empty((0,))
    for row, file in enumerate(tqdm(files, desc=title, unit="image", disable=None)):
        picture = _decode_one(file, resolution)  # [side, side, 3]
        if row == 0:
            pixels = np.empty((len(files), 3, *picture.shape[:2]), np.uint8)
        if picture.shape[:2] != pixels.shape[2:]:
            raise DataError(
                f"images are of unequal size ({files[0].name} is {_size(pixels[0, 0])}, {file.name} is "
                f"{_size(picture)}): pass --resolution N to bring them to N x N pixels"
            )
        pixels[row] = picture.transpose(2, 0, 1)
    grey = all(np.array_equal(pixels[:, 0], pixels[:, channel]) for channel in (1, 2))
    return torch.from_numpy(pixels[:, :1].copy() if grey else pixels)


def _decode_one(file: ImageFile, resolution: int | None) -> np.ndarray:
    """One image as uint8 ``[side, side, 3]``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(file.read())) as opened:
            deep = opened.mode in ("I", "F") or opened.mode.startswith("I;")
            picture = opened if deep else to_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise DataError(f"{file.name} cannot be read ({type(error).__name__}): repair or remove it") from error
    if deep:  # what range its levels use cannot be known
        raise DataError(
            f"{file.name} holds more than 8 bits a pixel of grey (mode {picture.mode}): convert it to 8 bits"
        )
    if resolution is None and picture.width != picture.height:
        raise DataError(
            f"{file.name} is {picture.width}x{picture.height} pixels, not square: "
            "pass --resolution N to crop to the centre and resize"
        )
    return np.asarray(picture if resolution is None else resize(picture, resolution))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Bring any 8-bit image (grey, palette, CMYK, ...) to RGB, with what is transparent laid over black."""
    from PIL import Image

    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return picture.convert("RGB")


def resize(picture: Image.Image, side: int) -> Image.Image:
    """Crop to the centred square, then average over areas (Pillow's BOX filter; it repeats pixels to enlarge)."""
    from PIL import Image

    short = min(picture.size)
    left, top = ((length - short) // 2 for length in picture.size)
    square = (left, top, left + short, top + short)
    return picture.crop(square).resize((side, side), Image.Resampling.BOX)


def _size(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    return f"{width}x{height}"

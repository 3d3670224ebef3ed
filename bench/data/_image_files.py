"""Decoding of a user's own image files, for ``image-folder`` and ``image-zip``."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.data._remarks import ANIMATED, COPY, DEEP, Remarks
from bench.data.contract import DataError, Split

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
# Photographs that Pillow reads only with a plug-in, if at all. Skipping them would change the data
# set in silence.
UNREAD = (
    ".arw",
    ".avif",
    ".cr2",
    ".cr3",
    ".dng",
    ".exr",
    ".heic",
    ".heif",
    ".j2k",
    ".jp2",
    ".jxl",
    ".nef",
    ".psd",
)
HELD_OUT = 10  # every 10th image of a class is held out
FEWEST = 2  # images of a split: with one there is no covariance


@dataclass(frozen=True)
class ImageFile:
    """One encoded image: its name in messages, its class as the user names it, and how to read its
    bytes.
    """

    name: str
    label: str | int
    read: Callable[[], bytes]


def is_image(name: str) -> bool:
    """True if a file is taken for an image: by its suffix, so that an unreadable one is refused
    instead of skipped.
    """
    return name.lower().endswith(SUFFIXES + UNREAD)


def refuse_unread(files: Sequence[ImageFile]) -> None:
    """Refuse images in formats that are not read.

    Raises:
        DataError: with their number and one example.

    """
    unread = [file.name for file in files if file.name.lower().endswith(UNREAD)]
    if unread:
        raise DataError(
            f"{len(unread)} of {len(files)} images are in a format that is not read here, such as"
            f" {unread[0]}: convert them to PNG or JPEG, or remove them"
        )


def refuse_few(train: Sequence[ImageFile], test: Sequence[ImageFile]) -> None:
    """Refuse splits that no distance can be measured in.

    Raises:
        DataError: a split has fewer than ``FEWEST`` images.

    """
    for files, split, folder in ((train, "training", "train/"), (test, "held-out", "test/")):
        if len(files) < FEWEST:
            raise DataError(
                f"{len(files)} {split} image: at least {FEWEST} (better 100) are needed; "
                f"add images or put some into {folder}"
            )


def hold_out(files: Sequence[ImageFile]) -> tuple[list[ImageFile], list[ImageFile]]:
    """Cut in two: of each class the 10th, 20th, ... file, in the order given, is held out.

    Raises:
        DataError: no class has as many.

    """
    # By position, not at random: adding an image to one class moves no image of another.
    seen: dict[str | int, int] = {}
    train: list[ImageFile] = []
    test: list[ImageFile] = []
    for file in files:
        seen[file.label] = seen.get(file.label, 0) + 1
        split = train if seen[file.label] % HELD_OUT else test
        split.append(file)
    if not test:
        raise DataError(
            f"every {HELD_OUT}th image of a class is held out for testing, and no class has"
            f" {HELD_OUT} images (the largest has {max(seen.values())}): add images, or put some"
            " into test/"
        )
    return train, test


def decode(
    train: Sequence[ImageFile],
    test: Sequence[ImageFile],
    resolution: int | None,
    title: str,
    remarks: Remarks | None = None,
) -> tuple[Split, Split, int]:
    """Decode both splits to uint8 ``[n, c, h, w]``; labels number the classes of ``train``, sorted.

    There is one channel if red, green and blue are equal in all images of both splits, else three.

    Args:
        train: the files to train on.
        test: the files held out.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        title: of the progress bar.
        remarks: counts odd images, and held-out images that equal a training image.

    Returns:
        The two splits and the number of classes.

    Raises:
        DataError: an image cannot be read, sizes differ, or a class occurs in ``test`` only.

    """
    labels_of_train = sorted({file.label for file in train})
    classes = {label: number for number, label in enumerate(labels_of_train)}
    for file in test:
        if file.label not in classes:
            raise DataError(
                f"{file.name} is of class {file.label!r}, which has no training image: add some,"
                " or remove it"
            )
    # Together, so that both splits have the same number of channels.
    files = [*train, *test]
    remarks = remarks or Remarks()
    images = decode_images(files, resolution, title, remarks)
    labels = torch.tensor([classes[file.label] for file in files])
    cut = len(train)
    # Images in both splits would make a copy look like a success on new data.
    known = set(map(_digest, images[:cut]))
    for file, image in zip(test, images[cut:], strict=True):
        if _digest(image) in known:
            remarks.add(COPY, file.name)
    return Split(images[:cut], labels[:cut]), Split(images[cut:], labels[cut:]), len(classes)


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()


def decode_images(
    files: Sequence[ImageFile], resolution: int | None, title: str, remarks: Remarks | None = None
) -> Tensor:
    """Decode ``files``, in order, to uint8 ``[n, c, side, side]``, with one channel if all are
    greyscale.

    Raises:
        DataError: an image cannot be read, or without ``resolution`` is not square or not of the
            first one's size; or memory cannot hold them.

    """
    from PIL import Image
    from tqdm import tqdm

    remarks = remarks or Remarks()
    pixels = np.empty((0,))
    # Photographs of many pixels are no attack, so no warning; Pillow still refuses more than twice
    # its limit.
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        for row, file in enumerate(tqdm(files, desc=title, unit="image", disable=None)):
            picture = _decode_one(file, resolution, remarks)  # [side, side, 3]
            # The first image gives the size: one array for all needs half the memory of a list.
            if row == 0:
                pixels = room(len(files), *picture.shape[:2])
            if picture.shape[:2] != pixels.shape[2:]:
                raise DataError(
                    f"images are of unequal size ({files[0].name} is {_size(pixels[0, 0])},"
                    f" {file.name} is {_size(picture)}): pass --resolution N to bring them to N x N"
                    " pixels"
                )
            pixels[row] = picture.transpose(2, 0, 1)
    grey = all(np.array_equal(pixels[:, 0], pixels[:, channel]) for channel in (1, 2))
    return torch.from_numpy(pixels[:, :1].copy() if grey else pixels)


def room(count: int, height: int, width: int) -> np.ndarray:
    """Uninitialised uint8 ``[count, 3, height, width]``.

    Raises:
        DataError: memory cannot hold it.

    """
    try:
        return np.empty((count, 3, height, width), np.uint8)
    except MemoryError:
        size = count * 3 * height * width / 1e9
        raise DataError(
            f"{count:,} images of {width}x{height} pixels take {size:,.0f} GB: pass a smaller"
            " --resolution N"
        ) from None


def _decode_one(file: ImageFile, resolution: int | None, remarks: Remarks) -> np.ndarray:
    """One image as uint8 ``[side, side, 3]``."""
    from PIL import Image, ImageOps

    try:
        content = file.read()
        with Image.open(io.BytesIO(content)) as opened:
            deep = opened.mode in ("I", "F") or opened.mode.startswith("I;")
            picture = opened if deep else to_rgb(ImageOps.exif_transpose(opened))
            several = _has_frames(opened)
    except DataError:
        raise  # by ``read``
    except Image.DecompressionBombError:
        raise DataError(
            f"{file.name} has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller"
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise DataError(
            f"{file.name} cannot be read ({type(error).__name__}): repair or remove it"
        ) from error
    # The range of its levels cannot be known: 12 of 16 bits are common.
    if deep:
        raise DataError(
            f"{file.name} is a grey image of more than 8 bits per pixel (mode {picture.mode}):"
            " convert it to 8 bits"
        )
    if resolution is None and picture.width != picture.height:
        raise DataError(
            f"{file.name} is {picture.width}x{picture.height} pixels, not square: "
            "pass --resolution N to crop to the centre and resize"
        )
    if several:
        remarks.add(ANIMATED, file.name)
    if _is_deep_png(content):
        remarks.add(DEEP, file.name)
    return np.asarray(picture if resolution is None else resize(picture, resolution))


def _has_frames(picture: Image.Image) -> bool:
    """True if there are more frames than the first, as in an animation.

    The preview in a camera's JPEG (MPO) is none.
    """
    try:
        return picture.format != "MPO" and getattr(picture, "is_animated", False)
    # A second frame that is damaged does no harm to the first.
    except Exception:  # noqa: BLE001 - a damaged file fails in many ways
        return True


def _is_deep_png(content: bytes) -> bool:
    """True for a PNG of 16 bits per channel, of which Pillow gives the upper 8 (PNG specification,
    IHDR).
    """
    return content.startswith(b"\x89PNG\r\n\x1a\n") and content[24] == 16


def to_rgb(picture: Image.Image) -> Image.Image:
    """Bring any 8-bit image (grey, palette, CMYK, ...) to RGB, transparent parts over black."""
    from PIL import Image

    # Plain conversion would drop the alpha channel and show whatever colour is hidden below it.
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return picture.convert("RGB")


def resize(picture: Image.Image, side: int) -> Image.Image:
    """Crop to the centred square, then average over areas (Pillow's BOX filter; it repeats pixels
    to enlarge).
    """
    from PIL import Image

    short = min(picture.size)
    left, top = ((length - short) // 2 for length in picture.size)
    square = (left, top, left + short, top + short)
    return picture.crop(square).resize((side, side), Image.Resampling.BOX)


def _size(pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    return f"{width}x{height}"

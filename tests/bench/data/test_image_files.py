import io

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data import DataError
from bench.data._image_files import (
    ImageFile,
    decode,
    decode_images,
    hold_out,
    is_image,
    resize,
    room,
    to_rgb,
)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def file_of(content, name="a.png", label=0):
    if isinstance(content, Image.Image):
        content = encoded(content)
    return ImageFile(name, label, lambda: content)


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_colour_images_come_out_bit_for_bit_and_in_order():
    pixels = random_pixels(5, 6, 6, 3)
    images = decode_images([file_of(Image.fromarray(p)) for p in pixels], None, "")
    assert torch.equal(images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert images.is_contiguous()


def test_grey_images_alone_have_one_channel():
    pixels = random_pixels(4, 6, 6)
    grey = [Image.fromarray(p) for p in pixels]
    stored = [grey[0], grey[1].convert("RGB"), grey[2].convert("LA"), grey[3].convert("RGBA")]
    images = decode_images([file_of(picture) for picture in stored], None, "")
    assert torch.equal(images, torch.from_numpy(pixels)[:, None])


def test_one_colour_image_gives_the_grey_ones_three_channels():
    grey, colour = random_pixels(4, 4), random_pixels(4, 4, 3)
    images = decode_images(
        [file_of(Image.fromarray(grey)), file_of(Image.fromarray(colour))], None, ""
    )
    assert torch.equal(images[0], torch.from_numpy(grey).expand(3, 4, 4))
    assert torch.equal(images[1], torch.from_numpy(colour).permute(2, 0, 1))


def test_a_black_and_white_image_spans_the_whole_range():
    bits = np.eye(4, dtype=np.uint8) * 255
    picture = Image.fromarray(bits).convert("1")
    assert torch.equal(decode_images([file_of(picture)], None, "")[0, 0], torch.from_numpy(bits))


def test_transparency_is_laid_over_black_whatever_colour_hides_behind_it():
    rgba = np.zeros((1, 3, 4), np.uint8)
    # Opaque, absent, one fifth
    rgba[0] = [[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]
    got = np.asarray(to_rgb(Image.fromarray(rgba)))
    assert got[0].tolist() == [[200, 100, 50], [0, 0, 0], [40, 20, 10]]


def test_a_palette_gives_its_colours_and_its_transparent_entry_black():
    picture = Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata([0, 1, 2])
    with Image.open(io.BytesIO(encoded(picture, transparency=b"\xff\x00\xff"))) as opened:
        assert opened.mode == "P"
        assert np.asarray(to_rgb(opened))[0].tolist() == [[10, 20, 30], [0, 0, 0], [70, 80, 90]]


def test_a_photograph_lying_on_its_side_is_set_upright():
    pixels = random_pixels(4, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: show it turned by 90 degrees clockwise
    images = decode_images([file_of(encoded(Image.fromarray(pixels), exif=exif))], None, "")
    assert torch.equal(images[0, 0], torch.from_numpy(np.rot90(pixels, -1).copy()))


def test_resize_averages_the_blocks_of_the_centred_square():
    pixels = random_pixels(8, 14, 3)  # wider than high: 3 columns go on either side
    blocks = pixels[:, 3:11].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    got = np.asarray(resize(Image.fromarray(pixels), 4)).astype(float)
    turned = (
        np.asarray(resize(Image.fromarray(pixels.transpose(1, 0, 2)), 4))
        .transpose(1, 0, 2)
        .astype(float)
    )
    for found in (got, turned):
        # Pillow rounds twice, after rows and after columns
        assert np.abs(found - blocks).max() <= 1


def test_images_of_all_sizes_are_brought_to_one():
    sizes = [(8, 8), (5, 9), (3, 3), (40, 20)]
    images = decode_images([file_of(Image.new("RGB", size, "red")) for size in sizes], 4, "")
    assert images.shape == (4, 3, 4, 4)
    assert images.unique(dim=0)[0, :, 0, 0].tolist() == [255, 0, 0]


def test_unequal_sizes_name_both_images_and_the_option():
    files = [file_of(Image.new("L", (4, 4)), "a.png"), file_of(Image.new("L", (6, 6)), "b.png")]
    with pytest.raises(DataError, match=r"a.png is 4x4, b.png is 6x6\): pass --resolution N"):
        decode_images(files, None, "")


def test_an_oblong_image_is_refused_with_the_option():
    with pytest.raises(DataError, match=r"a.png is 6x4 pixels, not square: pass --resolution N"):
        decode_images([file_of(Image.new("L", (6, 4)))], None, "")


whole = encoded(Image.fromarray(random_pixels(32, 32, 3)))
DAMAGED = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "truncated": whole[: len(whole) // 2],
    "header alone": whole[:20],
    "flipped": whole[:80] + bytes(byte ^ 255 for byte in whole[80:160]) + whole[160:],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_image_is_named_in_one_line(kind):
    files = [file_of(whole, "good.png"), file_of(DAMAGED[kind], "folder/bad.png")]
    with pytest.raises(
        DataError, match=r"^folder/bad\.png cannot be read \(\w+\): repair or remove it$"
    ):
        decode_images(files, None, "")


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_grey_of_more_than_8_bits_is_refused(kind):
    content = encoded(Image.fromarray(np.zeros((4, 4), kind)), "TIFF")
    with pytest.raises(
        DataError,
        match="a.tif is a grey image of more than 8 bits per pixel .* convert it to 8 bits",
    ):
        decode_images([file_of(content, "a.tif")], None, "")


def test_images_that_memory_cannot_hold_are_refused_with_the_option():
    with pytest.raises(
        DataError,
        match=r"1,000,000 images of 1000000x1000 pixels take 3,000,000 GB: pass a smaller --res",
    ):
        room(10**6, 10**3, 10**6)


def test_every_tenth_of_a_class_is_held_out_in_the_order_given():
    files = [ImageFile(f"{n}", "ab"[n % 2], bytes) for n in range(50)]
    train, test = hold_out(files)
    assert [file.name for file in test] == ["18", "19", "38", "39"]
    assert [file.name for file in train] == [str(n) for n in range(50) if n not in (18, 19, 38, 39)]


def test_a_class_below_ten_is_trained_on_whole_and_all_below_ten_are_refused():
    few = [ImageFile(f"f{n}", "few", bytes) for n in range(9)]
    train, test = hold_out([*few, *(ImageFile(f"m{n}", "many", bytes) for n in range(10))])
    assert [file.name for file in test] == ["m9"]
    assert len(train) == 18
    with pytest.raises(DataError, match=r"the largest has 9\): add images, or put some into test/"):
        hold_out(few)


def test_classes_are_numbered_in_their_order_and_those_of_test_must_be_known():
    picture = Image.new("L", (2, 2))
    train = [file_of(picture, label=label) for label in (7, 3, 40)]
    first, second, num_classes = decode(train, [file_of(picture, label=40)], None, "")
    assert (first.labels.tolist(), second.labels.tolist(), num_classes) == ([1, 0, 2], [2], 3)
    assert first.labels.dtype == torch.int64
    with pytest.raises(DataError, match="b.png is of class 5, which has no training image"):
        decode(train, [file_of(picture, "b.png", label=5)], None, "")


def test_images_are_known_by_their_suffix():
    assert all(map(is_image, ("a.png", "b.JPG", "c/d.jpeg", "e.webp")))
    assert not any(map(is_image, ("a.txt", "png", "b.png.part", "Thumbs.db", "dataset.json")))

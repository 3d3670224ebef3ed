import dataclasses

import pytest
import torch

from bench.data import (
    OWN_DATA,
    OWN_IMAGES,
    DataError,
    Dataset,
    Split,
    as_images,
    check_resolution,
    load,
    names,
)

EMBEDDED = ("digits", "eight-gaussians", "moons")
FROM_FILES = ("cifar10", "fashion-mnist", "fashion-mnist-16")
# Points at published scales: tests/bench/data/test_plane.py
PUBLISHED = (
    "c2ot-8gaussians",
    "c2ot-moons",
    "c2ot-moons-x",
    "dsb-8gaussians",
    "dsb-moons",
    "sf2m-8gaussians",
    "sf2m-moons",
    "sf2m-scurve",
)
# name: (train, test, image shape, classes, dtype)
EXPECTED = {
    "cifar10": (50_000, 10_000, (3, 32, 32), 10, torch.uint8),
    "digits": (1437, 360, (1, 8, 8), 10, torch.float32),
    "eight-gaussians": (10_000, 10_000, (2, 1, 1), 8, torch.float32),
    "fashion-mnist": (60_000, 10_000, (1, 32, 32), 10, torch.uint8),
    "fashion-mnist-16": (60_000, 10_000, (1, 16, 16), 10, torch.uint8),
    "moons": (10_000, 10_000, (2, 1, 1), 2, torch.float32),
}


def rows(images):
    return set(map(tuple, images.flatten(1).tolist()))


def assert_contract(name, dataset):
    num_train, num_test, shape, num_classes, dtype = EXPECTED[name]
    assert (dataset.name, dataset.image_shape, dataset.num_classes) == (name, shape, num_classes)
    for split, size in ((dataset.train, num_train), (dataset.test, num_test)):
        assert len(split) == size
        assert split.images.shape == (size, *shape)
        assert split.images.dtype == dtype
        assert split.images.is_contiguous()
        assert split.labels.shape == (size,)
        assert split.labels.dtype == torch.int64
        assert split.labels.unique().tolist() == list(range(num_classes))
        images = as_images(split.images)
        assert images.dtype == torch.float32
        assert -1 <= images.min() < 0 < images.max() <= 1


def test_every_data_set_is_accounted_for():
    assert names() == tuple(sorted((*EXPECTED, *OWN_DATA, *PUBLISHED)))
    assert set(EXPECTED) == set(EMBEDDED + FROM_FILES)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_set_keeps_the_contract_without_files(name, tmp_path):
    assert_contract(name, load(name, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.data
@pytest.mark.parametrize("name", FROM_FILES)
def test_set_from_files_keeps_the_contract(name, real_data):
    assert_contract(name, load(name, real_data))


@pytest.mark.parametrize("name", EMBEDDED)
def test_loading_is_repeatable_and_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    first = load(name)
    torch.rand(1)
    torch.set_rng_state(before)
    second = load(name)
    assert first.checksum == second.checksum
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["eight-gaussians", "moons"])
def test_no_point_is_both_trained_on_and_held_out(name):
    dataset = load(name)
    assert len(rows(dataset.train.images)) == len(dataset.train)
    assert not rows(dataset.train.images) & rows(dataset.test.images)


@pytest.mark.parametrize(
    ("typed", "meant"), [("digit", "digits"), ("mons", "moons"), ("cifar-10", "cifar10")]
)
def test_unknown_name_offers_the_nearest(typed, meant):
    with pytest.raises(
        DataError, match=f"unknown data set '{typed}': did you mean {meant}"
    ) as raised:
        load(typed)
    assert all(name in str(raised.value) for name in names())


@pytest.mark.parametrize(
    "name", ["contract", "image-files", "image_files", "source", "zzz", "../digits"]
)
def test_only_data_sets_can_be_loaded(name):
    with pytest.raises(DataError, match="unknown data set"):
        load(name)


@pytest.mark.parametrize("name", EMBEDDED + FROM_FILES)
def test_a_set_of_fixed_size_refuses_a_resolution(name, tmp_path):
    with pytest.raises(DataError, match=f"--resolution 16: {name} has a fixed size, leave it out"):
        load(name, tmp_path, 16)
    check_resolution(name, None)


@pytest.mark.parametrize("name", OWN_IMAGES)
def test_own_images_refuse_a_resolution_below_one(name, tmp_path):
    with pytest.raises(DataError, match="--resolution 0: at least 1"):
        load(name, tmp_path, 0)


def small_dataset():
    train = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0]))
    test = Split(torch.ones(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 0]))
    return Dataset("small", train, test, num_classes=2)


def changed_pixel(d):
    images = d.train.images.clone()
    images[2, 0, 1, 1] = 1
    return dataclasses.replace(d, train=Split(images, d.train.labels))


def changed_label(d):
    return dataclasses.replace(d, test=Split(d.test.images, torch.tensor([0, 0])))


def changed_dtype(d):
    return dataclasses.replace(d, train=Split(d.train.images.view(torch.int8), d.train.labels))


def changed_shape(d):
    return dataclasses.replace(d, train=Split(d.train.images.reshape(3, 1, 1, 4), d.train.labels))


@pytest.mark.parametrize("change", [changed_pixel, changed_label, changed_dtype, changed_shape])
def test_checksum_sees_every_change(change):
    assert change(small_dataset()).checksum != small_dataset().checksum


def test_checksum_reads_values_not_memory_layout():
    dataset = small_dataset()
    strided = dataset.train.images.repeat_interleave(2, dim=0)[::2]
    same = dataclasses.replace(dataset, train=Split(strided, dataset.train.labels))
    assert same.checksum == dataset.checksum


def test_as_images_maps_bytes_to_the_interval_and_leaves_floats():
    stored = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(3, 1, 1, 1)
    torch.testing.assert_close(as_images(stored).flatten(), torch.tensor([-1.0, 1.0, -0.6]))
    floats = torch.tensor([0.25]).reshape(1, 1, 1, 1)
    assert as_images(floats) is floats

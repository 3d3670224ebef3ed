"""Arrays of a user's own: every kind of file, what is refused, and files larger than memory."""

import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.data import DataError, StoredImages, arrays, check_source, describe, is_users_own, load
from bench.data._stored import StoredError
from bench.pairs.pool import draw_pool
from bench.record import RunFolder
from bench.run import main
from bench.training.network import deviation

RNG = np.random.default_rng(0)
LATENTS = RNG.normal(0.1, 0.7, (200, 4, 8, 8)).astype(np.float32)
VECTORS = RNG.normal(0, 1, (200, 3))
PIXELS = RNG.integers(0, 256, (200, 3, 5, 5), dtype=np.uint8)
LABELS = np.arange(200) % 3
ONE_HOT = np.eye(3, dtype=int)[LABELS]


def write(path, **content):
    """Write arrays in the format of the suffix; a single one is called ``images``."""
    if path.suffix == ".npy":
        np.save(path, content["images"])
    elif path.suffix == ".npz":
        np.savez(path, **content)
    else:
        tensors = {name: torch.tensor(value) for name, value in content.items()}
        if path.suffix == ".safetensors":
            save_file(tensors, path)
        else:
            torch.save(tensors if len(tensors) > 1 else tensors["images"], path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("given", [LATENTS, VECTORS, PIXELS], ids=["latents", "vectors", "pixels"])
def test_every_file_gives_the_same_images(tmp_path, given, suffix):
    dataset = load("arrays", write(tmp_path / f"a{suffix}", images=given))
    whole = torch.cat([dataset.train.images, dataset.test.images])
    # The split is of a shuffled order, so rows are compared as sets.
    expected = torch.tensor(given).reshape(len(given), *whole.shape[1:])
    expected = expected if given.dtype == np.uint8 else expected.float()
    assert whole.dtype == expected.dtype
    assert sorted(whole.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())
    assert (len(dataset.train), len(dataset.test)) == (180, 20)
    assert dataset.num_classes == 1
    # Only pixels end at -1 and 1.
    assert dataset.bounded == (given.dtype == np.uint8)
    assert ("values as given" in describe(dataset)) == (given.dtype != np.uint8)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_labels_and_held_out_images_of_an_archive(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, images=LATENTS, labels=LABELS, test_images=LATENTS[:50], test_labels=LABELS[:50])
    dataset = load("arrays", path)
    assert torch.equal(dataset.train.images, torch.tensor(LATENTS))
    assert torch.equal(dataset.test.labels, torch.tensor(LABELS[:50]))
    assert dataset.num_classes == 3
    assert f"labels: labels of a{suffix}" in describe(dataset)


def test_files_of_a_folder_and_labels_next_to_a_file(tmp_path):
    write(tmp_path / "train.npz", images=LATENTS, labels=LABELS)
    write(tmp_path / "test.npy", images=LATENTS[:50])
    write(tmp_path / "test_labels.npy", images=LABELS[:50])
    dataset = load("arrays", tmp_path)
    assert torch.equal(dataset.test.labels, torch.tensor(LABELS[:50]))
    file = write(tmp_path / "all.npy", images=LATENTS)
    conditions = RNG.normal(size=(200, 2))
    write(tmp_path / "all_labels.npy", images=conditions)
    conditioned = load("arrays", file)
    assert conditioned.has_conditions
    # Rows keep their labels through the shuffle.
    by_image = dict(zip(LATENTS[:, 0, 0, 0].tolist(), conditions.tolist(), strict=True))
    for split in (conditioned.train, conditioned.test):
        expected = [by_image[value] for value in split.images[:, 0, 0, 0].tolist()]
        assert torch.equal(split.labels, torch.tensor(expected))


def test_half_precision_and_the_other_byte_order_are_read(tmp_path):
    for name in ("f2", ">f4", "f8"):
        path = write(tmp_path / "a.npy", images=LATENTS.astype(name))
        expected = torch.tensor(LATENTS.astype(name).astype(np.float32))
        for mapped_bytes in (10, 10**9):
            dataset = arrays.load(path, mapped_bytes)
            rows = torch.cat([dataset.train.images[:], dataset.test.images[:]])
            assert sorted(rows[:, 0, 0, 0].tolist()) == sorted(expected[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("given", [LATENTS, VECTORS, PIXELS], ids=["latents", "vectors", "pixels"])
def test_images_that_stay_in_their_file_are_those_in_memory(tmp_path, given, monkeypatch):
    monkeypatch.setattr("bench.data._stored.BLOCK_BYTES", 2**17)  # two rows at a time
    path = write(tmp_path / "a.npy", images=given)
    held = arrays.load(path)
    stored = arrays.load(path, mapped_bytes=10)
    assert isinstance(stored.train.images, StoredImages)
    assert stored.checksum == held.checksum
    assert stored.image_shape == held.image_shape
    assert describe(stored) == describe(held)
    assert deviation(stored) == pytest.approx(deviation(held), rel=1e-12)
    fifths = torch.arange(len(held.train)) % 5 == 0
    for key in (torch.tensor([5, 0, 7, 7]), slice(3, 9), slice(None), fifths, 2, -1):
        assert torch.equal(stored.train.images[key], held.train.images[key])
    parts = list(stored.train.images.split(7))
    assert torch.equal(torch.cat(parts), held.train.images)
    first, second = (draw_pool(each.train, 64, 0, 0, 3).pairs for each in (stored, held))
    assert torch.equal(first.images, second.images)
    # Runs made at once get it from a file: as a path, not as its images.
    assert len(pickle.dumps(stored.train.images)) < 8000
    again = pickle.loads(pickle.dumps(stored))
    assert torch.equal(again.test.images[:], held.test.images)


def test_a_file_that_changes_or_does_not_fit_is_one_line(tmp_path, monkeypatch):
    path = write(tmp_path / "a.npy", images=LATENTS)
    images = arrays.load(path, mapped_bytes=10).train.images
    with monkeypatch.context() as patch:
        patch.setattr("bench.data._stored.available_bytes", lambda device: 1000)
        assert images[:10].shape == (10, 4, 8, 8)
        with pytest.raises(StoredError, match="all 180 images at once take .* leave out"):
            images[:]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoredError, match="can no longer be read"):
        images[:10]


def with_nan(images):
    images = images.copy()
    images[3, 0, 0, 0] = np.nan
    return images


class Evil:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("ran",))


def saved(content):
    return lambda path: torch.save(content, path)


# Name of the file, what is in it, and words of the line.
BAD = {
    "no such file": ("a.npy", None, "there is no file"),
    "an unknown suffix": ("a.csv", lambda path: path.write_text("1,2"), "save the array as .npy"),
    "a damaged file": ("a.npy", lambda path: path.write_bytes(b"x" * 99), "write it again"),
    "a truncated archive": ("a.npz", lambda path: path.write_bytes(b"PK12"), "write it again"),
    "a broken safetensors": ("a.safetensors", lambda path: path.write_bytes(b"12"), "write it"),
    "Python objects": ("a.npy", np.array([{}, {}], object), "numpy.stack(list(images))"),
    "objects in an archive": ("a.npz", {"images": np.array([{}], object)}, "could run code"),
    "a pickle with code": ("a.pt", saved(Evil()), "save the tensors alone"),
    "a list": ("a.pt", saved([1, 2]), "save a tensor, or a dictionary"),
    "missing names": ("a.npz", {"a": LATENTS, "b": LABELS}, "name the arrays images, labels"),
    "three dimensions": ("a.npy", LATENTS[:, 0], "images[:, None]"),
    "channels last": ("a.npy", PIXELS.transpose(0, 2, 3, 1), "images.transpose(0, 3, 1, 2)"),
    "no squares": ("a.npy", LATENTS[:, :, :6], "pad or crop"),
    "no values": ("a.npy", LATENTS[:, :, :0, :0], "no values"),
    "too few": ("a.npy", LATENTS[:12], "at least 20"),
    "integers": ("a.npy", PIXELS.astype(np.int64), "save pixels 0 to 255 as uint8"),
    "complex values": ("a.npy", LATENTS.astype(np.complex64), "save uint8 or floats"),
    "NaN": ("a.npy", with_nan(LATENTS), "1 of"),
    "pixels as floats": ("a.npy", PIXELS.astype(np.float32), "save them as uint8"),
    "a far mean": ("a.npy", LATENTS + 50, "subtract the mean"),
    "infinity": ("a.npy", np.where(LATENTS > 2, np.inf, LATENTS), "holds NaN or infinity"),
    "a constant": ("a.npy", 0 * LATENTS, "standard deviation 0"),
    "too few labels": ("a.npz", {"images": LATENTS, "labels": LABELS[:9]}, "one label for each"),
    "one-hot labels": (
        "a.npz",
        {"images": LATENTS, "labels": ONE_HOT},
        "argmax",
    ),
    "labels as floats": ("a.npz", {"images": LATENTS, "labels": LABELS / 1}, "are integers"),
    "classes with gaps": ("a.npz", {"images": LATENTS, "labels": 2 * LABELS}, "numpy.unique"),
    "negative labels": ("a.npz", {"images": LATENTS, "labels": LABELS - 1}, "numpy.unique"),
    "NaN conditions": ("a.npz", {"images": LATENTS, "labels": VECTORS * np.nan}, "holds NaN"),
    "half the labels": (
        "a.npz",
        {"images": LATENTS, "labels": LABELS, "test_images": LATENTS},
        "test_labels is missing",
    ),
    "unlike splits": ("a.npz", {"images": LATENTS, "test_images": VECTORS}, "save both alike"),
    "unlike labels": (
        "a.npz",
        {"images": LATENTS, "labels": LABELS, "test_images": LATENTS, "test_labels": VECTORS},
        "save both alike",
    ),
    "an empty folder": ("folder", lambda path: path.mkdir(), "holds no train.npy"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_with_the_way_out(tmp_path, kind, capsys):
    name, content, words = BAD[kind]
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif content is not None:
        content(path)
    with pytest.raises(DataError) as caught:
        load("arrays", path)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 400
    assert "ran" not in capsys.readouterr().out


def test_two_files_of_one_role_and_a_missing_folder_are_refused(tmp_path):
    for name in ("train.npy", "train.npz"):
        write(tmp_path / name, images=LATENTS)
    with pytest.raises(DataError, match="keep one of them"):
        load("arrays", tmp_path)
    with pytest.raises(DataError, match="--data-dir FILE"):
        load("arrays")
    with pytest.raises(DataError, match="--source arrays"):
        check_source("arrays")
    assert is_users_own("arrays")


@pytest.mark.parametrize(
    ("images", "labels"),
    [(LATENTS[:, :, :3, :3], None), (VECTORS, LABELS)],
    ids=["latents", "vectors"],
)
def test_a_run_trains_measures_and_records_the_scale(tmp_path, images, labels, tiny_flags, capsys):
    path = tmp_path / "latents.npz"
    np.savez(path, images=images, **({} if labels is None else {"labels": labels}))
    # Of the preset: more levels than these sizes have room for.
    at = tiny_flags.index("--channel-mult")
    flags = tiny_flags[:at] + tiny_flags[at + 2 :]
    args = ["--data", "arrays", "--data-dir", str(path), *flags, "--metrics", "samples"]
    args += ["--runs", str(tmp_path / "runs"), "--features", "pixels", "--no-baseline"]
    assert main(args) == 0
    (folder,) = (tmp_path / "runs").glob("arrays-lapjv-*")
    notes = RunFolder(folder).provenance()["data_notes"]
    assert any(re.match("values as given: .* standard deviation", note) for note in notes)
    assert "fd_pixels" in capsys.readouterr().out
    page = (tmp_path / "runs/report.html").read_text()
    assert "Of arrays, distances are between such values, not between decoded images." in page
    # The file is another one now: its results must not mix with these.
    np.savez(path, images=images + 1)
    assert main(args) == 2
    assert "data" in capsys.readouterr().err


class Upscaled(torch.nn.Module):
    """A decoder: three channels at twice the size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3).tanh()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("images", "is_decoded"),
    [(LATENTS, False), (LATENTS, True), (VECTORS, False), (PIXELS, False)],
    ids=["latents", "decoded", "vectors", "pixels"],
)
def test_every_file_trains_reports_and_resumes(tmp_path, images, is_decoded, tiny_flags, capsys):
    at = tiny_flags.index("--channel-mult")
    flags = tiny_flags[:at] + tiny_flags[at + 2 :]
    args = ["--data", "arrays", *flags, "--metrics", "samples", "paths", "--features", "pixels"]
    args += ["--runs", str(tmp_path / "runs"), "--no-baseline"]
    if is_decoded:
        torch.jit.script(Upscaled()).save(str(tmp_path / "decoder.pt"))
        args += ["--decode", str(tmp_path / "decoder.pt")]
    first = write(tmp_path / "a.npy", images=images)
    assert main([*args, "--data-dir", str(first)]) == 0
    (path,) = (tmp_path / "runs").glob("arrays-lapjv-*")
    assert "arrays" in (tmp_path / "runs/report.html").read_text()
    rows = RunFolder(path).measurements()
    assert {"curvature", "fd_pixels"} & {row.metric for row in rows}
    # The same images in any other file are the same run, which is finished.
    for suffix in (".npz", ".safetensors", ".pt"):
        other = write(tmp_path / f"a{suffix}", images=images)
        assert main([*args, "--data-dir", str(other)]) == 0
        assert RunFolder(path).measurements() == rows
    # Without its record it resumes from the checkpoint, and measures the same.
    (path / "evaluation.json").unlink()
    trained = (path / "checkpoint.pt").read_bytes()
    assert main([*args, "--data-dir", str(other)]) == 0
    assert (path / "checkpoint.pt").read_bytes() == trained
    timed = ("seconds", "_s", "_ms", "share")
    values = {row.key: row.value for row in RunFolder(path).measurements()}
    for row in rows:
        if not row.metric.endswith(timed):
            assert values[row.key] == row.value, row

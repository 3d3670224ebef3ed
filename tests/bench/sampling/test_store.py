import json
import os

import pytest
import torch

from bench.record import files
from bench.sampling import store as samples
from bench.sampling.store import SampleError, SampleStore, clear, weights_digest

IMAGES = torch.randint(256, (20, 1, 2, 2), generator=torch.Generator().manual_seed(0)).to(
    torch.uint8
)


@pytest.fixture
def store(tmp_path) -> SampleStore:
    return SampleStore.of(tmp_path / "samples", "nfe5", {"seed": 0})


def fill(store, n, size) -> list[range]:
    made = store.missing(n, size)
    for rows in made:
        store.add(
            rows.start,
            images=IMAGES[rows.start : rows.stop],
            index=torch.arange(rows.start, rows.stop),
        )
    return made


def whole(store, n) -> torch.Tensor:
    return torch.cat(list(store.images(n)))


@pytest.mark.parametrize("n", [1, 7, 8, 20])
@pytest.mark.parametrize("size", [1, 7, 30])
def test_chunks_are_the_whole(store, n, size):
    made = fill(store, n, size)
    assert [row for rows in made for row in rows] == list(range(n))
    assert all(len(chunk) <= size for chunk in store.images(n))
    assert torch.equal(whole(store, n), IMAGES[:n])
    assert whole(store, n).dtype == torch.uint8
    assert torch.cat(list(store.tensors("index", n))).tolist() == list(range(n))
    assert store.missing(n, size) == []


def test_a_store_grows_and_shows_its_first_samples(store):
    fill(store, 8, 5)
    assert fill(store, 20, 5) == [range(8, 13), range(13, 18), range(18, 20)]
    assert torch.equal(whole(store, 20), IMAGES)
    assert torch.equal(whole(store, 6), IMAGES[:6])


def test_another_chunk_size_takes_what_is_there(store):
    fill(store, 12, 4)
    store._path(4).unlink()
    assert fill(store, 20, 7) == [range(4, 11), range(11, 18), range(18, 20)]
    assert torch.equal(whole(store, 20), IMAGES)


def test_any_damaged_byte_is_noticed(store):
    fill(store, 6, 3)
    path = store._path(3)
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x15]) + good[position + 1 :])
        if chunk := store._read(3):  # padding and the like may change, content may not
            assert torch.equal(chunk["images"], IMAGES[3:6]), position
    for length in (0, 4, 8, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        assert store.missing(6, 3) == [range(3, 6)]
    assert fill(store, 6, 3) == [range(3, 6)]
    assert path.read_bytes() == good


def test_a_damaged_chunk_is_named(store, capsys):
    fill(store, 6, 3)
    path = store._path(3)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert store.missing(6, 3) == [range(3, 6)]
    assert f"{path} is damaged" in capsys.readouterr().out
    with pytest.raises(SampleError, match="00000003.safetensors is missing, damaged"):
        whole(store, 6)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_half_written_chunk_is_none(store, monkeypatch, failing):
    fill(store, 3, 3)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        store.add(3, images=IMAGES[3:6])
    monkeypatch.undo()
    assert store.missing(6, 3) == [range(3, 6)]


def test_missing_samples_and_tensors_are_refused(store):
    fill(store, 6, 3)
    with pytest.raises(SampleError, match="00000006.safetensors is missing"):
        whole(store, 7)
    with pytest.raises(SampleError, match="without 'exact'"):
        list(store.tensors("exact", 2))


def test_a_tensor_may_end_before_the_images_do(store):
    """Only the first samples are trajectories."""
    store.add(0, images=IMAGES[:3], exact=torch.ones(3))
    store.add(3, images=IMAGES[3:6], exact=torch.ones(1))
    store.add(6, images=IMAGES[6:9], exact=torch.ones(0))
    assert len(torch.cat(list(store.tensors("exact", 4)))) == 4
    with pytest.raises(SampleError):
        list(store.tensors("exact", 5))


def test_other_settings_have_another_folder_and_say_which(store, tmp_path):
    other = SampleStore.of(tmp_path / "samples", "nfe5", {"seed": 1})
    assert other.folder.parent == store.folder.parent
    assert other.folder.name != store.folder.name
    assert SampleStore.of(tmp_path / "samples", "nfe5", {"seed": 0}).folder == store.folder
    fill(store, 6, 3)
    assert other.missing(6, 3) == [range(3), range(3, 6)]
    assert json.loads((store.folder / "settings.json").read_text()) == {"seed": 0}
    # A reader needs no settings
    assert torch.equal(whole(SampleStore(store.folder), 6), IMAGES[:6])


def test_removed_are_the_stores_alone(store, tmp_path):
    other = SampleStore.of(store.folder.parent, "nfe7", {})
    for each in (store, other):
        fill(each, 6, 3)
    store.remove()
    assert os.listdir(store.folder.parent) == [other.folder.name]
    (store.folder.parent / "nfe5.png").touch()
    clear(store.folder.parent)
    assert os.listdir(store.folder.parent) == ["nfe5.png"]
    (store.folder.parent / "nfe5.png").unlink()
    fill(other, 6, 3)
    other.remove()
    assert os.listdir(tmp_path) == []
    clear(store.folder.parent)  # nothing there: nothing to do


def test_weights_are_told_apart():
    net = torch.nn.Linear(2, 2)
    before = weights_digest(net)
    assert weights_digest(net) == before
    with torch.no_grad():
        net.weight[0, 0] = torch.nextafter(net.weight[0, 0], torch.tensor(9.0))
    assert weights_digest(net) != before
    assert samples.weights_digest(torch.nn.BatchNorm1d(2)) != before

"""The file of a bundle: whole, the same for equal runs, and refused if it is another."""

import zipfile

import pytest

from bench.record import RunFolder, write_json
from bench.record.bundle import BundleError, files_of, is_bundle, put, run_folders, write_bundle


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "runs/digits-a:b,c=1")
    write_json(folder.path / "config.json", {"seed": 0})
    folder.set_status("done")
    for name in ("nfe5.png", "real.csv", "heun-nfe5.npz"):
        (folder.path / "samples").mkdir(exist_ok=True)
        (folder.path / "samples" / name).write_bytes(name.encode())
    (folder.path / "samples/kept.png").mkdir()
    (folder.path / "checkpoint.pt").write_bytes(b"weights")
    return folder.path


def content(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_what_is_written_is_read_again(run, tmp_path):
    files = files_of(run)
    assert {name.removeprefix(f"{run.name}/") for name in files} == {
        "config.json",
        "status.json",
        "samples/nfe5.png",
        "samples/real.csv",
    }
    assert write_bundle(tmp_path / "a.zip", files) == (tmp_path / "a.zip").stat().st_size
    with run_folders(tmp_path / "a.zip") as folder:
        assert content(folder) == files
    assert not folder.exists()
    assert list(files_of(run, pictures=False)) == [
        f"{run.name}/{n}.json" for n in ("config", "status")
    ]


def test_equal_files_give_equal_bytes_at_any_time(run, tmp_path, monkeypatch):
    files = files_of(run)
    write_bundle(tmp_path / "a.zip", files)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_bundle(tmp_path / "b.zip", dict(reversed(files.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


MARK = {"bundle.json": b'{"version": 1}\n'}


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"a.png": b""}, "is not a bundle"),
        ({"bundle.json": b'{"version": 3}\n'}, "of a later version"),
        ({**MARK, "../config.json": b""}, "not a file of a run"),
        ({**MARK, "run/../config.json": b""}, "not a file of a run"),
        ({**MARK, "run/checkpoint.pt": b""}, "not a file of a run"),
        ({**MARK, "/config.json": b""}, "not a file of a run"),
    ],
)
def test_another_zip_is_refused_in_one_line(tmp_path, files, part):
    path = zipped(tmp_path / "x.zip", files)
    with pytest.raises(BundleError, match=part) as caught, run_folders(path):
        pass
    assert "\n" not in str(caught.value)


def test_damage_is_noticed(run, tmp_path):
    path = tmp_path / "a.zip"
    write_bundle(path, {**files_of(run), f"{run.name}/metrics.jsonl": bytes(range(256)) * 9})
    whole = path.read_bytes()
    # A flipped bit within the compressed measurements, and a copy that broke off.
    place = whole.index(b"metrics.jsonl") + 60
    for damaged in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:-50]):
        path.write_bytes(damaged)
        with pytest.raises(BundleError), run_folders(path):
            pass
    assert not is_bundle(path)


def test_a_folder_is_its_own(run):
    with run_folders(run.parent) as folder:
        assert folder == run.parent
    with pytest.raises(BundleError, match="does not exist"), run_folders(run / "nowhere"):
        pass


def test_a_copy_of_a_run_is_whole_or_not_there(run, tmp_path, monkeypatch):
    there = tmp_path / "there"
    put(run, there)
    assert content(there) == files_of(run)
    # A folder of that name, with whatever is in it, stays as it is.
    (there / run.name / "checkpoint.pt").write_bytes(b"weights")
    with pytest.raises(OSError, match="not empty"):
        put(run, there)
    assert (there / run.name / "checkpoint.pt").read_bytes() == b"weights"

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.record.bundle.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        put(run, tmp_path / "full")
    assert [path.name for path in there.iterdir()] == [run.name]
    assert not (tmp_path / "full").exists() or not list((tmp_path / "full").iterdir())

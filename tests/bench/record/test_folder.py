import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

from bench.record import Measurement, RunFolder, RunFolderError, provenance, write_bytes, write_json
from bench.record import files as files_module

HOLD_LOCK = """
import sys, time
from pathlib import Path
from bench.record import RunFolder

with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "digits-random")


def files(path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_write_makes_the_folder_and_leaves_one_file(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert files(path.parent) == {"file.bin"}


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_mode_that_the_umask_leaves(folder, umask, mode):
    before = os.umask(umask)
    try:
        with folder.lock():
            folder.set_status("running")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {
        ".lock": mode,
        "status.json": mode,
    }


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failure_in_between_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == {"file.bin"}


def test_a_reader_in_between_sees_the_old_file(tmp_path, monkeypatch):
    path, replace, seen = tmp_path / "file.bin", os.replace, []
    write_bytes(path, b"old")

    def look_and_replace(source, target):
        seen.append(path.read_bytes())
        replace(source, target)

    monkeypatch.setattr(files_module.os, "replace", look_and_replace)
    write_bytes(path, b"new" * 1000)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new" * 1000


def test_json_refuses_what_is_not_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}


def test_measurements_come_back_as_they_were(folder):
    made = [
        Measurement(
            "fd_pixels",
            0.1 + 0.2,
            nfe=5,
            rho=7.0,
            sampler="heun",
            start="gaussian",
            split="test",
            n=100,
        ),
        Measurement(
            "fd_pixels", 3.5, nfe=7, rho=7.0, sampler="heun", start="gaussian", split="test", n=100
        ),
        Measurement("train_seconds", 12.0),
    ]
    assert folder.measurements() == []
    folder.add(made[:2])
    folder.add(made[2:])
    assert folder.measurements() == made
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    # Nothing that does not apply
    assert json.loads(lines[2]) == {"metric": "train_seconds", "value": 12.0}


def test_a_measurement_made_again_is_replaced(folder):
    folder.add(
        [
            Measurement("curvature_fm", 1.0, nfe=255),
            Measurement("fd_pixels", 2.0, nfe=5, split="test"),
        ]
    )
    folder.add(
        [
            Measurement("fd_pixels", 9.0, nfe=5, split="train"),
            Measurement("curvature_fm", 7.0, nfe=255),
        ]
    )
    assert [(m.metric, m.split, m.value) for m in folder.measurements()] == [
        ("curvature_fm", None, 7.0),
        ("fd_pixels", "test", 2.0),
        ("fd_pixels", "train", 9.0),
    ]


def test_status_runs_through_its_states(folder):
    assert folder.status() == {"state": "pending"}
    folder.set_status("running", stage="training")
    assert folder.status()["stage"] == "training"
    folder.set_status("failed", reason="no space left")
    status = folder.status()
    assert (status["state"], status["reason"]) == ("failed", "no space left")
    assert "stage" not in status
    time.strptime(status["updated"], "%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(AssertionError, match="finished"):
        folder.set_status("finished")
    assert folder.status() == status


def test_exists_once_its_configuration_is_written(folder):
    assert not folder.exists()
    folder.set_status("running")
    assert not folder.exists()
    write_json(folder.path / "config.json", {"data": "digits"})
    assert folder.exists()
    assert folder.config() == {"data": "digits"}
    assert (folder.run_id, str(folder)) == ("digits-random", str(folder.path))


@pytest.mark.parametrize("content", [b'{"state": "runn', b"[]"])
@pytest.mark.parametrize("name", ["config", "status", "provenance"])
def test_damaged_file_is_named(folder, name, content):
    write_bytes(folder.path / f"{name}.json", content)
    with pytest.raises(RunFolderError, match=rf"{name}\.json is damaged .*move the folder away"):
        getattr(folder, name)()


def test_lock_keeps_a_second_process_out_and_ends_with_it(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunFolderError, match="in use by another process"), folder.lock():
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with folder.lock():
        pass


def test_lock_holds_within_a_process(folder):
    with (
        folder.lock(),
        pytest.raises(RunFolderError, match="in use"),
        RunFolder(folder.path).lock(),
    ):
        pass


def test_lock_is_given_back_after_an_error(folder):
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    with folder.lock():
        pass


@pytest.mark.parametrize("blocked", [".", "..", ".lock"])
def test_folder_that_cannot_be_written_names_the_way_out(folder, blocked):
    """A file where a folder must be, or the other way round, stops even root."""
    if blocked == ".lock":
        (folder.path / ".lock").mkdir(parents=True)
    else:
        place = folder.path if blocked == "." else folder.path.parent
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("a file")
    with (
        pytest.raises(RunFolderError, match=r"cannot write .*choose another folder with --runs"),
        folder.lock(),
    ):
        pass


def test_provenance_says_what_produced_the_numbers(monkeypatch):
    monkeypatch.setattr(
        sys, "orig_argv", ["/bin/python3", "-m", "bench.run", "--coupling", "lapjv"]
    )
    import torch

    found = provenance("cpu", seed=3, data_checksum="abc")
    json.dumps(found, allow_nan=False)
    assert (found["seed"], found["data_checksum"], found["device"]) == (3, "abc", "cpu")
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(import_module("bench.record.provenance")._PACKAGES) < set(found["versions"])
    assert found["command"] == "python -m bench.run --coupling lapjv"
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert "gpu" not in found["hardware"]

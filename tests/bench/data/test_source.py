import functools
import hashlib
import http.server
import os
import threading

import pooch
import pytest
import requests

from bench.data import DataError
from bench.data._source import SourceFile, fetch, missing

CONTENT = b"the published bytes"
MD5 = hashlib.md5(CONTENT).hexdigest()


def published(name="set/a.gz", address="http://example.invalid"):
    return SourceFile(name, MD5, f"{address}/{name}")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(folder, address) of a web server on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    (folder / "set").mkdir(parents=True)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600)])
def test_a_download_has_the_mode_that_the_umask_leaves(served, tmp_path, umask, mode):
    folder, address = served
    (folder / "set/a.gz").write_bytes(CONTENT)
    before = os.umask(umask)
    try:
        fetch([published(address=address)], tmp_path / "data")
    finally:
        os.umask(before)
    assert [path.name for path in (tmp_path / "data/set").iterdir()] == ["a.gz"]
    assert (tmp_path / "data/set/a.gz").stat().st_mode & 0o777 == mode


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", refuse)


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(
        pooch, "retrieve", lambda *args, **kwargs: pytest.fail("went to the network")
    )


def test_a_present_file_is_used_without_the_network(tmp_path, no_network):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.gz").write_bytes(CONTENT)
    assert fetch([published()], tmp_path) == [CONTENT]


def test_a_damaged_file_is_named_refused_and_kept(tmp_path, no_network):
    damaged = tmp_path / "set/a.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(CONTENT + b"!")
    with pytest.raises(
        DataError, match="delete it and fetch it again from http://example.invalid/set/a.gz"
    ) as raised:
        fetch([published()], tmp_path)
    assert str(damaged) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert damaged.read_bytes() == CONTENT + b"!"


def test_offline_names_files_folder_and_addresses_in_one_line(tmp_path, offline):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/b.gz").write_bytes(CONTENT)
    files = [published("set/a.gz"), published("set/b.gz"), published("set/c.gz")]
    with pytest.raises(
        DataError, match=r"set/a\.gz, set/c\.gz\. Download failed \(ConnectionError\)"
    ) as raised:
        fetch(files, tmp_path, instead=" (or ask a friend)")
    message = str(raised.value)
    assert str(tmp_path) in message
    assert (
        "http://example.invalid/set/a.gz http://example.invalid/set/c.gz (or ask a friend)"
        in message
    )
    assert "b.gz" not in message
    assert "\n" not in message


def test_a_missing_file_is_downloaded_and_kept(tmp_path, served):
    folder, address = served
    (folder / "set/a.gz").write_bytes(CONTENT)
    data_dir = tmp_path / "data"
    assert fetch([published(address=address)], data_dir) == [CONTENT]
    (folder / "set/a.gz").unlink()
    assert fetch([published(address=address)], data_dir) == [CONTENT]


def test_a_wrong_download_leaves_nothing_behind(tmp_path, served):
    folder, address = served
    (folder / "set/a.gz").write_bytes(b"a login page")
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match="not the published file"):
        fetch([published(address=address)], data_dir)
    assert not [path for path in data_dir.rglob("*") if path.is_file()]


def test_an_address_that_refuses_is_a_data_error(tmp_path, served):
    _, address = served
    with pytest.raises(DataError, match="HTTPError"):
        fetch([published(address=address)], tmp_path / "data")


def test_data_lies_below_the_current_directory_by_default(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    assert missing([published()], None) == [published()]
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "data/set/a.gz").write_bytes(CONTENT)
    assert missing([published()], None) == []
    assert fetch([published()], None) == [CONTENT]

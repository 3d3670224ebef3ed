"""Bundles: what reports need of finished runs, in one zip file.

A bundle holds::

    bundle.json              the version of this format
    noise-search.csv         the search of noise laws, if the folder of the runs has one
    RUN/config.json, ...     the records of each run; see ``RECORDS``
    RUN/samples/             pictures and points for the page of a report

Unpacked it is a folder of run folders without checkpoints and samples. Equal runs give equal bytes.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bench.record.errors import UserError
from bench.record.files import as_json, write_bytes
from bench.record.provenance import shareable

# Read in this order: an entry of evaluation.json is written after its rows of metrics.jsonl, so
# that a run that is measured meanwhile gives a record whose rows are all there.
RECORDS = (
    "config.json",
    "evaluation.json",
    "metrics.json",
    "metrics.jsonl",
    "provenance.json",
    "status.json",
    "training.csv",
)
SEARCH = "noise-search.csv"
SUFFIX = ".zip"

_MARK = "bundle.json"
_MARKED = b'{"version": 2}\n'
_EARLIER = (b'{"version": 1}\n',)  # without training curves
_PICTURES = (".csv", ".png")
# The time of every file in a bundle, the earliest that a zip can hold
_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16  # a file that all may read, where zip keeps the mode of Unix


class BundleError(UserError):
    """A bundle cannot be read; the message names the way out."""


def files_of(run: Path, pictures: bool = True) -> dict[str, bytes]:
    """Name in a bundle to content for the files of one run folder.

    Args:
        run: the folder.
        pictures: True to take pictures and points too, which are most of the bytes.

    """
    paths = [run / name for name in RECORDS]
    if pictures:
        # Kept samples are folders in there, and far too large.
        found = [path for path in (run / "samples").glob("*") if path.suffix in _PICTURES]
        paths += sorted(path for path in found if path.is_file())
    files = {}
    for path in paths:
        if path.exists():
            name = PurePosixPath(run.name, *path.relative_to(run).parts)
            files[str(name)] = _shared(path)
    return files


def _shared(path: Path) -> bytes:
    """The content of a run's file as others may read it."""
    content = path.read_bytes()
    if path.name != "provenance.json":
        return content
    try:
        origin = json.loads(content)
        shared = shareable(origin)
    # Broken records stay as they are: the reader names them.
    except (ValueError, TypeError, AttributeError):
        return content
    # Equal bytes where there is nothing to leave out.
    return content if shared == origin else as_json(shared)


def write_bundle(path: Path, files: Mapping[str, bytes]) -> int:
    """Write a bundle atomically; equal files give equal bytes.

    Args:
        path: of the bundle.
        files: name to content, from ``files_of``, and ``SEARCH`` if there is one.

    Returns:
        Its size in bytes.

    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in sorted({**files, _MARK: _MARKED}.items()):
            # Written by hand: zipfile would record the time of day and the system.
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix
            info.external_attr = _MODE
            file.writestr(info, content)
    content = buffer.getvalue()
    write_bytes(path, content)
    return len(content)


def is_bundle(path: Path) -> bool:
    """True for a zip file that ``write_bundle`` wrote."""
    try:
        with zipfile.ZipFile(path) as file:
            return _MARK in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


@contextmanager
def run_folders(path: Path) -> Iterator[Path]:
    """A folder of run folders: the path itself, or for a bundle a temporary one with its files.

    Raises:
        BundleError: it is neither, or the bundle is damaged or of a later version.

    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        try:
            _unpack(path, Path(folder))
        except OSError as error:
            raise BundleError(
                f"{path} cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}): make"
                " room there, or name another folder in TMPDIR"
            ) from None
        yield Path(folder)


def _unpack(path: Path, folder: Path) -> None:
    files = _read(path)
    # Compared as a whole: bundles of a version have this content and no other.
    if files.pop(_MARK) not in (_MARKED, *_EARLIER):
        raise BundleError(
            f"{path} is a bundle of a later version: update this repository, or make the bundle"
            " again with its version"
        )
    for name, content in files.items():
        target = folder.joinpath(*name.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _read(path: Path) -> dict[str, bytes]:
    """Name to content of all files of a bundle."""
    if not path.exists():
        raise BundleError(f"{path} does not exist: give a folder of run folders or a bundle")
    if not is_bundle(path):
        raise BundleError(
            f"{path} is not a bundle: make one of a folder of run folders with python -m"
            " reports.bundle"
        )
    try:
        with zipfile.ZipFile(path) as file:
            files = {name: file.read(name) for name in file.namelist()}
    # zlib's own error is none of zipfile's, and encrypted files raise RuntimeError.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise BundleError(f"{path} is damaged ({error}): copy it again") from None
    foreign = [name for name in files if name not in (_MARK, SEARCH) and not _is_of_a_run(name)]
    # A name such as ../x would be written outside the folder.
    if foreign:
        raise BundleError(
            f"{path} is damaged: it holds {foreign[0]!r}, which is not a file of a run"
        )
    return files


def _is_of_a_run(name: str) -> bool:
    """True for the names that ``files_of`` gives."""
    run, _, rest = name.partition("/")
    if run in ("", ".", "..") or "\\" in run or "\0" in name:
        return False
    return rest in RECORDS or re.fullmatch(r"samples/[^/\\]+\.(csv|png)", rest) is not None


def put(run: Path, runs_dir: Path) -> None:
    """Copy a run folder without its checkpoints and samples into a folder of run folders.

    The copy appears whole or not at all.

    Raises:
        FileExistsError: there is a folder of its name.

    """
    # Readers skip folders that begin with a dot.
    temporary = runs_dir / f".{run.name}.{secrets.token_hex(4)}.tmp"
    try:
        for name, content in files_of(run).items():
            write_bytes(temporary / PurePosixPath(name).relative_to(run.name), content)
        # Refuses a folder that is not empty.
        temporary.rename(runs_dir / run.name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise

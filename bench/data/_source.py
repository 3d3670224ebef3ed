"""Published files of a data set: checked if they are there, fetched if they are missing."""

from __future__ import annotations

import hashlib
import secrets
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.contract import DataError

DEFAULT_DATA_DIR = Path("data")
# Seconds to connect and between two packets: an offline machine shows at once
_TIMEOUT = (4, 30)


@dataclass(frozen=True)
class SourceFile:
    """One published file: its place below the data folder, its published MD5 and its address."""

    path: str
    md5: str
    url: str


def fetch(files: Sequence[SourceFile], data_dir: Path | None, instead: str = "") -> list[bytes]:
    """Return the contents of ``files``, in order, each checked against its published MD5.

    A file that is there is used as it is; missing ones are downloaded into ``data_dir`` (default:
    ``data`` below the current directory). The returned bytes are those that were checked, so a file
    that changes meanwhile does no harm.

    Args:
        files: what to read.
        data_dir: the folder that holds, or receives, the files.
        instead: a further way out to name when nothing can be downloaded.

    Raises:
        DataError: a file fails its checksum, or is missing and cannot be downloaded.

    """
    root = Path(data_dir or DEFAULT_DATA_DIR)
    for file in missing(files, root):
        try:
            _download(file, root)
        # No network, a refused address, a damaged download
        except (OSError, ValueError) as error:
            raise DataError(_how_to_get(missing(files, root), root, error, instead)) from error
    contents = []
    for file in files:
        path = root / file.path
        contents.append(check(path.read_bytes(), file.md5, path, file.url))
    return contents


def missing(files: Sequence[SourceFile], data_dir: Path | None) -> list[SourceFile]:
    """Those of ``files`` that are not in ``data_dir``."""
    root = Path(data_dir or DEFAULT_DATA_DIR)
    return [file for file in files if not (root / file.path).is_file()]


def check(content: bytes, md5: str, name: Path | str, url: str) -> bytes:
    """Return ``content`` if its MD5 is ``md5``.

    Raises:
        DataError: it is not; the message names the file and where to get it.

    """
    # MD5 is what the publishers give; it guards against damage, not against attacks.
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        way_out = f"delete it and fetch it again from {url}"
        raise DataError(f"{name} is damaged (MD5 {found}, published {md5}): {way_out}")
    return content


def _download(file: SourceFile, root: Path) -> None:
    """Fetch one file with pooch, which checks a temporary file and then renames it: all or nothing.

    Raises:
        OSError: no network, or the address refuses.
        ValueError: what came is not the published file.

    """
    import pooch

    target = (root / file.path).resolve()
    progress = sys.stderr.isatty()  # a bar would flood a log file
    pooch.retrieve(
        file.url,
        known_hash=f"md5:{file.md5}",
        fname=target.name,
        path=target.parent,
        downloader=pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=_TIMEOUT),
    )
    _obey_umask(target)


def _obey_umask(path: Path) -> None:
    """Give a file the mode of any new file: pooch makes it by `tempfile`, readable by its owner
    only.
    """
    # The umask cannot be read without being set, which other threads would notice.
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with new.open("xb"):
        mode = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    path.chmod(mode)


def _how_to_get(files: Sequence[SourceFile], root: Path, error: Exception, instead: str) -> str:
    names = ", ".join(file.path for file in files)
    addresses = " ".join(file.url for file in files)
    reason = type(error).__name__ if isinstance(error, OSError) else "not the published file"
    way_out = f"fetch by hand: {addresses}{instead}"
    return f"missing in {root.resolve()}: {names}. Download failed ({reason}); {way_out}"

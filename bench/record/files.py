"""Files that are written whole or not at all, or made by only one of several processes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name: two processes may write the same file at the same time.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # `open` obeys the umask. Files of `tempfile` are readable by their owner only, which would
        # lock colleagues out of a shared cache.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # Without it, a crash of the machine could leave an empty file under the new name.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    # Also on Ctrl-C: nothing else would ever remove the temporary file.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file atomically; a NaN raises ValueError, as JSON has no word for it."""
    write_bytes(path, as_json(content))


def as_json(content: dict) -> bytes:
    """The bytes of a JSON file; a NaN raises ValueError."""
    text = json.dumps(content, indent=2, allow_nan=False)
    return f"{text}\n".encode()


def write_csv(path: Path, row_type: type, rows: Sequence[Any]) -> None:
    """Write a table atomically.

    Args:
        path: of the file.
        row_type: a dataclass; its fields are the columns, also of a table without rows.
        rows: instances of it; None becomes an empty cell.

    """
    columns = [field.name for field in fields(row_type)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(asdict(row))
    write_bytes(path, text.getvalue().encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; another process that wants it waits.

    The lock ends with the process, even a killed one, so it never has to be removed by hand.
    """
    # Most readers of this module never lock anything.
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def made_once(
    path: Path, make: Callable[[], object], is_made: Callable[[Path], bool] = Path.exists
) -> None:
    """Make a file of a shared cache unless it is there.

    Runs that start together all need it: one of them makes it while the others wait, so that all
    of them use the same file.

    Args:
        path: of the file.
        make: writes it, atomically and as the last of what it writes.
        is_made: True if the file is there and can be used; by default, if it exists.

    """
    if is_made(path):
        return
    with locked(path):
        # Another process may have made it while this one waited for the lock.
        if not is_made(path):
            make()


def digest(content: object, digits: int = 10, compact: bool = False) -> str:
    """Hexadecimal digits of the SHA-256 of JSON content, the same for any order of its keys.

    Args:
        content: dictionaries, lists, texts, numbers.
        digits: how many of the 64.
        compact: True to leave spaces out of the hashed JSON. Identities of runs are hashed so;
            another choice would rename every run folder.

    """
    separators = (",", ":") if compact else None
    text = json.dumps(content, sort_keys=True, separators=separators)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def flatten(nested: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries with dotted keys: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat

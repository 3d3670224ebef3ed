"""Files of fitted states, in the safetensors format: written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from torch import Tensor

from couplings.errors import CouplingError
from couplings.extras import needed_by


def check_format_is_known() -> None:
    """Refuse a file that could not be read, or written at the end of a long fit.

    Raises:
        CouplingError: safetensors is not installed.

    """
    with needed_by("a checkpoint of a fit"):
        import safetensors  # noqa: F401


def write_state(path: str | os.PathLike, state: dict[str, Tensor]) -> None:
    """Write a state as safetensors; readers see the old file or the new one, never a part."""
    check_format_is_known()
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    _write_bytes(Path(path), save(tensors))


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the state of a file.

    Raises:
        CouplingError: no such file, one that must not be read, or no safetensors.

    """
    check_format_is_known()
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Read by Python, because safetensors calls every file that it cannot open missing.
        return load(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise CouplingError(f"no file {path}: fit with checkpoint= first") from error
    except OSError as error:
        raise CouplingError(
            f"{path} cannot be read ({error.strerror}): make it readable, or fit again"
        ) from error
    except SafetensorError as error:
        raise CouplingError(
            f"{path} is not a safetensors file ({error}): remove it and fit again"
        ) from error


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    `bench.record` has a function like this one; `couplings` imports no other package.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # `open` gives the file mode 0666 less the umask. Files of `tempfile` are readable by their
        # owner only, which would shut colleagues out of a shared cache.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # Otherwise a crash may leave the new name with no content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

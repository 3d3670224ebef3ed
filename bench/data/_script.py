"""Networks from TorchScript files, which run no Python."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.record import UserError


class ScriptError(UserError):
    """The file holds no network that can be loaded; the message names the way out."""


@dataclass(frozen=True)
class Script:
    """A network for inference, and the SHA-256 of its file."""

    net: nn.Module
    digest: str


def read_script(path: Path, device: str) -> Script:
    """The network in a TorchScript file.

    Raises:
        ScriptError: the file cannot be read, or is of another kind.

    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning
            )
            net = torch.jit.load(str(path), map_location=device)
    except OSError as error:
        raise ScriptError(f"{path} cannot be read ({error.strerror}): is the path right?") from None
    except RuntimeError:
        raise ScriptError(
            f"{path} is not a TorchScript file: write it with torch.jit.script(net).save(PATH)"
        ) from None
    for parameter in net.parameters():  # a script module has no requires_grad_ of its own
        parameter.requires_grad_(False)
    return Script(net.eval(), digest)

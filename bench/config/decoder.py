"""The file of ``--decode``, which a run is tied to by its content."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bench.config.errors import ConfigError
from bench.config.schema import EvaluationConfig


def check_decoder(evaluation: EvaluationConfig) -> EvaluationConfig:
    """The evaluation with the SHA-256 of its decoder's file, if it has one.

    Raises:
        ConfigError: the file cannot be read, or a run that measured decoded images is to be
            measured without it.

    """
    if evaluation.decode is None:
        # Distances of latents would stand among those of images.
        if evaluation.decoder is not None:
            raise ConfigError(
                "--decode: this run measures decoded images; name the file of its decoder, whose"
                f" SHA-256 begins with {evaluation.decoder[:10]}"
            )
        return evaluation
    path = Path(evaluation.decode).expanduser()
    try:
        status = path.stat()
        digest = _digest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ConfigError(
            f"--decode {evaluation.decode}: it cannot be read ({error.strerror}); pass a"
            " TorchScript file, torch.jit.script(decoder).save(FILE)"
        ) from None
    return replace(evaluation, decoder=digest)


# Configurations are checked several times each, and decoders have hundreds of megabytes.
@lru_cache
def _digest(path: Path, changed: int, size: int) -> str:  # noqa: ARG001 - they tell files apart
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

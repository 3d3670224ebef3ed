"""Fits dataset couplings before the training, once for a data set, a spec and a seed: the file is
kept and reused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock

from bench.data import Dataset, as_images
from bench.process.background import aside
from bench.process.defaults import plain_torch
from bench.randomness import generator
from couplings import DatasetCoupling, Fitted


@plain_torch()
def fit(coupling: DatasetCoupling, dataset: Dataset, seed: int, cache: Path, device: str) -> Fitted:
    """The coupling fitted on the training split, from its file in ``cache`` or anew, on ``device``.

    A fit that was stopped goes on where it last saved.

    Raises:
        CouplingError: it does not converge with its options, or the file is damaged.

    """
    key = hashlib.sha256(f"{coupling.spec}/{dataset.checksum}/{seed}".encode()).hexdigest()[:16]
    path = cache / f"{coupling.name}-{key}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)

    def locked_fit() -> Fitted:
        # Arms that start together wait for one of them to fit.
        with FileLock(f"{path}.lock"):
            images = as_images(dataset.train.images).to(device)
            return coupling.fit(
                images, dataset.train.labels, generator(seed, "coupling-fit"), checkpoint=path
            )

    return aside(locked_fit)  # one assignment of a fit may take minutes

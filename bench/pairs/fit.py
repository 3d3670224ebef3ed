"""Fits dataset couplings before the training, once for a data set, a spec and a seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.data import Dataset, as_images
from bench.process.background import aside
from bench.process.defaults import plain_torch
from bench.randomness import generator
from bench.record import locked
from couplings import DatasetCoupling, Fitted
from couplings.dataset.contract import Model


def fit_file(coupling: DatasetCoupling, dataset: Dataset, seed: int, cache: Path) -> Path:
    """The file of a fit in ``cache``; before it is whole it holds a part of the fit."""
    key = hashlib.sha256(f"{coupling.spec}/{dataset.checksum}/{seed}".encode()).hexdigest()[:16]
    return cache / f"{coupling.name}-{key}.safetensors"


@plain_torch()
def fit(
    coupling: DatasetCoupling,
    dataset: Dataset,
    seed: int,
    cache: Path,
    device: str,
    model: Model | None = None,
) -> Fitted:
    """The coupling fitted on the training split, on ``device``; its file in ``cache`` is reused.

    A fit that was stopped resumes where it last saved. ``model`` is for couplings with
    ``needs_model``, which need none if the file is whole.

    Raises:
        CouplingError: it does not converge with its options, or the file is damaged.

    """
    path = fit_file(coupling, dataset, seed, cache)

    def locked_fit() -> Fitted:
        # Runs that start together wait for one of them to fit. The lock is needed even if the file
        # exists: it may be that of a fit which was stopped, and only the coupling can tell.
        with locked(path):
            images = as_images(dataset.train.images).to(device)
            draws = generator(seed, "coupling-fit")
            labels = dataset.train.labels
            return coupling.fit(images, labels, draws, checkpoint=path, model=model)

    # In a thread, as one assignment of a fit may take minutes in C code.
    return aside(locked_fit)

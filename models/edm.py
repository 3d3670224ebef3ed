"""EDM's denoisers by name, for use without the benchmark: ``models.edm.small(8, 1)``.

Each function takes the arguments of ``models.networks.<name>.build``.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from models.denoiser import Denoiser
from models.objectives.edm import EDM


def edm_denoiser(
    arch: str,
    *sizes: int,
    objective: EDM = EDM(),  # noqa: B008 - frozen
    **options: Any,
) -> Denoiser:
    """Build a network of ``models.networks`` in EDM's preconditioning.

    Raises:
        ValueError: the options make no network.

    """
    # By path: the look-up of plug-ins, with users' modules, is in another package.
    network = importlib.import_module(f"models.networks.{arch}").build(*sizes, **options)
    return Denoiser(network, objective, network.label_dim)


small = partial(edm_denoiser, "small")
ddpmpp = partial(edm_denoiser, "ddpmpp")
ncsnpp = partial(edm_denoiser, "ncsnpp")
adm = partial(edm_denoiser, "adm")

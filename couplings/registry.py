"""Couplings by name: a file of `couplings.batch` or `couplings.dataset`, or a user's own module."""

from typing import Any

from couplings import plugins
from couplings.contract import Coupling
from couplings.dataset.contract import DatasetCoupling
from couplings.errors import CouplingError, PluginError, require

BATCH, DATASET = plugins.COUPLINGS
PACKAGES = {"batch": (BATCH,), "dataset": (DATASET,), None: (BATCH, DATASET)}


def names(kind: str | None = None) -> tuple[str, ...]:
    """Names of the couplings of this repository, sorted; with a kind, `batch` or `dataset`, its."""
    return plugins.names(*PACKAGES[kind])


def get(text: str) -> Any:
    """The coupling of a spec, `name` or `name:key=value,key=value`.

    A name with a dot is a module of your own: `my_project.nearest:k=3`.

    Raises:
        CouplingError: an unknown name or option (with the near matches), or a bad value.

    """
    require(
        isinstance(text, str),
        f"a spec is a string such as 'lapjv:cost=l2', got {type(text).__name__}",
    )
    try:
        return plugins.build("coupling", text, plugins.COUPLINGS, Coupling, DatasetCoupling)
    except PluginError as error:
        # The cause stays: it is the traceback of a user's module that fails on import.
        raise CouplingError(str(error)) from error.__cause__

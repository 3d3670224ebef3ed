"""Couplings by name: a file of `couplings.batch` or `couplings.dataset`, or a user's own module."""

from typing import Any

from couplings import plugins, spec
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
        name, options = spec.split_spec(text)
        return spec.build(_class_of(name), options)
    except PluginError as error:
        # The cause stays: it is the traceback of a user's module that fails on import.
        raise CouplingError(str(error)) from error.__cause__


def _class_of(name: str) -> type:
    """The class of a coupling; its module is imported, and that of no other coupling."""
    module = plugins.load("coupling", name, BATCH, DATASET)
    cls = plugins.class_in("coupling", module, Coupling, DatasetCoupling)
    # Of the class itself, because those of its base say nothing about its own fields.
    params: Any = vars(cls).get("__dataclass_params__")
    is_frozen = params is not None and params.frozen
    require(is_frozen, f"{cls.__qualname__}: put @dataclass(frozen=True, kw_only=True) above it")
    return cls

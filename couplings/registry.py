"""Couplings by name: one file of ``couplings.batch`` or ``couplings.dataset``, or a module of the
user's own.
"""

from typing import Any

from couplings import plugins, spec
from couplings.contract import Coupling
from couplings.dataset.contract import DatasetCoupling
from couplings.errors import CouplingError, require

BATCH, DATASET = plugins.COUPLINGS
_PACKAGES = {"batch": (BATCH,), "dataset": (DATASET,), None: (BATCH, DATASET)}


def names(kind: str | None = None) -> tuple[str, ...]:
    """Names of the couplings, sorted; of one kind only, `batch` or `dataset`, if it is given."""
    return plugins.names(*_PACKAGES[kind])


def get(text: str) -> Any:
    """The coupling of a spec, `name` or `name:key=value,key=value`.

    A name with a dot is a module of your own: `my_project.nearest:k=3`.

    Raises: CouplingError: an unknown name or option (with the known ones and the near matches), or
        a bad value.

    """
    require(
        isinstance(text, str),
        f"a spec is a string such as 'lapjv:cost=l2', got {type(text).__name__}",
    )
    name, options = spec.split_spec(text)
    return spec.build(_class_of(name), options)


def _class_of(name: str) -> type:
    try:
        module = plugins.load("coupling", name, BATCH, DATASET)
        cls = plugins.class_in("coupling", module, Coupling, DatasetCoupling)
    except plugins.PluginError as error:
        raise CouplingError(str(error)) from error.__cause__
    own = "__dataclass_fields__" in vars(cls) and cls.__dataclass_params__.frozen
    require(own, f"{cls.__qualname__}: put @dataclass(frozen=True, kw_only=True) above it")
    return cls

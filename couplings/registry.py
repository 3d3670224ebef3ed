"""The registry: one decorator, one lookup. Every module of this package is imported at the first lookup."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from couplings import spec
from couplings.spec import require, unknown

_classes: dict[str, type] = {}
Class = TypeVar("Class", bound=type)


def register(name: str) -> Callable[[Class], Class]:
    """Class decorator: make a frozen dataclass known as `name`, in lower case with dashes.

    Raises:
        CouplingError: the name is taken or malformed, or the class is no frozen dataclass of its own.

    """

    def decorate(cls: Class) -> Class:
        require(re.fullmatch(r"[a-z][a-z0-9-]*", name) is not None, f"{name!r}: use lower case, digits and dashes")
        own = "__dataclass_fields__" in vars(cls) and cls.__dataclass_params__.frozen
        require(own, f"{cls.__qualname__}: put @dataclass(frozen=True, kw_only=True) below @register({name!r})")
        if name in _classes:
            taken = _classes[name]
            require(False, f"{name!r} is taken by {taken.__module__}.{taken.__qualname__}: choose another name")
        cls.name = name
        _classes[name] = cls
        return cls

    return decorate


def names(kind: str | None = None) -> tuple[str, ...]:
    """The registered names, sorted; of one kind only, `batch` or `dataset`, where it is given."""
    _discover()
    return tuple(sorted(name for name, cls in _classes.items() if kind in (None, cls.kind)))


def get(text: str) -> Any:
    """The coupling of a spec, `name` or `name:key=value,key=value`.

    Raises:
        CouplingError: an unknown name or option (with the known ones and the near matches), or a bad value.

    """
    require(isinstance(text, str), f"a spec is a string such as 'lapjv:cost=l2', got {type(text).__name__}")
    name, options = spec.split_spec(text)
    if name not in names():
        raise unknown("coupling", name, names())
    return spec.build(_classes[name], options)


@functools.cache
def _discover() -> None:
    """Import the modules beside this one, so that a new coupling is one new file."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__package__}.{module.name}")

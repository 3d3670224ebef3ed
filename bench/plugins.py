"""The plug-in mechanism of this repository, handed on: see ``couplings.plugins``."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from couplings import spec
from couplings.plugins import PluginError, class_in, load, name_of, names
from couplings.spec import split_spec

__all__ = ["PluginError", "build", "class_in", "load", "name_of", "names", "split_spec"]


def build(what: str, text: str, package: str, base: type) -> Any:
    """Build the plug-in of a spec, ``name`` or ``name:key=value,key=value``.

    Args:
        what: kind of plug-in, for messages, such as ``"sampler"``.
        text: the spec; a name with a dot is a module of the user's.
        package: where plug-ins of this kind are, such as ``"models.samplers"``.
        base: class that they derive from.

    Raises:
        ValueError: an unknown name or option, with the near matches, or a bad value.

    """
    name, options = split_spec(text)
    cls = class_in(what, load(what, name, package), base)
    # Without the decorator a class has no fields of its own, so its options would be unknown.
    if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise PluginError(f"{cls.__qualname__}: put @dataclass(frozen=True, kw_only=True) above it")
    return spec.build(cls, options)

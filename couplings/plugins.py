"""Plug-ins of every kind: couplings, data sets, features, metrics, samplers and so on.

One file is one plug-in. A plug-in of this repository is a module of its package, such as
`couplings/batch/lapjv.py`; its name is the file's, with dashes for underscores. Files that begin
with an underscore, and `contract.py`, hold what the plug-ins of a package share.

A plug-in of a user is any module that Python can import, and its name is the path of the module,
such as `my_project.nearest`. Names in this repository have no dot, so the dot decides where to
look, and nobody has to register anything.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from couplings import spec
from couplings.errors import PluginError, unknown

__all__ = ["COUPLINGS", "PluginError", "build", "class_in", "load", "name_of", "names"]

COUPLINGS = ("couplings.batch", "couplings.dataset")  # the packages whose modules are couplings
CONTRACT = "contract"  # the module of a package that says what its plug-ins must have
DECORATOR = "put @dataclass(frozen=True, kw_only=True) above it"


def names(*packages: str) -> tuple[str, ...]:
    """Names of the plug-ins in packages such as `"couplings.batch"`, sorted.

    Only the files are listed; no plug-in is imported.
    """
    listed = []
    for package in packages:
        path = importlib.import_module(package).__path__
        for module in pkgutil.iter_modules(path):
            if not module.name.startswith("_") and module.name != CONTRACT:
                listed.append(module.name.replace("_", "-"))
    return tuple(sorted(listed))


def name_of(module: str, *packages: str) -> str:
    """The name of the plug-in in a module.

    Args:
        module: its path, the `__module__` of a class.
        packages: where plug-ins of this kind are; any other module belongs to a user.

    """
    package, _, file = module.rpartition(".")
    return file.replace("_", "-") if package in packages else module


def load(what: str, name: str, *packages: str) -> ModuleType:
    """Import the module of a plug-in, and no other plug-in.

    Args:
        what: the kind of plug-in, for messages, such as `"coupling"`.
        name: of the plug-in, or the path of a user's module.
        packages: where plug-ins of this kind are.

    Raises:
        PluginError: the name is unknown, or a user's module does not exist or fails on import.

    """
    if _is_path(name):
        return _load_users(what, name)
    for package in packages:
        if name in names(package):
            return importlib.import_module(f"{package}.{name.replace('-', '_')}")
    raise unknown(
        what, name, names(*packages), "; or a module of your own, such as my_package.my_file"
    )


def class_in(what: str, module: ModuleType, *bases: type) -> type:
    """The one public class of a plug-in's module that derives from one of `bases`.

    Raises:
        PluginError: there is none, or more than one.

    """
    classes = [value for value in vars(module).values() if _defines(module, value, bases)]
    if len(classes) == 1:
        return classes[0]
    wanted = " or ".join(base.__name__ for base in bases)
    listed = ", ".join(cls.__name__ for cls in classes) or "none"
    raise PluginError(
        f"{module.__name__}: a {what} is one class that derives from {wanted}, found {listed}"
    )


def build(what: str, text: str, packages: Sequence[str], *bases: type) -> Any:
    """The plug-in of a spec, `name` or `name:key=value,key=value`: a frozen dataclass.

    Args:
        what: the kind of plug-in, for messages, such as `"sampler"`.
        text: the spec; a name with a dot is a module of the user's.
        packages: where plug-ins of this kind are, such as `("models.samplers",)`.
        bases: classes that they derive from.

    Raises:
        PluginError: an unknown name or option (with the near matches), a bad value, or a class
            that is no frozen dataclass.

    """
    name, options = spec.split_spec(text)
    cls = class_in(what, load(what, name, *packages), *bases)
    # Of the class itself: those of its base say nothing about its own fields, which would all be
    # unknown options.
    params: Any = vars(cls).get("__dataclass_params__")
    # One object serves many settings, so none of them may change it.
    if params is None or not params.frozen:
        raise PluginError(f"{cls.__qualname__}: {DECORATOR}")
    return spec.build(cls, options)


def _is_path(name: str) -> bool:
    """True if a name is the path of a user's module."""
    # "1.5" or "a..b" is a mistyped name. Python's own message about a module would mislead.
    return "." in name and all(part.isidentifier() for part in name.split("."))


def _defines(module: ModuleType, value: object, bases: tuple[type, ...]) -> bool:
    """True if a value of a module is a public class that the module itself defines."""
    # A module also holds the classes that it imports, its own base among them.
    if not isinstance(value, type) or value.__module__ != module.__name__:
        return False
    return issubclass(value, bases) and not value.__name__.startswith("_")


def _load_users(what: str, path: str) -> ModuleType:
    """Import a user's own module."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # The module itself or a package above it is missing, or else a library that it imports.
        is_its_own = error.name and f"{path}.".startswith(f"{error.name}.")
        if not is_its_own:
            raise PluginError(
                f"{what} {path!r}: its module needs {error.name}, which is not installed"
            ) from error
        raise PluginError(
            f"{what} {path!r}: no module {error.name}; it is looked for in the working folder"
            " and PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:
        # Code of a user may raise anything, and a script may end with sys.exit at import. The cause
        # keeps its traceback for whoever wrote it.
        way_out = _way_out(error)
        raise PluginError(
            f"{what} {path!r}: importing it failed: {type(error).__name__}: {error}{way_out}"
        ) from error


def _way_out(error: BaseException) -> str:
    """The end of the line on a failed import, where the fault is a usual one; or nothing."""
    # Python's own words for a wrong decorator do not say which one is right.
    is_decorator = isinstance(error, TypeError) and "non-frozen dataclass" in str(error)
    return f": {DECORATOR}" if is_decorator else ""

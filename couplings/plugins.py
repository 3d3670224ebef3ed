"""Plug-ins: one file is one coupling, data set, metric, sampler, ... and its name is that of the
file.

A plug-in of this repository is a module of its package, such as ``couplings/batch/lapjv.py``; its
name is the file's, with dashes. Files that begin with an underscore, and ``contract.py``, hold what
plug-ins share. A plug-in of a user is any module that Python can import; its name is the module's
path, ``my_project.nearest``, so nothing needs to be registered or edited. The dot tells both kinds
apart.
"""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType

COUPLINGS = ("couplings.batch", "couplings.dataset")  # packages whose modules are couplings
_SHARED = "contract"


class PluginError(ValueError):
    """There is no plug-in of this name, or its module cannot be used; the message names the way
    out.
    """


def names(*packages: str) -> tuple[str, ...]:
    """Names of the plug-ins in packages such as ``"couplings.batch"``, sorted."""
    found = []
    for package in packages:
        path = importlib.import_module(package).__path__
        for module in pkgutil.iter_modules(path):
            if not module.name.startswith("_") and module.name != _SHARED:
                found.append(module.name.replace("_", "-"))
    return tuple(sorted(found))


def name_of(module: str, *packages: str) -> str:
    """The name of the plug-in in a module: of a module in ``packages`` the file's, else the
    module's whole path.
    """
    package, _, file = module.rpartition(".")
    return file.replace("_", "-") if package in packages else module


def load(what: str, name: str, *packages: str) -> ModuleType:
    """Import the module of a plug-in.

    Args:
        what: what it is, for messages, such as ``"coupling"``.
        name: of the plug-in, or the path of a user's module; a path has a dot in it.
        packages: where plug-ins of this kind are.

    Raises: PluginError: the name is unknown, or the module does not exist or fails while it is
        imported.

    """
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        return _load_users(what, name)
    for package in packages:
        if name in names(package):
            return importlib.import_module(f"{package}.{name.replace('-', '_')}")
    known = names(*packages)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise PluginError(
        f"unknown {what} {name!r}: {hint}known: {', '.join(known)}; or a module of yours,"
        " my_package.my_file"
    )


def class_in(what: str, module: ModuleType, *bases: type) -> type:
    """The one class of a plug-in's module that derives from one of ``bases`` and is defined there.

    Raises:
        PluginError: there is none, or more than one.

    """
    found = []
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and issubclass(value, bases) and not value.__name__.startswith("_"):
            found.append(value)
    if len(found) != 1:
        wanted = " or ".join(base.__name__ for base in bases)
        have = ", ".join(cls.__name__ for cls in found) or "none"
        raise PluginError(
            f"{module.__name__}: a {what} is one class that derives from {wanted}, found {have}"
        )
    return found[0]


def _load_users(what: str, path: str) -> ModuleType:
    """Import a user's own module."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise PluginError(
                f"{what} {path!r}: no module {error.name}; it is looked for in the working folder"
                " and PYTHONPATH"
            ) from None
        raise PluginError(
            f"{what} {path!r}: its module needs {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise PluginError(
            f"{what} {path!r}: importing it failed: {type(error).__name__}: {error}"
        ) from error

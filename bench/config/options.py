"""Options of a command, described by the fields of a dataclass or the parameters of a function.

A nested dataclass is a group of options. Docstrings of the fields are their help.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, get_type_hints

# Metadata of fields: one that is no option, and one whose words stand without an option.
HIDDEN = MappingProxyType({"hidden": True})
POSITIONAL = MappingProxyType({"positional": True})
REQUIRED = MISSING


def prefixed(prefix: str) -> Mapping[str, str]:
    """Metadata of a nested dataclass: its options begin with this word and a dot."""
    return {"prefix": f"{prefix}."}


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        path: fields that lead to its value, such as ``training.images``.
        name: on the command line, such as ``images`` or ``guidance.nfe``, without dashes.
        hint: type of its value.
        default: value without it; ``REQUIRED`` if it has none.
        text: its help.
        group: title of the options that it is listed with; empty for those of the command itself.
        positional: True if its words stand without a name.

    """

    path: str
    name: str
    hint: Any
    default: Any
    text: str
    group: str = ""
    positional: bool = False

    @property
    def flag(self) -> str:
        """The word that sets it."""
        return f"--{self.name}"

    @property
    def off(self) -> str:
        """The word that turns a switch off."""
        prefix, dot, last = self.name.rpartition(".")
        return f"--{prefix}{dot}no-{last}"


@dataclass(frozen=True)
class Group:
    """Title and description of the options of a nested dataclass."""

    title: str
    text: str


def options_of(default: Any) -> tuple[list[Option], list[Group]]:
    """The options that the fields of a dataclass stand for.

    Args:
        default: instance of the dataclass, with the values of options that are not given.

    Returns:
        The options, and the groups of the nested dataclasses, in the order of the fields.

    """
    return _options(default, "", "", ""), _groups(default)


def parameters_of(function: Callable[..., Any]) -> list[Option]:
    """The options that the parameters of a function stand for; those without a default are
    positional.
    """
    texts = _texts(function.__doc__ or "")
    hints = get_type_hints(function)
    options = []
    # In the order of the signature, in which positional words are read.
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is parameter.empty
        default = REQUIRED if required else parameter.default
        option = Option(name, _word(name), hints[name], default, texts[name], positional=required)
        options.append(option)
    return options


def filled(default: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a dataclass, with other values by the paths of their options."""
    for path, value in values.items():
        default = _replaced(default, path.split("."), value)
    return default


def _replaced(node: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return replace(node, **{head: _replaced(getattr(node, head), rest, value) if rest else value})


def _options(node: Any, path: str, prefix: str, group: str) -> list[Option]:
    texts = _texts_of_class(type(node))
    hints = get_type_hints(type(node))
    options = []
    for field in fields(node):
        if field.metadata.get("hidden"):
            continue
        value = getattr(node, field.name)
        below = f"{path}{field.name}"
        if is_dataclass(value):
            inner = prefix + field.metadata.get("prefix", "")
            options += _options(value, f"{below}.", inner, _title(value))
            continue
        positional = bool(field.metadata.get("positional"))
        options.append(
            Option(
                path=below,
                name=prefix + _word(field.name),
                hint=hints[field.name],
                default=REQUIRED if positional and _has_none(field) else value,
                text=texts.get(field.name, ""),
                group=group,
                positional=positional,
            )
        )
    return options


def _has_none(field: Field) -> bool:
    """True for a field without a default."""
    return field.default is MISSING and field.default_factory is MISSING


def _groups(default: Any) -> list[Group]:
    nested = [getattr(default, field.name) for field in fields(default)]
    return [
        Group(_title(node), inspect.cleandoc(type(node).__doc__ or ""))
        for node in nested
        if is_dataclass(node)
    ]


def _title(node: Any) -> str:
    """``noise search`` for a ``NoiseSearch``, ``network`` for a ``NetworkConfig``."""
    words = re.findall("[A-Z][a-z]+", type(node).__name__.removesuffix("Config"))
    return " ".join(words).lower()


def _word(name: str) -> str:
    return name.replace("_", "-")


def _texts_of_class(cls: type) -> dict[str, str]:
    """Docstring of each field of a dataclass."""
    from docstring_parser import parse_from_object

    return {each.arg_name: each.description or "" for each in parse_from_object(cls).params}


def _texts(docstring: str) -> dict[str, str]:
    """Description of each argument in the docstring of a function."""
    from docstring_parser import parse

    return {each.arg_name: each.description or "" for each in parse(docstring).params}

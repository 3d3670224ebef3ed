"""Reads presets, TOML and overrides into a configuration, and checks each value's type."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bench.config.errors import ConfigError
from bench.config.schema import RunConfig
from bench.record import flatten, unknown

C = TypeVar("C")
GUIDANCE = ("guidance.", "dg.")  # in a run, and in the command
PRESETS = Path(__file__).parents[1] / "presets"


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load_preset(preset: str | None, data: str = "digits") -> RunConfig:
    """The configuration of a preset, unchecked.

    Args:
        preset: its name; None for the data set's own preset, if it has one.
        data: name of the data set, or its spec with options.

    Raises:
        ConfigError: there is no such preset.

    """
    kind = data.partition(":")[0]
    # Data sets of the user's own have none, and need none.
    if preset is None and kind not in presets():
        return RunConfig(data=data)
    name = preset or kind
    if name not in presets():
        raise ConfigError(unknown("preset", name, presets()))
    return from_dict(tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8")))


def refuse_other_preset(preset: str | None, data: str | None) -> None:
    """Refuse a preset that was made for another data set of this repository than the one asked for.

    Images of the user's own, and data sets in modules, may take any recipe.

    Args:
        preset: its name; None for that of the data set.
        data: name of the data set; None if the preset is to choose it.

    Raises:
        ConfigError: they do not fit, or there is no such preset.

    """
    if preset is None or data is None:
        return
    made_for = load_preset(preset).data
    is_own = data.startswith(("image-", "hf", "torchvision")) or "." in data
    if data != made_for and not is_own:
        raise ConfigError(
            f"preset {preset} is for {made_for}, not {data}: leave --preset out to take that of"
            f" {data}, or --data to take {made_for}"
        )


def from_dict(content: dict) -> RunConfig:
    """The configuration, unchecked, of nested dictionaries such as ``RunConfig.identity``.

    Keys that are left out have their defaults.

    Raises:
        ConfigError: an unknown key, or a value of another type.

    """
    return apply(RunConfig(), flatten(content))


def apply(config: C, overrides: dict[str, object]) -> C:
    """The configuration with other values, unchecked.

    Args:
        config: to start from, also a command, which holds more.
        overrides: values by dotted key, ``training.lr``, or by the bare name of a field that
            occurs once.

    Raises:
        ConfigError: an unknown key, or a value of another type.

    """
    hints = _field_types(type(config))
    for key, value in overrides.items():
        field = _field_of(key, tuple(hints))
        # The command line has been checked by its parser; files and callers have not.
        value = _convert(value, hints[field], key)
        config = _replace(config, field.split("."), value)
    return config


def _field_of(key: str, fields: tuple[str, ...]) -> str:
    """The dotted key of a field that is named in full or, if that is unique, by its last part."""
    if key in fields:
        return key
    # Fields of the guidance are named in full: their short names are those of the training.
    by_name = [field for field in fields if field.split(".")[-1] == key]
    matches = [field for field in by_name if not field.startswith(GUIDANCE)]
    if len(matches) != 1:
        # In the spelling of the caller, who may have none of our sections.
        short = tuple(field.split(".")[-1] for field in fields if not field.startswith(GUIDANCE))
        raise ConfigError(unknown("option", key, fields if "." in key else short))
    return matches[0]


def _field_types(cls: Any, prefix: str = "") -> dict[str, Any]:
    """Type of every leaf field by its dotted key."""
    # Annotations are texts here; `get_type_hints` gives the types.
    hints: dict[str, Any] = {}
    for key, hint in get_type_hints(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            hints |= _field_types(hint, f"{prefix}{key}.")
        else:
            hints[prefix + key] = hint
    return hints


def _replace(node: Any, path: list[str], value: object) -> Any:
    """The frozen dataclass with another value at the end of the path."""
    head, *rest = path
    if rest:
        value = _replace(getattr(node, head), rest, value)
    return dataclasses.replace(node, **{head: value})


def _convert(value: object, hint: Any, key: str) -> object:
    """Check a value from TOML or JSON against a field's type.

    Lists become tuples, and numbers become whole ones or floats as the field asks.
    """
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        # All unions here are ``T | None``, or a type or one of some words.
        words = [arg for arg in get_args(hint) if get_origin(arg) is Literal]
        if words and value in get_args(words[0]):
            return value
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        choices = ", ".join(map(str, get_args(hint)))
        raise ConfigError(f"{key} must be one of {choices}, not {value!r}")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if get_origin(hint) is tuple:
        # samplers = "euler" leaves no doubt, in a file or a call.
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            # Tuples, so that a configuration can be compared and hashed
            return tuple(_convert(item, get_args(hint)[0], key) for item in value)
        raise ConfigError(f"{key} must be a list, not {value!r}")
    # By type, not isinstance: True is an int too, and 1 is not a text.
    if hint is float and type(value) is int:
        return float(value)
    # 1e6 is a float in TOML.
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if hint is Path and isinstance(value, Path):
        return value  # of the system's own subclass
    if type(value) is not hint:
        raise ConfigError(f"{key} must be of type {hint.__name__}, not {value!r}")
    return value

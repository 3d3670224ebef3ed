"""Reads presets, TOML and overrides into a configuration, each value checked against its field's
type.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.config.errors import ConfigError
from bench.config.schema import RunConfig
from bench.record import flatten, unknown

PRESETS = Path(__file__).parents[1] / "presets"


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load_preset(preset: str | None, data: str = "digits") -> RunConfig:
    """The configuration of a preset, unchecked; with None, of the data set's own preset if it has
    one.
    """
    base = RunConfig(data=data)
    if preset is None and data not in presets():
        return base
    name = preset or data
    if name not in presets():
        raise ConfigError(unknown("preset", name, presets()))
    content = tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
    return from_dict(content)


def from_dict(content: dict) -> RunConfig:
    """The configuration, unchecked, of nested dictionaries such as ``RunConfig.identity``; what is
    left out is default.

    Raises:
        ConfigError: an unknown key, or a value of another type.

    """
    return apply(RunConfig(), flatten(content))


def _field_types(cls: type, prefix: str = "") -> dict[str, Any]:
    """Type of every leaf field by its dotted key."""
    types_ = {}
    for key, hint in get_type_hints(cls).items():
        types_ |= (
            _field_types(hint, f"{prefix}{key}.") if is_dataclass(hint) else {prefix + key: hint}
        )
    return types_


def apply(config: RunConfig, overrides: dict[str, object]) -> RunConfig:
    types_ = _field_types(RunConfig)
    for key, value in overrides.items():
        # Fields of the guidance are named in full: their short names are those of the training.
        matches = [
            f
            for f in types_
            if key == f or (key == f.rsplit(".", 1)[-1] and not f.startswith("guidance."))
        ]
        if len(matches) != 1:
            raise ConfigError(unknown("option", key, tuple(types_)))
        config = _replace(
            config, matches[0].split("."), _convert(value, types_[matches[0]], matches[0])
        )
    return config


def _replace(node: Any, path: list[str], value: object) -> Any:
    head, *rest = path
    return dataclasses.replace(
        node, **{head: _replace(getattr(node, head), rest, value) if rest else value}
    )


def _convert(value: object, hint: Any, key: str) -> object:
    """Check a value from TOML against a field's type; lists become tuples and whole numbers floats
    where due.
    """
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(
            f"{key} must be one of {', '.join(map(str, get_args(hint)))}, not {value!r}"
        )
    if get_origin(hint) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_convert(item, get_args(hint)[0], key) for item in value)
        raise ConfigError(f"{key} must be a list, not {value!r}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{key} must be of type {hint.__name__}, not {value!r}")
    return value

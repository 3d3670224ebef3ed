"""Specs: `name` or `name:key=value,key=value`, read and written by the types of a dataclass's
fields.
"""

import dataclasses
import math
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from couplings.errors import CouplingError, require, unknown


def split_spec(text: str) -> tuple[str, dict[str, str]]:
    """`"a:k=v,l=w"` to `("a", {"k": "v", "l": "w"})`; a value may hold `:` and `=` but no comma."""
    name, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for item in rest.split(",") if colon else ():
        key, equals, value = (part.strip() for part in item.partition("="))
        require(
            bool(key and equals and value),
            f"{text!r}: expected key=value after the colon, got {item!r}",
        )
        require(key not in options, f"{text!r}: {key} is given twice")
        options[key] = value
    return name.strip(), options


def build(cls: type, options: dict[str, str]) -> Any:
    """An instance of the dataclass `cls` with the options read by the types of its fields."""
    hints = _option_types(cls)
    for key in options:
        if key not in hints:
            raise unknown(f"option of {cls.name}", key, hints)
    return cls(
        **{key: _read(text, hints[key], f"{cls.name}: {key}") for key, text in options.items()}
    )


def format_spec(instance: Any) -> str:
    """The canonical spec of an instance: `build(*split_spec(...))` gives it back."""
    hints = _option_types(type(instance))
    changed = (
        f
        for f in dataclasses.fields(instance)
        if f.name in hints and getattr(instance, f.name) != f.default
    )
    options = ",".join(
        f"{f.name}={_write(getattr(instance, f.name), hints[f.name])}" for f in changed
    )
    return f"{instance.name}:{options}" if options else instance.name


def check_options(instance: Any) -> None:
    """Refuse option values that a spec could not have produced, such as an unknown `Literal`
    choice.
    """
    for key, hint in _option_types(type(instance)).items():
        value, where = getattr(instance, key), f"{instance.name}: {key}"
        if _inner(hint) is float and type(value) is int:
            continue
        written = _write(value, hint)
        writable = written and written == written.strip() and "," not in written
        require(bool(writable), f"{where} cannot be written in a spec, got {value!r}")
        require(
            _read(written, hint, where) == value,
            f"{where} must be {_describe(hint)}, got {value!r}",
        )


def _option_types(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def _inner(hint: Any) -> Any:
    """`T` of `T | None`, any other hint as it is."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _describe(hint: Any) -> str:
    inner = _inner(hint)
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a word"}
    text = " | ".join(map(str, get_args(inner))) if get_origin(inner) is Literal else words[inner]
    return text if inner is hint else f"{text} or none"


def _read(text: str, hint: Any, where: str) -> Any:
    """One option value; raises `CouplingError` naming what the option takes."""
    inner = _inner(hint)
    if inner is not hint and text == "none":
        return None
    try:
        if get_origin(inner) is Literal:
            return {str(choice): choice for choice in get_args(inner)}[text]
        if inner is bool:
            return {"true": True, "false": False}[text.lower()]
        value = inner(text)
        if inner is float and not math.isfinite(value):
            raise ValueError(text)
    except (KeyError, ValueError):
        raise CouplingError(f"{where} must be {_describe(hint)}, got {text!r}") from None
    return value


def _write(value: Any, hint: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if _inner(hint) is float and isinstance(value, int):
        return repr(float(value))
    return str(value)

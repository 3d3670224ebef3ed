"""Specs, `name` or `name:key=value,key=value`: one syntax for the options of every plug-in.

The keys are the fields of a dataclass, or the keyword-only parameters of a function, and their
types say how a value is read:

    name, options = split_spec("sinkhorn:epsilon=0.1,replace=true")
    coupling = build(Sinkhorn, options)
    features = build(load, options, dataset, cache, device, name="inception")

A type is `bool`, `int`, `float`, `str`, a `Literal`, or one of these `| None`. Every error is a
`PluginError`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from couplings.errors import PluginError, unknown

NONE = "none"  # as a spec writes None
TYPES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a word"}


def split_spec(text: str) -> tuple[str, dict[str, str]]:
    """Split `"a:k=v,l=w"` into `("a", {"k": "v", "l": "w"})`; `build` reads the values.

    A value may hold `:` and `=`, but no comma.

    Raises:
        PluginError: not of this form, or a key comes twice.

    """
    name, colon, rest = text.partition(":")
    items = rest.split(",") if colon else []
    options: dict[str, str] = {}
    for item in items:
        key, _, value = item.partition("=")
        key = key.strip()
        value = value.strip()
        if not key or not value:
            raise PluginError(f"{text!r}: expected key=value after the colon, got {item!r}")
        if key in options:
            raise PluginError(f"{text!r}: {key} is given twice")
        options[key] = value
    return name.strip(), options


def build(
    target: Callable[..., Any], options: dict[str, str], *args: Any, name: str | None = None
) -> Any:
    """Call a dataclass or a function with the options of a spec.

    Args:
        target: the dataclass or function.
        options: of `split_spec`.
        args: what the function takes before its options.
        name: of the plug-in, for messages; by default `target.name`, or that of the function.

    Raises:
        PluginError: an unknown option (with the near matches) or a value of another type.

    """
    return target(*args, **read_options(target, options, name))


def read_options(
    target: Callable[..., Any], options: dict[str, str], name: str | None = None
) -> dict[str, Any]:
    """The values of the options that `build` calls `target` with; quick, as it calls nothing.

    Raises:
        PluginError: as `build`.

    """
    if name is None:
        name = getattr(target, "name", target.__name__)
    hints = option_types(target)
    values = {}
    for key, text in options.items():
        if key not in hints:
            raise unknown(f"option of {name}", key, hints)
        values[key] = _read(text, hints[key], f"{name}: {key}")
    return values


def option_types(target: Callable[..., Any]) -> dict[str, Any]:
    """The type of every option: of the fields of a dataclass, else of the keyword-only parameters.

    An option without a type is a `str`.
    """
    if dataclasses.is_dataclass(target):
        hints = get_type_hints(target)
        keys = [field.name for field in dataclasses.fields(target) if field.init]
    else:
        # The annotations of a class are those of its fields, not of what its constructor takes.
        function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
        hints = get_type_hints(function)
        parameters = inspect.signature(target).parameters.values()
        keys = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return {key: hints.get(key, str) for key in keys}


def option_words(target: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Each option of a dataclass to the words for what it takes and its default, as specs write
    it.
    """
    words = {}
    hints = option_types(target)
    for field in dataclasses.fields(target):  # type: ignore[arg-type] # a class is one too
        if field.init:
            hint = hints[field.name]
            words[field.name] = (_describe(hint, field.name), _write(field.default, hint))
    return words


def format_spec(instance: Any) -> str:
    """The canonical spec of a dataclass: its name, and the options that differ from their defaults.

    They are in the order of the fields. `build(*split_spec(...))` gives the instance back.
    """
    hints = option_types(type(instance))
    changed = []
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if field.init and value != field.default:
            changed.append(f"{field.name}={_write(value, hints[field.name])}")
    return f"{instance.name}:{','.join(changed)}" if changed else instance.name


def check_options(instance: Any) -> None:
    """Refuse option values that no spec could have produced, such as an unknown `Literal` choice.

    Raises:
        PluginError: with what the option takes.

    """
    for key, hint in option_types(type(instance)).items():
        _check(getattr(instance, key), hint, f"{instance.name}: {key}")


def _check(value: Any, hint: Any, where: str) -> None:
    if _inner(hint) is float and type(value) is int:
        return  # Python takes whole numbers for floats, and so do we
    written = _write(value, hint)
    if not written or written != written.strip() or "," in written:
        raise PluginError(f"{where} cannot be written in a spec, got {value!r}")
    # Read back, because equality finds every wrong type at once: "1" for 1, 1.5 for an int, ...
    if _read(written, hint, where) != value:
        raise PluginError(f"{where} must be {_describe(hint, where)}, got {value!r}")


def _inner(hint: Any) -> Any:
    """`T` of `T | None`, any other hint unchanged."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _describe(hint: Any, where: str) -> str:
    """Words for the values that an option takes."""
    inner = _inner(hint)
    if get_origin(inner) is Literal:
        text = " | ".join(map(str, get_args(inner)))
    elif inner in TYPES:
        text = TYPES[inner]
    else:
        raise PluginError(f"{where}: a spec cannot hold a {inner}: use bool, int, float or str")
    return text if inner is hint else f"{text} or {NONE}"


def _read(text: str, hint: Any, where: str) -> Any:
    """One option value; raises `PluginError` naming what the option takes."""
    inner = _inner(hint)
    expected = _describe(hint, where)
    if inner is not hint and text == NONE:
        return None
    try:
        return _parse(text, inner)
    except (KeyError, ValueError):
        raise PluginError(f"{where} must be {expected}, got {text!r}") from None


def _parse(text: str, kind: Any) -> Any:
    """The value of a text by its type; raises KeyError or ValueError if it has none."""
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}[text]
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    value = kind(text)
    # Python reads "nan" and "inf" as floats, and no solver has a use for them.
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _write(value: Any, hint: Any) -> str:
    """The text of a value, as `_read` takes it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    if _inner(hint) is float and isinstance(value, int):
        return repr(float(value))  # one spec for 2 and 2.0
    return str(value)

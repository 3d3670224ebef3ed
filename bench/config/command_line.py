"""Command lines: their help, their words, and the values that the words stand for."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
import types
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from bench.config.errors import ConfigError
from bench.config.options import REQUIRED, Group, Option

_SCALES = {"": 1, "k": 1000, "m": 1_000_000}
# Exponents of three digits: larger ones are beyond any count, and beyond decimal arithmetic too.
_COUNT = re.compile(
    r"([-+]?(?=\.?\d)(?:\d+(?:_\d+)*)?(?:\.\d+)?(?:e[-+]?\d{1,3})?)([km]?)",
    re.ASCII | re.IGNORECASE,
)
_LARGEST_COUNT = 10**27  # far more digits than a Decimal rounds off
_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}
# Names that other programs have for our options; letters alone would not find them.
_ELSEWHERE = {
    "steps": "images",
    "iterations": "images",
    "epochs": "images",
    "learning-rate": "lr",
    "dataset": "data",
    "method": "coupling",
    "num-seeds": "seeds",
    "gpu": "device",
    "output": "runs",
    "out": "runs",
    "jobs": "parallel",
}


class CommandLine(argparse.ArgumentParser):
    """The parser of a command. Bad input raises a ``ConfigError`` of one line.

    Args:
        program: the command as the user calls it, such as ``python -m bench.run``.
        description: paragraphs; they are wrapped, and indented lines stay as they are.
        options: of the command.
        groups: titles and descriptions of groups of options, in their order.
        common: names of the options that come first in the help.

    """

    def __init__(
        self,
        program: str,
        description: str,
        options: Sequence[Option],
        groups: Sequence[Group] = (),
        common: Sequence[str] = (),
    ):
        positional = [option for option in options if option.positional]
        words = "".join(f" {_metavar(option)}" for option in positional)
        super().__init__(
            prog=program,
            usage=f"%(prog)s{words} [options]",
            description=wrapped(description).replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        self._options = {option.path: option for option in options}
        self._add(options, groups, common)

    def values(self, args: Sequence[str], stray: str | None = None) -> dict[str, Any]:
        """The values of the options that are given, by their path.

        Args:
            args: the words.
            stray: name of the option that a word without one is probably meant for.

        Raises:
            ConfigError: an option is unknown or lacks a value, or a value is not one of its type.

        """
        known, unknown = self.parse_known_args([*chain.from_iterable(map(_guarded, args))])
        if unknown:
            raise ConfigError(self._about(unknown[0].strip(), stray))
        values = {}
        for path, given in vars(known).items():
            words = given if isinstance(given, list) else [given]
            values[path] = _value(self._options[path], words)
        return values

    def error(self, message: str) -> NoReturn:
        """Raise the message of the parser."""
        raise ConfigError(message.removeprefix("argument "))

    def _add(
        self, options: Sequence[Option], groups: Sequence[Group], common: Sequence[str]
    ) -> None:
        """Add the options in groups: positional, common, others of the command, then the rest."""
        named = [option for option in options if not option.positional]
        order = {name: place for place, name in enumerate(common)}
        first = [option for option in named if option.name in order]
        own = [option for option in named if option.group == "" and option not in first]
        self._add_group("positional arguments", [option for option in options if option.positional])
        first.sort(key=lambda option: order[option.name])
        if first:
            self._add_group("common options", first, with_help=True)
        self._add_group("more options" if first else "options", own, with_help=not first)
        for group in groups:
            inside = [each for each in named if each.group == group.title and each not in first]
            self._add_group(f"{group.title} options", inside, wrapped(group.text, indent=2))

    def _add_group(
        self, title: str, options: Iterable[Option], text: str = "", with_help: bool = False
    ) -> None:
        # An empty text would stand as an empty line.
        group = self.add_argument_group(title, text.replace("%", "%%") or None)
        for option in options:
            _add_option(group, option)
        if with_help:
            group.add_argument("-h", "--help", action="help", help="Show this help and exit.")

    def _about(self, word: str, stray: str | None) -> str:
        """The line for a word that is no option, with the near matches."""
        names = [option.name for option in self._options.values() if not option.positional]
        if not word.startswith("-"):
            if word.lower() in ("true", "false"):
                return f"unexpected {word!r}: switches take no value; the opposite of --x is --no-x"
            if stray is None:
                return f"unexpected {word!r}: options have names; --help lists them"
            return f"unexpected {word!r}: did you mean --{stray} {word}?"
        near = _near(word.lstrip("-").partition("=")[0], names)
        hint = " did you mean " + " or ".join(f"--{name}" for name in near) + "?" if near else ""
        return f"unknown option {word!r}:{hint} --help lists all options"


def wrapped(text: str, indent: int = 0) -> str:
    """Paragraphs wrapped for the terminal; indented lines and the one above them are kept.

    Args:
        text: paragraphs, with an empty line between two of them.
        indent: columns that will stand left of it.

    """
    width = shutil.get_terminal_size().columns - 2 - indent
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        paragraph if "\n  " in paragraph else textwrap.fill(" ".join(paragraph.split()), width)
        for paragraph in paragraphs
    )


def count(word: str) -> int:
    """A whole number, also written as 65k, 5M or 1e6.

    Raises:
        ConfigError: it is not one.

    """
    match = _COUNT.fullmatch(word.strip())
    value = Decimal(match[1]) * _SCALES[match[2].lower()] if match else None
    if value is None or abs(value) > _LARGEST_COUNT or value != int(value):
        raise ConfigError(f"{word.strip()} is not a whole number, such as 500, 65k, 5M or 1e6")
    return int(value)


def _add_option(group: Any, option: Option) -> None:
    """Add an option to a group of argparse."""
    text = _help(option).replace("%", "%%")
    if option.hint is bool:
        for value, flag in ((True, option.flag), (False, option.off)):
            # The one that changes something
            shown = text if value is not option.default else argparse.SUPPRESS
            group.add_argument(
                flag, dest=option.path, action="store_const", const=value, help=shown
            )
        return
    settings: dict[str, Any] = {"help": text, "metavar": _metavar(option)}
    if get_origin(option.hint) is tuple:
        settings |= {"nargs": "*", "metavar": _metavar_of(get_args(option.hint)[0])}
    if option.positional:
        group.add_argument(option.path, **settings)
    else:
        group.add_argument(option.flag, dest=option.path, **settings)


def _help(option: Option) -> str:
    """The help of an option, with its default if that says something."""
    text = " ".join(option.text.split())
    default = option.default
    # What stands for no default is explained by the text itself.
    if option.hint is bool or default in (REQUIRED, None, (), ""):
        return text
    values = default if isinstance(default, tuple) else (default,)
    shown = " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return f"{text} (default: {shown})"


def _metavar(option: Option) -> str:
    if get_origin(option.hint) is tuple:
        name = _metavar_of(get_args(option.hint)[0])
        return f"{name} [{name} ...]"
    return "FILE" if option.path.endswith("_file") else _metavar_of(option.hint)


def _metavar_of(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    kinds = [kind for kind in _kinds(hint) if kind is not type(None)]
    if len(kinds) > 1:
        return "|".join(map(_metavar_of, kinds))
    return _METAVARS[kinds[0]]


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _guarded(word: str) -> list[str]:
    """A word of the command line as argparse has to see it: an option and its first value apart."""
    # argparse takes what begins with a dash for an option, also a pair of numbers: -1.2,1.2.
    if re.match(r"-[\d.]", word):
        return [f" {word}"]
    if not word.startswith("--"):
        return [word]
    name, equals, value = word.partition("=")
    return [name.replace("_", "-"), *([f" {value}"] if equals else [])]


def _value(option: Option, words: list[Any]) -> Any:
    """The value that the words of an option stand for."""
    # A switch has no words.
    if option.hint is bool:
        return words[0]
    try:
        if get_origin(option.hint) is not tuple:
            return _converted(option.hint, words[0])
        kind = get_args(option.hint)[0]
        # 5,9 is two numbers; texts hold commas of their own.
        if kind in (int, float):
            words = [part for part in ",".join(words).split(",") if part]
        return tuple(_converted(kind, word) for word in words)
    except ConfigError as error:
        called = option.name if option.positional else option.flag
        raise ConfigError(f"{called}: {error}") from None


def _converted(hint: Any, word: str) -> Any:
    """A word as a value of a type.

    Raises:
        ConfigError: it is none.

    """
    word = word.strip()
    kinds = _kinds(hint)
    choices = list(chain.from_iterable(map(get_args, kinds)))
    if word in choices:
        return word
    if word == "None" and type(None) in kinds:
        return None
    plain = [kind for kind in kinds if kind in _METAVARS]
    if not plain:
        raise ConfigError(f"{word!r} is not one of {', '.join(choices)}")
    kind = plain[0]
    if kind is int:
        return count(word)
    return _number(word) if kind is float else kind(word)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"{word} is not a number") from None


def _near(word: str, names: Sequence[str]) -> list[str]:
    """The options that a wrong one may stand for, the likeliest first, at most three."""
    if _ELSEWHERE.get(word) in names:
        return [_ELSEWHERE[word]]
    near = get_close_matches(word, names, n=3, cutoff=0.7)
    # Part of a name: rank by length, the shortest is nearest.
    parts = sorted((name for name in names if word in name.split("-")), key=len)
    return list(dict.fromkeys([*near, *parts]))[:3]

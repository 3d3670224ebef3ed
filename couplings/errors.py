"""The errors of this package, and how they are raised."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PluginError(ValueError):
    """An unknown or unusable plug-in, or a bad option; the message names the way out."""


class CouplingError(PluginError):
    """An unknown coupling, a bad option, a pool that cannot be paired or a solver that failed."""


def require(condition: bool, message: str) -> None:
    """Raise `CouplingError(message)` unless the condition holds."""
    if not condition:
        raise CouplingError(message)


def unknown(what: str, word: str, known: Iterable[str], way_out: str = "") -> PluginError:
    """The error for an unknown word, with the near matches and the list of the known ones.

    Args:
        what: the word is, such as `"coupling"`.
        word: as it was given.
        known: the words to choose from.
        way_out: ends the message.

    """
    choices = list(known)
    # Half of the letters: a swapped pair in a word of four, such as "cots", still finds "cost".
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    listed = ", ".join(choices) or "none"
    return PluginError(f"unknown {what} {word!r}:{hint} known: {listed}{way_out}")

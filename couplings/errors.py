"""The error of this package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CouplingError(ValueError):
    """An unknown coupling, a bad option, a pool that cannot be paired or a solver that failed."""


def require(condition: bool, message: str) -> None:
    """Raise `CouplingError(message)` unless the condition holds."""
    if not condition:
        raise CouplingError(message)


def unknown(what: str, word: str, known: Iterable[str]) -> CouplingError:
    """The error for a word that is not known: names the near matches and lists the known ones."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    return CouplingError(f"unknown {what} {word!r}:{hint} known: {', '.join(known) or 'none'}")

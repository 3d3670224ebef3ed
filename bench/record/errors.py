"""The base of errors that users see, and the line for a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something that the user can mend; the message is one line and names the way out."""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """One line for a word that is not known, with the nearest known one and the whole list.

    Args:
        what: what the word stands for, such as ``"preset"``.
        word: the word.
        known: the words that are allowed.

    """
    known = list(known)
    near = get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}.{hint} Known: {', '.join(known)}"

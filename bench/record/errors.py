"""Errors that users see: their base class, their one line, and the line for an unknown word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

ROOMS = ("bench", "couplings", "models", "reports", "slurm")


class UserError(ValueError):
    """Something that the user can mend; the message is one line and names the way out."""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """One line for a word that is not known, with the near matches and the list of the known ones.

    The sentence is that of ``couplings.errors``, which this package must not wait for.

    Args:
        what: what the word stands for, such as ``"preset"``.
        word: the word.
        known: the words that are allowed.

    """
    # It may be a view or an iterator, which could be read only once.
    choices = list(known)
    # Half of the letters: a swapped pair in a word of four, such as "gird", still finds "grid".
    near = get_close_matches(word, choices, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    listed = ", ".join(choices) or "none"
    return f"unknown {what} {word!r}:{hint} known: {listed}"


def is_ours(error: Exception) -> bool:
    """True if the error is of a type of this project: its message is a whole sentence that names
    the way out.
    """
    return type(error).__module__.split(".")[0] in ROOMS


def missing_package(error: Exception) -> str | None:
    """One line for a package that an extra of this project installs; None for any other error."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    # Imports torch, which only this error has to wait for.
    from couplings.extras import hint

    return hint(error)


def one_line(error: Exception) -> str:
    """The message of an error without line breaks; a foreign type's name stands before it."""
    if line := missing_package(error):
        return line
    # Libraries write paragraphs; a log of many runs is read line by line.
    message = " ".join(str(error).split())
    # Torch's LinAlgError has an underscore in front.
    name = type(error).__name__.lstrip("_")
    if is_ours(error):
        return message or name
    return f"{name}: {message}" if message else name

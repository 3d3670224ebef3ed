"""The error of a configuration, and one line for a word that is not known."""

from difflib import get_close_matches


class ConfigError(ValueError):
    """Bad input; the message is one line and names the way out."""


def unknown(what: str, word: str, known: tuple[str, ...]) -> str:
    """One line for a word that is not known, with the nearest one and the whole list."""
    near = get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}.{hint} Known: {', '.join(known)}"

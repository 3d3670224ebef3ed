"""Tables of numbers as aligned text."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float | None, missing: str) -> str:
    """Four significant digits, or the text for a value that was not measured."""
    return missing if value is None else f"{value:.4g}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words as lines with aligned columns, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        words = [word.ljust(width) for word, width in zip(row, widths, strict=True)]
        # Spaces at the end would wrap in a narrow terminal.
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)

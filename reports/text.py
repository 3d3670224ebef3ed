"""Numbers, names and lists as words."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from markupsafe import Markup, escape

# Type of columns of text. Without [python] it would be pyarrow's where pyarrow is installed:
# their masks cannot be combined with those of other columns.
STRINGS = "string[python]"
MISSING = "–"
_MINUS = "−"  # the sign, which is as wide as a plus
_SHA256 = re.compile("[0-9a-f]{64}")  # of a decoder or a data set
_DIGITS = 10  # of a hash that a person reads
_ONE_DECIMAL = 0.0995  # below this share a percentage has a decimal: 9.9 %, but 10 %
_MORE_DECIMALS = 2  # at most, where an end of an interval would round to no change


def number(value: float) -> str:
    """Three significant digits, without an exponent where a person would write none."""
    if math.isnan(value):
        # In words: "nan" in a table reads like a fault of the report, but here the run diverged.
        return "not finite"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    if value == 0:
        return "0"
    # From here on three digits would round away whole numbers that a reader counts.
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    # The alternate form keeps trailing zeros: 8.10 has three digits, 8.1 has two.
    return f"{value:#.3g}".rstrip(".")


def short(value: float) -> str:
    """Two significant digits, for a spread next to its mean."""
    if value == 0:
        return "0"
    # The standard deviation of fewer than ten seeds is itself uncertain by a quarter or more, so
    # further digits would claim a precision that it does not have.
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.2g}".rstrip(".")


def percent(share: float) -> str:
    """``0.384`` to ``38 %``; small shares keep a decimal."""
    # A share of 0.04 would become 4 % or, worse, 0.4 % become 0 %.
    decimals = 1 if 0 < abs(share) < _ONE_DECIMAL else 0
    return f"{100 * share:.{decimals}f} %"


def change(ratio: float, low: float | None = None, high: float | None = None) -> str:
    """A ratio, and the ends of its interval if there is one, as change: ``−38 % [−45, −30]``."""
    changes = [100 * (one - 1) for one in ([ratio] if low is None else [ratio, low, high])]
    # All numbers of one change have a decimal, or none has.
    decimals = 1 if max(map(abs, changes)) < 100 * _ONE_DECIMAL else 0
    decimals = _decimals(changes[1:], decimals)
    # With its sign: "38 %" alone could be a rise, a fall or a ratio.
    texts = [f"{one:+,.{decimals}f}".replace("-", _MINUS) for one in changes]
    if low is None:
        return f"{texts[0]} %"
    return f"{texts[0]} % [{texts[1]}, {texts[2]}]"


def added(share: float) -> str:
    """Work that is added, ``0.029`` to ``+3 %``; below one percent with a decimal."""
    # Rounded before the choice, or 0.0096 would become +1.0 %.
    decimals = 1 if abs(round(share, 3)) < 0.01 else 0
    rounded = f"{100 * share:+.{decimals}f}".replace("-", _MINUS)
    return f"{rounded} %" if float(f"{100 * share:.{decimals}f}") else "0"


def factors(low: float, high: float) -> str:
    """The ends of the interval of a ratio: ``[0.57, 0.63]``."""
    decimals = _decimals([low - 1, high - 1], 2)
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _decimals(ends: Sequence[float], least: int) -> int:
    """Decimals, ``least`` or more, by which no end that is a change is rounded to no change."""
    # "[-38, -0]" would leave the reader to guess whether the interval excludes no change.
    for decimals in range(least, least + _MORE_DECIMALS):
        if all(one == 0 or round(one, decimals) for one in ends):
            return decimals
    return least + _MORE_DECIMALS


def join(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def listed(parts: Sequence[str]) -> str:
    """The parts that are not empty, with commas: the title of a table."""
    return ", ".join(part for part in parts if part)


def plural(count: int, noun: str) -> str:
    """``1 table`` or ``3 tables``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def counts(numbers: Collection[int]) -> str:
    """Rising whole numbers in words: ``500 and 2,000``."""
    return join([f"{count:,}" for count in sorted(numbers)])


def nfe_range(chosen: Sequence[int], grid: Sequence[int]) -> str:
    """NFEs in words, with neighbours on ``grid`` as one range: ``3 to 9 and 27``."""
    spans: list[list[int]] = []
    before = None
    for position, nfe in enumerate(grid):
        if nfe not in chosen:
            continue
        # Neighbours on the grid, not in value: NFE 3 and 5 have nothing between them.
        if spans and before == position - 1:
            spans[-1].append(nfe)
        else:
            spans.append([nfe])
        before = position
    parts = []
    for span in spans:
        # Two neighbours are shorter as "3 and 5" than as "3 to 5".
        parts += [f"{span[0]} to {span[-1]}"] if len(span) > 2 else [str(nfe) for nfe in span]
    return join(parts)


def setting(name: str, value: object) -> str:
    """``pool 256``; ``without pool`` if there is none; ``rho 7`` for a schedule.

    A SHA-256 is cut to its first digits.
    """
    if is_missing(value):
        return f"without {name}"
    if name == "schedule":
        return schedule_label(str(value))
    if _SHA256.fullmatch(str(value)):
        return f"{name} {str(value)[:_DIGITS]}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def schedule_label(schedule: str) -> str:
    """``rho 7`` for ``karras:rho=7`` and ``shift 3`` for ``flow:shift=3``; others as they are."""
    # A name of ours, such as "fixed schedule", stays as well.
    for start, word in (("karras:rho=", "rho"), ("flow:shift=", "shift")):
        if schedule.startswith(start):
            return f"{word} {schedule.removeprefix(start)}"
    return schedule


def is_missing(value: object) -> bool:
    """True if a cell of a table is empty, whatever its type."""
    import pandas as pd

    return value is None or bool(pd.isna(value))


def pieces(name: str, width: int = 22) -> list[str]:
    """A coupling's spec in lines of at most ``width`` characters, broken after ``:`` and ``,`` if
    possible.
    """
    parts = []
    for part in re.findall(r"[^:,]*[:,]?", name):
        # (?s), or a line break, which a name of the user's may hold, would drop out of the name.
        parts += re.findall(rf"(?s).{{1,{width}}}", part)
    return wrapped(parts, width)


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Parts put together to lines of at most ``width`` characters; at least one line."""
    # Even an empty name takes a line in a legend.
    lines = [""]
    for part in parts:
        if not lines[-1] or len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return lines


def one_line(text: str) -> str:
    """Text without line breaks and characters that cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def aligned(lines: Sequence[Sequence[str]], left: int = 0, widths: Sequence[int] = ()) -> str:
    """Lines of cells as columns, the first ``left`` of them flush left.

    Args:
        lines: cells of equal number.
        left: number of columns that are flush left.
        widths: of the columns; by default as wide as their cells.

    """
    widths = widths or [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for line in lines:
        cells = []
        for place, (text, width) in enumerate(zip(line, widths, strict=True)):
            cells.append(text.ljust(width) if place < left else text.rjust(width))
        # Spaces at the end of a line wrap in a terminal that is only as wide as the text.
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def breakable(name: str) -> Markup:
    """A name that may break after ``:``, ``,`` and ``_``."""
    # Two letters at least begin a line, because a single one there looks like a misprint.
    # Markup.join escapes the parts, so a tag in a name stays text.
    return Markup("<wbr>").join(re.split(r"(?<=[:,_])(?=\w\w)", name))


def unbroken(line: str) -> Markup:
    """A sentence of the page in which options of a command, ``--seeds 3``, stay on one line."""
    # Browsers break lines after hyphens, and "--" at the end of a line looks like a dash.
    option = r"--[a-z][\w-]*(?: \w+)?"
    # Escaped before our tags come in, or these would be escaped as well.
    return Markup(re.sub(option, r'<span class="option">\g<0></span>', str(escape(line))))


def plain(value: object) -> str:
    """A value of the configuration or the provenance as text."""
    if value is None:
        return MISSING
    # "true", as config.json has it, so that a search for the value finds it there.
    return str(value).lower() if isinstance(value, bool) else str(value)

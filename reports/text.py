"""How metrics and numbers are put into words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import text as words

if TYPE_CHECKING:
    pass


MISSING = "–"


def number(value: float) -> str:
    """Three significant digits, without an exponent where a person would write none."""
    if math.isnan(value):
        return "not finite"
    if not math.isfinite(value):
        return "infinite" if value > 0 else "-infinite"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def short(value: float) -> str:
    """Two significant digits, for a spread beside its mean."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.2g}".rstrip(".") if value else "0"


def percent(share: float) -> str:
    """``0.384`` to ``38 %``; small ones keep a decimal."""
    return f"{100 * share:.1f} %" if 0 < abs(share) < 0.0995 else f"{100 * share:.0f} %"


def join(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def nfe_range(chosen: Sequence[int], grid: Sequence[int]) -> str:
    """NFEs in words, neighbours on ``grid`` drawn together: ``3 to 9 and 27``."""
    spans: list[list[int]] = []
    for nfe in grid:
        if nfe not in chosen:
            continue
        if spans and grid.index(nfe) == grid.index(spans[-1][-1]) + 1:
            spans[-1].append(nfe)
        else:
            spans.append([nfe])
    parts = [[f"{s[0]} to {s[-1]}"] if len(s) > 2 else list(map(str, s)) for s in spans]
    return join([part for span in parts for part in span])


def setting(name: str, value: object) -> str:
    """``rho 7``; ``without rho`` where there is none."""
    import pandas as pd

    if value is None or pd.isna(value):
        return f"without {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def pieces(name: str, width: int = 22) -> list[str]:
    """A coupling's spec in lines of at most ``width`` characters, cut behind ``:`` and ``,`` where
    that does.
    """
    parts = [
        part[i : i + width]
        for part in re.findall(r"[^:,]*[:,]?", name)
        for i in range(0, len(part), width)
    ]
    lines = parts[:1] or [""]
    for part in parts[1:]:
        if len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return lines


def aligned(lines: Sequence[Sequence[str]], widths: Sequence[int], left: int = 0) -> str:
    """Lines of cells as columns of these widths, the first ``left`` of them flush left."""
    pad = [str.ljust if i < left else str.rjust for i in range(len(widths))]
    return "\n".join(
        "  ".join(p(t, w) for p, t, w in zip(pad, line, widths, strict=True)).rstrip()
        for line in lines
    )


def _breakable(name: str) -> Markup:
    """A name that may break behind ``:``, ``,`` and ``_``."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,_])(?=\w\w)", name))


def _plain(value: object) -> str:
    """A config or provenance value as text."""
    if value is None:
        return words.MISSING
    return str(value).lower() if isinstance(value, bool) else str(value)

"""How metrics and numbers are put into words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

METRICS = {
    "fd_classifier": "Fréchet distance in the features of a classifier trained on this data set; not an FID. "
    "Lower is better.",
    "truncation_error": "Root mean square difference per pixel from where a dense solver ends, from the same noise. "
    "Lower is better.",
    "fd_pixels": "Fréchet distance on raw pixels; not an FID. Lower is better.",
    "curvature_fm": "Mean squared departure of the velocity from the straight line, in flow-matching time; "
    "0 is straight. Lower is better.",
    "transport_cost": "Mean cost of the pairs that were trained on. Lower means closer pairs.",
    "transport_cost_independent": "The same cost before pairing.",
    "coupling_ms": "Milliseconds to couple one pool.",
    "coupling_share": "Time the solver worked, as a share of the training time: beside it, not added to it.",
    "coupling_fit_seconds": "Seconds to fit the coupling on the training set, once, before the training.",
    "coupling_wait_share": "Share of the training time that the trainer stood still for the coupling.",
    "images_per_s": "Training images a second; the fit of a coupling comes on top. Higher is better.",
}
"""What each known metric says, in the order of the report; a metric that is not listed comes after these."""

MISSING = "–"


def metric_rank(metric: str) -> tuple[int, str]:
    """Sort key of a metric."""
    known = list(METRICS)
    return (known.index(metric) if metric in METRICS else len(known), metric)


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


def change(ratio: float) -> str:
    """A ratio to random: ``38 % lower``, ``4.0 % higher``, ``2.3 times as high``."""
    if ratio >= 2:
        return f"{number(ratio)} times as high"
    return f"{percent(abs(1 - ratio))} {'lower' if ratio < 1 else 'higher'}"


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


def pieces(name: str, width: int = 22) -> list[str]:
    """A coupling's spec in lines of at most ``width`` characters, cut behind ``:`` and ``,`` where that does."""
    parts = [part[i : i + width] for part in re.findall(r"[^:,]*[:,]?", name) for i in range(0, len(part), width)]
    lines = parts[:1] or [""]
    for part in parts[1:]:
        if len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return lines

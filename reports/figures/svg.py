"""SVG for a page: current colour, unique ids, a title."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.figures.style import _BASELINE_INK, _FONT, _INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LONG = re.compile(r"(\.\d\d)\d+")


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an <svg> element without prolog, foreign names or ids that another figure could
    share.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    opening, body = _lean(text).split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening).group()
    style = f'style="--inches: {figure.get_figwidth():g}"'
    text = (
        f'<svg {box} {style} role="img" aria-label="{escape(title)}" font-family="{_FONT}">{body}'
    )
    text = (
        text.replace("xlink:href", "href")
        .replace(_INK, "currentColor")
        .replace(_BASELINE_INK, "var(--baseline, #444)")
    )
    return Markup(re.sub(r"\n\s*", "\n", text))


def _lean(svg: str) -> str:
    """The same picture in half the bytes: places to a hundredth of a point, and nothing said twice."""
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the same on every text; now on the whole
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = svg.replace("; stroke: #000000; stroke-opacity: 0; stroke-linejoin: miter", "")
    return re.sub(
        r' (?:d|x|y|transform)="[^"]*"', lambda place: _LONG.sub(r"\1", place.group()), svg
    )

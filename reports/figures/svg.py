"""SVG for a page: current colour, unique ids, a title."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.figures.style import BASELINE_INK, FONT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Figure:
    """A drawing with its words.

    Attributes:
        title: above the caption.
        svg: the drawing.
        caption: the meaning of the values.
        wide: True if it has several panels side by side.
        marks: the meaning of lines, dots and bands.

    """

    title: str
    svg: Markup
    caption: str
    wide: bool = False
    marks: str = ""


MARK = "mark|"  # start of the gid of artists that the page can point at: mark|ROW|KIND|NFE


def mark(row: int, kind: str, nfe: int | str = "") -> str:
    """The gid of an artist that the page can point at or hide."""
    return f"{MARK}{row}|{kind}|{nfe}"


def to_svg(figure: Canvas, title: str, tips: Mapping[str, str] | None = None) -> Markup:
    """A drawing as an <svg> element without prolog, namespaces, or ids that another drawing could
    share.

    Args:
        figure: of matplotlib.
        title: the drawing in a sentence, for readers who cannot see it.
        tips: gid, from ``mark``, to words for whoever points at that artist.

    """
    buffer = io.StringIO()
    # Without metadata, because it holds the time and would change the bytes of equal figures.
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Transparent, because the page behind it may be dark.
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    # Within HTML, the prolog of an XML file is an error.
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # HTML knows the namespaces of SVG; what is left of xlink is written without it.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    tips = tips or {}
    text = re.sub(r'<g id="(mark\|[^"]*)"[^>]*>', lambda found: _marked(found[1], tips), text)
    # Groups are numbered alike in all figures, and nothing refers to them.
    # Ids of markers and clip paths stay, because other elements refer to them. They are hashes of
    # their content, so two drawings share one only where it means the same.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    # Numbers have six decimals, of which a hundredth of a point is all that anyone can see.
    text = re.sub(r"(\.\d\d)\d{4}\b", r"\1", text)
    opening, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening).group()
    # For the stylesheet: scaled to a narrow screen, wide figures would have illegible letters.
    inches = f'style="--inches: {figure.get_figwidth():g}"'
    # Escaped, because a quote in the name of a coupling would end the attribute.
    label = f'role="img" aria-label="{escape(title)}"'
    body = body.replace(INK, "currentColor").replace(BASELINE_INK, "var(--baseline, #444)")
    whole = f'<svg {box} {inches} {label} font-family="{FONT}">{body}'
    return Markup(re.sub(r"\n\s*", "\n", whole))


def _marked(gid: str, tips: Mapping[str, str]) -> str:
    """The opening of a group that the page can point at."""
    _, row, kind, nfe = gid.split("|")
    opening = f'<g class="mark {kind}" data-row="{row}" data-nfe="{nfe}">'
    # Browsers show a title to whoever points at the group, also without scripts.
    return f"{opening}<title>{escape(tips[gid])}</title>" if gid in tips else opening

"""The figures of a report as files: SVG and PDF for papers, PNG for slides and messages."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reports.figures import panels as curves
from reports.figures.drawing import drawing_style
from reports.figures.ratios import has_ratios, ratio_drawing
from reports.figures.style import STYLE, Look, looks
from reports.overview.first_screen import first_screen
from reports.tables.groups import Group
from reports.tables.panels import side_by_side

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "figures"
_DPI = 200
# None for what changes with the time or the version: equal figures are equal files.
_METADATA = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def drawings(groups: Sequence[Group]) -> dict[str, bytes]:
    """File name to content: each figure of each comparison in three formats.

    ``digits-pool-1024-fd_classifier-test-ratio.svg`` is that of the first screen.
    """
    files = {}
    for group in groups:
        look = looks(group.couplings)
        for name, figure in (*_ratios(group, look), *_panels(group, look)):
            for kind in _METADATA:
                files[f"{_file_name(group.title, name)}.{kind}"] = _saved(figure, kind)
    return files


def _ratios(group: Group, look: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    for view in first_screen(group).views:
        if has_ratios(view.table):
            title = f"{view.metric}\nchange vs random pairing (log scale)"
            yield f"{view.table.panel.title} ratio", ratio_drawing(view.table, look, title=title)


def _panels(group: Group, look: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    """The curves, and the bars of values per run, that the page draws."""
    plain = group.plain
    drawn = [panel for panel in plain.curves if panel.info.figure]
    for shared in side_by_side(drawn):
        yield shared[0].family_title, curves.curve_drawing(shared, look)
    for panel in plain.values:
        if panel.info.figure and panel.info.per == "run":
            yield panel.title, curves.bars_drawing(panel, look)


def _file_name(*parts: str) -> str:
    """Words that any file system takes: ``digits, pool 256`` becomes ``digits-pool-256``."""
    return re.sub(r"[^\w.=]+", "-", " ".join(parts)).strip("-.")


def _saved(figure: Figure, kind: str) -> bytes:
    """A figure as a file on white, whatever the page behind it."""
    # Marks are for the page only, and no names that other programs would take.
    for artist in figure.findobj():
        artist.set_gid(None)
        # The line from an annotation is no child of the figure.
        arrow = getattr(artist, "arrow_patch", None)
        if arrow is not None:
            arrow.set_gid(None)
    buffer = io.BytesIO()
    with drawing_style(STYLE):
        settings = {"facecolor": "white", "dpi": _DPI, "metadata": _METADATA[kind]}
        figure.savefig(buffer, format=kind, **settings)
    return buffer.getvalue()

"""The report on some runs as Python objects, for programs and notebooks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports.figures.drawing import drawing_style
from reports.figures.panels import curve_drawing
from reports.figures.ratios import has_ratios, ratio_drawing
from reports.figures.style import STYLE, looks
from reports.files.answer import answer_text
from reports.overview.first_screen import first_screen
from reports.tables.groups import Group, groups
from reports.tables.runs import ReportError
from reports.tables.studies import opened
from reports.tables.tidy import results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_WIDTH = 100  # letters of a line of the answer
_DPI = 120


@dataclass(frozen=True)
class Results:
    """Finished runs. A notebook shows the answer and its figure.

    Attributes:
        folder: that holds their folders, ``results.csv`` and the page.
        run_ids: their names.

    """

    folder: Path
    run_ids: tuple[str, ...]

    @property
    def page(self) -> Path:
        """The report in HTML, on all runs of the folder."""
        return self.folder / "report.html"

    def table(self) -> pd.DataFrame:
        """One row per measurement, with the columns of ``results.csv``."""
        with opened([self.folder], [*self.run_ids]) as found:
            return results(found.runs)

    def answer(self) -> str:
        """Which coupling at which NFE: the cards of the report's first screen as plain text."""
        with self._groups() as cut:
            texts = [answer_text(first_screen(group), _WIDTH) for group in cut]
        return "\n\n".join(filter(None, texts))

    def figure(self, comparison: int = 0) -> Figure:
        """The change against random pairing over NFE, or the distances if nothing is compared.

        Args:
            comparison: its number, in the order of the report. Runs that differ in more than the
                coupling and the seed are different comparisons.

        Raises:
            ReportError: the runs have no judged metric, or there is no comparison of this number.

        """
        with self._groups() as cut:
            if not 0 <= comparison < len(cut):
                raise ReportError(f"no comparison {comparison}: there are {len(cut)}, from 0")
            return _figure(cut[comparison])

    @contextmanager
    def _groups(self) -> Iterator[list[Group]]:
        with opened([self.folder], [*self.run_ids]) as found:
            yield [*groups(results(found.runs), found.runs)]

    def _repr_html_(self) -> str:
        answer = html.escape(self.answer())
        text = f"<pre>{answer}</pre>"
        try:
            picture = base64.b64encode(_png(self.figure())).decode()
        except ReportError:
            # A notebook shows the text then, rather than a traceback.
            return text
        return f'{text}<img alt="{answer}" src="data:image/png;base64,{picture}">'


def _figure(group: Group) -> Figure:
    look = looks(group.couplings)
    view = first_screen(group).default
    if view is None:
        raise ReportError("no judged metric was measured: ask for one with metrics=, or more NFE")
    if has_ratios(view.table):
        title = f"{view.metric}\nchange vs random pairing (log scale)"
        return ratio_drawing(view.table, look, title=title)
    return curve_drawing([view.table.panel], look)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with drawing_style(STYLE):
        figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()

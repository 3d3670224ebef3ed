"""Figures of panels, with the words about them."""

from __future__ import annotations

from collections.abc import Sequence

from reports.figures import panels as drawings
from reports.figures.style import looks
from reports.figures.svg import Figure
from reports.tables.groups import Group
from reports.tables.panels import Panel
from reports.text import counts, join


def figures_of(group: Group, found: Sequence[Sequence[Panel]]) -> list[Figure]:
    """A figure for each list of panels that differ in schedule only."""
    look = looks(group.couplings)
    return [_figure(group, shared, look) for shared in found]


def _figure(group: Group, shared: Sequence[Panel], look: dict) -> Figure:
    panel = shared[0]
    svg = drawings.curve(shared, look) if panel.over else drawings.bars(panel, look)
    title = panel.heading
    if len(shared) > 1:
        title = f"{panel.family_heading}, {join([one.schedule for one in shared])}"
    words = about(group, panel)
    return Figure(title, svg, words, wide=len(shared) > 1, marks=drawings.caption(shared))


def about(group: Group, panel: Panel) -> str:
    """The sentence of a metric, and the number of images that it was measured on."""
    sentence = group.metrics.about(panel.metric)
    images = set(map(int, panel.rows["n"].dropna()))
    # For a value per run, n may count pools, which readers would take for images.
    if not images or not panel.per_nfe:
        return sentence
    return f"{sentence} n = {counts(images)} generated images.".strip()

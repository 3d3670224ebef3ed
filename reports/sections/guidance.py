"""Discriminator guidance: a weight chosen on the train split, and its effect on the test split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.figures.charts import Chart, Line, figure_of
from reports.figures.style import DASHES, SIGMA, Look, level_look, looks
from reports.figures.svg import Figure
from reports.sections._discriminators import Discriminators, discriminators
from reports.sections._listing import Listing, everything
from reports.sections._weights import (
    Choice,
    Weights,
    name_of,
    weights_of,
    with_weight,
    without_digests,
)
from reports.tables.arms import BASELINE, ordered
from reports.tables.floors import REAL
from reports.tables.groups import Group
from reports.text import STRINGS

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS = ("guidance", "start", "sampler", "schedule", "nfe")
title = "Discriminator guidance"
place = 130
folded = True
GUESS = "guessing"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Guidance:
    """The section of one comparison.

    Attributes:
        sentences: coupling to its sentences, over the NFEs.
        weights: tables of the distance that the summary speaks of.
        figures: of the same.
        others: tables of other distances.
        discriminators: their quality; None if it was not measured.
        quality: figure of it over the noise level; None likewise.
        listing: everything that was measured with guidance.

    """

    sentences: dict[str, list[str]]
    weights: list[Weights]
    figures: list[Figure]
    others: list[Weights]
    discriminators: Discriminators | None
    quality: Figure | None
    listing: Listing


def build(group: Group) -> Guidance | None:
    """The guidance; None if no run was guided."""
    rows = with_weight(group.rows)
    if rows.empty:
        return None
    found = weights_of(rows, group)
    # The distance of the summary; the others are folded away.
    first = [weights for weights in found if weights.metric == found[0].metric]
    look = _looks(rows, looks(group.couplings))
    own = discriminators(rows[rows["weight"].isna()], group.metrics)
    return Guidance(
        sentences=sentences(first),
        weights=first,
        figures=[_figure(weights, look) for weights in first],
        others=found[len(first) :],
        discriminators=own,
        quality=_quality(own, look) if own else None,
        listing=everything(rows.assign(guidance=_short(rows)), _SETTINGS, group.metrics),
    )


def _short(rows: pd.DataFrame) -> pd.Series:
    """The guidance of each row, without digests."""
    return rows["guidance"].map(without_digests(rows["guidance"].unique())).astype(STRINGS)


def in_words(group: Group) -> dict[str, list[str]]:
    """Coupling to its sentences, by the distance that the summary speaks of; empty without
    guidance.
    """
    rows = with_weight(group.rows)
    found = weights_of(rows, group) if len(rows) else []
    return sentences([weights for weights in found if weights.metric == found[0].metric])


def sentences(found: list[Weights]) -> dict[str, list[str]]:
    """Coupling to its sentences, over the NFEs."""
    lines: dict[str, list[str]] = {}
    for weights in found:
        for choice in weights.choices:
            lines.setdefault(choice.coupling, []).append(weights.sentence(choice))
    return lines


def _figure(weights: Weights, look: dict[str, Look]) -> Figure:
    """Both splits against the weight."""
    charts = []
    for split in ("train", "test"):
        lines = [_line(choice, split) for choice in weights.choices if choice.by_split[split]]
        heading = f"{weights.info.full_title}, {split}, NFE {weights.nfe}"
        levels = {}
        # Against the train split no floor is measured.
        if split == "test" and weights.floor and weights.floor.value > 0:
            levels[REAL] = weights.floor.value
        # Only heights are logarithmic: weight 0 has no place on a logarithmic axis.
        charts.append(Chart(heading, "weight", lines, levels, log="y"))
    about = "Ring: the weight chosen on the train split; weight 0 is unguided."
    if any(chart.levels for chart in charts):
        about += " Dashed: as many real training images instead of samples."
    return figure_of(weights.title, charts, look | {REAL: level_look()}, about)


def _line(choice: Choice, split: str) -> Line:
    marked = () if choice.weight is None else (choice.weight,)
    return Line(choice.name, choice.by_split[split], marked)


def _quality(own: Discriminators, look: dict[str, Look]) -> Figure | None:
    """The discriminators over the noise level; a level where a metric has no better side but a
    value of guessing.
    """
    charts = []
    for metric, lines in own.profiles.items():
        levels = {GUESS: 0.5} if own.infos[metric].better is None else {}
        drawn = [Line(name, points) for name, points in lines.items()]
        heading = f"{own.infos[metric].full_title}, {own.split}"
        charts.append(Chart(heading, SIGMA, drawn, levels))
    if not charts:
        return None
    return figure_of("Discriminators by noise level", charts, look)


def _looks(rows: pd.DataFrame, look: dict[str, Look]) -> dict[str, Look]:
    """A coupling keeps its colour; dash and marker are those of the noising."""
    found = {}
    noisings = sorted(set(rows["noising"]))
    for coupling in ordered(rows["coupling"]):
        for number, noising in enumerate(noisings):
            found[name_of(coupling, noising)] = replace(
                look[coupling],
                line=DASHES[number % len(DASHES)],
                marker=_MARKERS[number % len(_MARKERS)],
            )
    found[GUESS] = replace(look[BASELINE], marker="", line=DASHES[2])
    return found

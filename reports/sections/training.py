"""Training curves: the loss over the images seen, whole and by noise level."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.figures.charts import Chart, Line, figure_of
from reports.figures.style import looks
from reports.figures.svg import Figure
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.runs import Run
from reports.tables.statistics import Cell

title = "Training curves"
place = 72
folded = True

FILE = "training.csv"
POINTS = 24  # of a curve: each is the mean of as large a part of the training, which smooths it
_LOSS = "loss"
_ABOUT = (
    f"Each point is the mean over at most a 1/{POINTS} of the training. The loss is that of the"
    " training; by noise level it is the squared denoising error per pixel. Each coupling has"
    " its own pairs to learn, so a lower loss does not mean better samples."
)

Curve = dict[int, float]
"""Training images seen to the mean of one column."""


def build(group: Group) -> Figure | None:
    """The figure; None if no run kept a curve of two points or more."""
    found = curves(group.plain.runs)
    # A single point would be a figure without a line.
    lengths = [0]
    for by_seed in found.get(_LOSS, {}).values():
        lengths += map(len, by_seed.values())
    if max(lengths) < 2:
        return None
    charts = [_chart(column, by_coupling) for column, by_coupling in found.items()]
    return figure_of(title, charts, looks(group.couplings), _ABOUT)


def curves(runs: Sequence[Run]) -> dict[str, dict[str, dict[int, Curve]]]:
    """Column of the files to coupling to seed to its curve."""
    found: dict[str, dict[str, dict[int, Curve]]] = {}
    for run in runs:
        coupling = str(run.config["coupling"])
        for column, curve in read_curve(run.path / FILE).items():
            found.setdefault(column, {}).setdefault(coupling, {})[int(run.config["seed"])] = curve
    return found


def read_curve(path: Path) -> dict[str, Curve]:
    """Column to smoothed curve of one run; empty if the file is missing or damaged."""
    # A bundle or a table of an earlier version has none.
    if not path.is_file():
        return {}
    columns: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                images = int(row.pop("images"))
                for column, text in row.items():
                    if text:
                        columns.setdefault(column, []).append((images, float(text)))
    # A damaged curve costs a figure, not the page.
    except (KeyError, TypeError, ValueError):
        return {}
    last = max((points[-1][0] for points in columns.values()), default=0)
    if last <= 0:
        return {}
    # Of the whole training, so that curves of all levels and seeds have the same places.
    return {column: smoothed(points, last) for column, points in columns.items()}


def smoothed(points: Sequence[tuple[int, float]], last: int) -> Curve:
    """The mean of each of ``POINTS`` equal parts of a training of ``last`` images, at its end."""
    # By images, not by rows: a resumed training may have written more rows in one part.
    parts: dict[int, list[float]] = {}
    for images, value in points:
        parts.setdefault(math.ceil(images / last * POINTS), []).append(value)
    return {round(part / POINTS * last): _mean(values) for part, values in parts.items()}


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _chart(column: str, by_coupling: dict[str, dict[int, Curve]]) -> Chart:
    heading = "Training loss" if column == _LOSS else f"Denoising error, {column}"
    lines = [Line(name, _over_images(by_coupling[name])) for name in ordered(by_coupling)]
    return Chart(heading, "training images", lines, log="y")


def _over_images(seeds: dict[int, Curve]) -> dict[int, Cell]:
    """Images to Cell, for the places that any seed has."""
    by_images: dict[int, dict[int, float]] = {}
    for seed, curve in seeds.items():
        for images, value in curve.items():
            by_images.setdefault(images, {})[seed] = value
    return {images: Cell(values, {}) for images, values in sorted(by_images.items())}

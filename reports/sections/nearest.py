"""Samples with their nearest training images, to see whether a model copies."""

from __future__ import annotations

from dataclasses import dataclass

from reports.sections.images import NEAREST, Grid, pictures
from reports.tables.arms import ordered
from reports.tables.groups import Group

title = "Nearest training images"
place = 6
folded = True


@dataclass(frozen=True)
class Neighbours:
    """The pictures in one kind of features.

    Attributes:
        features: in words.
        grids: the picture of each coupling, samples above and training images below.

    """

    features: str
    grids: list[Grid]


def build(group: Group) -> list[Neighbours] | None:
    """The pictures of each coupling's first seed; None if the runs kept none."""
    found = []
    for stem, by_coupling in sorted(pictures(group.runs, f"{NEAREST}*.png").items()):
        # Distances in pixels are to images; all others are to what a network makes of them.
        name = stem.removeprefix(NEAREST)
        features = "pixels" if name == "pixels" else f"{name} features"
        grids = [by_coupling[coupling] for coupling in ordered(by_coupling)]
        found.append(Neighbours(features, grids))
    return found or None

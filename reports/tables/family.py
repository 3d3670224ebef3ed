"""Adjusted p values: what a family of comparisons can claim together.

Of twenty comparisons of equal couplings, one excludes no change at the 5 % level by chance. With
p values adjusted by Holm's method (Holm 1979), a wrong claim is made anywhere in the family in at
most 5 % of studies, whichever of its comparisons have a true difference. That holds for any
dependence, so also where all comparisons share their networks of random pairing.

Sign flips of the seeds (Westfall & Young 1993), which make use of that dependence, are no way out:
five seeds have 16 different flips, so that no p value is below 1/16, and at six or seven seeds they
claim less than Holm's method, at eight to twelve hardly more.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace

import numpy as np

from reports.tables.statistics import OTHER, PRIMARY, Cell


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p values ``[c]`` of p values ``[c]``: (c - rank) p, never falling (Holm 1979)."""
    values = np.asarray(p, dtype=float)
    # Stable, so that equal p values are adjusted alike on every machine.
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    # Never falling: a larger p value must not be claimed where a smaller one is not.
    adjusted[order] = np.maximum.accumulate(factors * values[order])
    return np.minimum(adjusted, 1.0)


def numbers_of(cell: Cell) -> Hashable:
    """The numbers of a comparison. Those of two couplings that pair alike, and so train the same
    network, are equal to the last digit.
    """
    # Values at all seeds: a network that was trained with other seeds is another one.
    sides = (cell.values, cell.baseline, cell.extra)
    return tuple(tuple(sorted(side.items())) for side in sides)


def family_size(cells: Sequence[Cell]) -> int:
    """The comparisons of a family that are adjusted: each once, however many names it has."""
    return len({numbers_of(cell) for cell in cells if cell.role == OTHER and cell.p is not None})


def decide(cells: Sequence[Cell], primary: Collection[int] = ()) -> list[Cell]:
    """The cells of a family with their roles and adjusted p values.

    Primary ones are claimed at the plain 5 % level, the others together. Equal numbers count once,
    or three exact solvers, which train the same network, would make every claim three times as
    hard; those of the primary question are primary wherever they are shown.

    Args:
        cells: of one comparison; those without random pairing keep no role.
        primary: places of the primary ones among them.

    """
    asked = {numbers_of(cells[place]) for place in primary}
    # A dictionary by numbers keeps each comparison once.
    p = {}
    for cell in cells:
        numbers = numbers_of(cell)
        if cell.p is not None and numbers not in asked:
            p[numbers] = cell.p
    adjusted = dict(zip(p, holm([*p.values()]).tolist(), strict=True))
    found = []
    for cell in cells:
        numbers = numbers_of(cell)
        if not cell.baseline:
            found.append(cell)
        # The same numbers must not be clear in one table and unclear in the next.
        elif numbers in asked:
            found.append(replace(cell, role=PRIMARY))
        else:
            found.append(replace(cell, role=OTHER, adjusted=adjusted.get(numbers)))
    return found

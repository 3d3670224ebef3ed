"""The best schedule for each NFE, chosen from a first pass over schedules x NFE.

An evaluation chooses it and records it as the rows ``best_schedule_<features>``; reports show what
these rows say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from bench.record.measurement import Measurement
from bench.record.specs import karras
from couplings.spec import split_spec

GRID = "grid_fd_"  # with the name of features: the metric of the first pass
BEST = "best_schedule_"  # with the name of features: the schedule that was chosen by it
EARLIER_BEST = "best_rho_"  # what earlier versions, which knew Karras' schedule only, called it


def parameter(schedule: str) -> float:
    """The number that distinguishes a schedule from others of its family: 7 of ``karras:rho=7``.

    It is the first option that is a number; 0 for a schedule without one.
    """
    _, options = split_spec(schedule)
    for text in options.values():
        try:
            return float(text)
        except ValueError:
            continue
    return 0.0


def as_of_today(row: Measurement) -> Measurement:
    """The row as today's version would have recorded it.

    Earlier versions knew Karras' schedule only: they recorded its rho and no schedule, and their
    choice as ``best_rho_<features>`` with the exponent as value.
    """
    if row.metric.startswith(EARLIER_BEST):
        metric = row.metric.replace(EARLIER_BEST, BEST, 1)
        row = replace(row, metric=metric, rho=row.value)
    if row.schedule is None and row.rho is not None:
        row = replace(row, schedule=karras(row.rho))
    return row


def choose(grid: Iterable[Measurement]) -> list[Measurement]:
    """Rows ``best_schedule_<features>``, one for each setting and NFE.

    Their value is the parameter of the chosen schedule, their schedule its spec, and their rho that
    of Karras' schedule. Chosen is the lowest finite value of ``grid_fd_<features>`` on the training
    split, of equal ones that of the smallest parameter. If the pass was made with several numbers
    of images, the largest one counts.
    """
    # A pass that was made again with other numbers of images leaves both sets of rows.
    passes: dict[tuple, list[Measurement]] = {}
    for row in grid:
        if row.metric.startswith(GRID) and row.split == "train" and math.isfinite(row.value):
            # Empty texts for None, so that places can be sorted
            place = (row.metric, row.sampler or "", row.start or "", row.guidance or "", row.nfe)
            passes.setdefault(place, []).append(as_of_today(row))
    chosen = []
    for place in sorted(passes):
        rows = passes[place]
        most = max(row.n or 0 for row in rows)
        full = [row for row in rows if (row.n or 0) == most]
        # Ties are broken by the schedule, so that the choice does not depend on the order of rows.
        best = min(full, key=lambda row: (row.value, parameter(row.schedule), row.schedule))
        metric = best.metric.replace(GRID, BEST)
        # All else is the place that was chosen for, and n: the images it was chosen by.
        chosen.append(replace(best, metric=metric, value=parameter(best.schedule)))
    return chosen

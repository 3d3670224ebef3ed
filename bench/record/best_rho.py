"""The best exponent rho of the sigma schedule for each NFE, chosen from a first pass over rho x
NFE.

An evaluation chooses it and records it as the rows ``best_rho_<features>``; reports show what these
rows say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from bench.record.measurement import Measurement

GRID = "grid_fd_"  # with the name of features: the metric of the first pass
BEST = "best_rho_"  # with the name of features: the exponent that was chosen by it


def choose(grid: Iterable[Measurement]) -> list[Measurement]:
    """Rows ``best_rho_<features>``, one for each setting and NFE, whose value is the chosen rho.

    Chosen is the lowest finite value of ``grid_fd_<features>`` on the training split, of equal ones
    that of the smallest rho. If the pass was made with several numbers of images, the largest one
    counts.
    """
    # A pass that was made again with other numbers of images leaves both sets of rows.
    passes: dict[tuple, list[Measurement]] = {}
    for row in grid:
        if row.metric.startswith(GRID) and row.split == "train" and math.isfinite(row.value):
            # Empty texts for None, so that places can be sorted
            place = (row.metric, row.sampler or "", row.start or "", row.guidance or "", row.nfe)
            passes.setdefault(place, []).append(row)
    chosen = []
    for place in sorted(passes):
        rows = passes[place]
        most = max(row.n or 0 for row in rows)
        full = [row for row in rows if (row.n or 0) == most]
        # Ties are broken by rho, so that the choice does not depend on the order of rows.
        best = min(full, key=lambda row: (row.value, row.rho))
        chosen.append(
            Measurement(
                best.metric.replace(GRID, BEST),
                best.rho,
                nfe=best.nfe,
                sampler=best.sampler,
                start=best.start,
                guidance=best.guidance,
                split=best.split,
                n=best.n,
            )
        )
    return chosen

"""The one number for the cost of a coupling: the work that it adds to the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.tables.statistics import Cell, of_runs, per_run

if TYPE_CHECKING:
    import pandas as pd


def overhead(rows: pd.DataFrame) -> dict[str, Cell]:
    """Coupling to seconds that the solver worked, and fitted, over those that the same run trained
    without waiting for it.

    Each run is compared with itself, so other work of the machine cancels out. Runs that do not
    record how long they trained, waited or solved are left out; a run without a fit spent no time
    on one.
    """
    wide = per_run(
        rows, ["train_seconds", "coupling_share", "coupling_wait_share", "coupling_fit_seconds"]
    )
    # Waiting for pairs is no work of the training.
    training = wide["train_seconds"] * (1 - wide["coupling_wait_share"])
    solving = wide["train_seconds"] * wide["coupling_share"]
    # A fit counts in full, although it serves all runs of a study.
    work = solving + wide["coupling_fit_seconds"].fillna(0.0)
    cells = of_runs(work / training)
    return {name: cell for name, cell in cells.items() if math.isfinite(cell.mean)}

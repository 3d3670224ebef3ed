"""Evaluation noise: the part of the spread over seeds that other latents would make.

A network that is sampled from other latents has another distance. The runs of a seed share their
latents, which removes most of that from their ratio; the rest is estimated by the jackknife: from
the ratios without one of some blocks of latents each, which runs record (Efron & Tibshirani 1993,
Eq. 11.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.record.infos import BLOCK, BLOCKS
from reports.tables.arms import baseline_of
from reports.tables.panels import Panel
from reports.tables.statistics import Cell
from reports.tables.tidy import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

FEATURES = {"fid": "inception"}  # of distances without the features in their names

Values = Mapping[tuple[str, int], np.ndarray]
"""By arm and seed: the distances without each block, ``[blocks]``."""


def evaluation_variance(panel: Panel, nfe: int, rows: pd.DataFrame) -> float | None:
    """The mean variance, over shared seeds, of the log ratio to random pairing that comes from the
    latents; None where runs do not hold their blocks.

    Args:
        panel: of a Frechet distance.
        nfe: of its cells.
        rows: of the comparison, with the rows of the blocks.

    """
    values = _left_out(panel, nfe, rows)
    cells = panel.cells.get(nfe, {})
    found = []
    for arm, cell in cells.items():
        found += _variances(arm, cell, values)
    return float(np.mean(found)) if found else None


def jackknife_variance(left_out: Sequence[float] | np.ndarray) -> float:
    """Variance of a value from those without one of k blocks each."""
    k = len(left_out)
    return (k - 1) * float(np.var(left_out))


def _variances(arm: str, cell: Cell, values: Values) -> list[float]:
    """The variance of the log ratio of each shared seed whose blocks both runs hold."""
    found = []
    for seed in cell.baseline if cell.is_relative else ():
        own = values.get((arm, seed))
        reference = values.get((baseline_of(arm), seed))
        if own is None or reference is None:
            continue
        # Block by block, so that what both runs have in common cancels.
        variance = jackknife_variance(np.log(own / reference))
        if math.isfinite(variance):
            found.append(variance)
    return found


def _left_out(panel: Panel, nfe: int, rows: pd.DataFrame) -> Values:
    """The distances without each block at the very settings of a panel's rows."""
    features = FEATURES.get(panel.metric, panel.metric.removeprefix("fd_"))
    names = [f"{BLOCK}{block}_{features}" for block in range(1, BLOCKS + 1)]
    # At its own best schedule each run has other settings, so rows are matched one by one.
    place = [name for name in COLUMNS if name not in ("metric", "value")]
    here = panel.rows.loc[panel.rows["nfe"].eq(nfe), place]
    blocks = rows[rows["metric"].isin(names)]
    matched = here.merge(blocks[[*place, "metric", "value"]], on=place)
    found = {}
    for (arm, seed), part in matched.groupby(["coupling", "seed"], sort=False):
        by_name = dict(zip(part["metric"], part["value"], strict=True))
        if len(by_name) == BLOCKS:
            found[str(arm), int(seed)] = np.array([by_name[name] for name in names])
    return found

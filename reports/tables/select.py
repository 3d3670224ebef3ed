"""Rows that have sections of their own: guided sampling, and sampling that does not begin at plain
noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.tables.metrics import is_distance, metric_rank
from reports.tables.rho import fixed_rho, is_grid
from reports.tables.statistics import BASELINE, Cell

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "dg-"
START_METRICS = ("prior_error", "prior_error_fresh", "prior_error_floor")
FLOOR = r"^mode_mixture_[\d.]+_real_"


def is_guided(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of discriminator guidance, or of its discriminator."""
    return rows["guidance"].str.startswith(PREFIX).fillna(False).astype(bool)


def is_started(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of another start than plain noise, or say something of a start."""
    elsewhere = rows["start"].notna() & rows["start"].ne("gaussian").fillna(False)
    of_start = rows["metric"].str.startswith("start_") | rows["metric"].isin(START_METRICS)
    return (elsewhere | of_start).astype(bool)


def is_floor(rows: pd.DataFrame) -> pd.Series:
    """Which rows are the mode mixture of real images: no result of a run, but what to compare one
    with.
    """
    return rows["metric"].str.match(FLOOR).astype(bool)


def is_adaptive(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of the sampler that chooses its own number of evaluations, such as
    dopri5:tolerance=0.001.
    """
    return rows["sampler"].str.startswith("dopri5").fillna(False).astype(bool)


def ordinary(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without guidance and from plain noise."""
    return rows[~is_guided(rows) & ~is_started(rows) & ~is_floor(rows)]


def floors(rows: pd.DataFrame) -> dict[str, float]:
    """``mode_mixture_0.2_classifier`` to its mean on real images."""
    found = rows[is_floor(rows)]
    return {
        str(m).replace("_real_", "_"): float(v)
        for m, v in found.groupby("metric")["value"].mean().items()
    }


def distances(rows: pd.DataFrame) -> list[str]:
    """The distances between samples and data among the metrics, that of the summary first."""
    return sorted(filter(is_distance, map(str, rows["metric"].unique())), key=metric_rank)


def at_fixed_rho(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the rho that most of them share, and those without one."""
    return rows[rows["rho"].isna() | rows["rho"].eq(fixed_rho(rows))]


def values_by(rows: pd.DataFrame, *keys: str) -> dict[tuple, dict[int, float]]:
    """Keys, None where empty, to seed to value; of estimates from several numbers of images the one
    from most counts.

    One pass over lists: groups of a data frame would take a minute for 500 runs.
    """
    rows = rows.sort_values("n", kind="stable", na_position="first")
    columns = [rows[key].astype(object).where(rows[key].notna(), None).tolist() for key in keys]
    found: dict[tuple, dict[int, float]] = {}
    for *key, seed, value in zip(
        *columns, rows["seed"].tolist(), rows["value"].tolist(), strict=True
    ):
        found.setdefault(tuple(key), {})[int(seed)] = float(value)
    return found


def cells_by(rows: pd.DataFrame, key: str) -> dict[float, Cell]:
    """Key, in ascending order, to Cell."""
    return {place: Cell(values, {}) for (place,), values in sorted(values_by(rows, key).items())}


def parts(rows: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """The rows by equal keys, in ascending order; empty keys make groups as well."""
    yield from rows.groupby(list(keys), dropna=False, sort=True)


@dataclass(frozen=True)
class Listing:
    """One table of everything: rows by their settings, columns by metric and split.

    Attributes: keys: names of the settings. columns: metric and split. rows: the coupling, the
        other settings, and a Cell for each column, None where it was not measured.

    """

    keys: tuple[str, ...]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[object], list[Cell | None]]]


def listing(rows: pd.DataFrame, keys: tuple[str, ...]) -> Listing:
    """The rows over NFE as one table."""
    rows = rows[rows["nfe"].notna() & rows["sigma"].isna() & ~is_grid(rows)]
    rows = rows.assign(split=rows["split"].fillna(""))
    shown = rows[["metric", "split"]].drop_duplicates().itertuples(index=False, name=None)
    columns = sorted(shown, key=lambda key: (metric_rank(key[0]), key[1]))
    cells: dict[tuple, dict[tuple[str, str], Cell]] = {}
    for (arm, *setting, metric, split), values in values_by(
        rows, "coupling", *keys, "metric", "split"
    ).items():
        cells.setdefault((arm, *setting), {})[metric, split] = Cell(values, {})
    places = sorted(
        cells,
        key=lambda place: ([(x is not None, x) for x in place[1:]], place[0] != BASELINE, place[0]),
    )
    return Listing(
        keys, columns, [(a, s, [cells[a, *s].get(key) for key in columns]) for a, *s in places]
    )

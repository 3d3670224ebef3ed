"""Rows that have sections of their own: guided sampling, and sampling that does not begin at plain noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.rho import fixed_rho, is_grid
from reports.statistics import Cell, by_arm, ordered
from reports.words import metric_rank

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
    """Which rows are the mode mixture of real images: no result of a run, but what to compare one with."""
    return rows["metric"].str.match(FLOOR).astype(bool)


def ordinary(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without guidance and from plain noise."""
    return rows[~is_guided(rows) & ~is_started(rows) & ~is_floor(rows)]


def floors(rows: pd.DataFrame) -> dict[str, float]:
    """``mode_mixture_0.2_classifier`` to its mean on real images."""
    found = rows[is_floor(rows)]
    return {str(m).replace("_real_", "_"): float(v) for m, v in found.groupby("metric")["value"].mean().items()}


def distances(rows: pd.DataFrame) -> list[str]:
    """The Frechet distances among the metrics, that of the summary first."""
    names = [str(name) for name in rows["metric"].unique()]
    return sorted(
        (n for n in names if n == "fid" or (n.startswith("fd_") and not n.startswith("fd_infinity_"))), key=metric_rank
    )


def at_fixed_rho(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the rho that most of them share, and those without one."""
    return rows[rows["rho"].isna() | rows["rho"].eq(fixed_rho(rows))]


def values_of(rows: pd.DataFrame) -> dict[int, float]:
    """Seed to value; of estimates with several numbers of images the one with most counts."""
    rows = rows.sort_values("n", kind="stable", na_position="first")
    return dict(zip(map(int, rows["seed"]), map(float, rows["value"]), strict=True))


def parts(rows: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """The rows by equal keys, in ascending order; empty keys make groups as well."""
    yield from rows.groupby(list(keys), dropna=False, sort=True)


@dataclass(frozen=True)
class Listing:
    """One table of everything: rows by their settings, columns by metric and split.

    Attributes:
        keys: names of the settings.
        columns: metric and split.
        rows: the coupling, the other settings, and a Cell for each column, None where it was not measured.

    """

    keys: tuple[str, ...]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[object], list[Cell | None]]]


def listing(rows: pd.DataFrame, keys: tuple[str, ...]) -> Listing:
    """The rows over NFE as one table, each value beside that of random in the same setting."""
    rows = rows[rows["nfe"].notna() & rows["sigma"].isna() & ~is_grid(rows)]
    rows = rows.assign(split=rows["split"].fillna(""))
    shown = rows[["metric", "split"]].drop_duplicates().itertuples(index=False, name=None)
    columns = sorted(shown, key=lambda key: (metric_rank(key[0]), key[1]))
    found = []
    for setting, part in parts(rows, keys):
        cells = {
            key: by_arm({str(arm): values_of(own) for arm, own in of_metric.groupby("coupling")})
            for key, of_metric in part.groupby(["metric", "split"])
        }
        plain = [None if name is None or name != name else name for name in setting]
        found += [(arm, plain, [cells.get(key, {}).get(arm) for key in columns]) for arm in ordered(part["coupling"])]
    return Listing(keys, columns, found)

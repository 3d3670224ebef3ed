"""Starts: sampling that begins at a level below the highest, against the full sampler and against a
random jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.figures.charts import Chart, Line
from reports.figures.style import Look, looks
from reports.tables.select import (
    START_METRICS,
    Listing,
    at_fixed_rho,
    cells_by,
    distances,
    floors,
    is_guided,
    is_started,
    listing,
    parts,
    values_by,
)
from reports.tables.statistics import BASELINE, Cell, ordered
from reports.text import join, number, setting

if TYPE_CHECKING:
    import pandas as pd

FULL, REAL = "full sampler", "held-out real images"
HARD = ("expressway", "ot-prior")
CONTROL = "random-index"
TOLERANCE = 3  # standard errors
_LEVEL = ("sigma", "step", "view")
_OF_MAP = (*_LEVEL, "tau", "project")
_MIXTURE = "mode_mixture_0.2_"
_FACTS = (
    "start_sigma", "start_targets", *START_METRICS, "start_fit_seconds", "start_fit_noises", "start_chi2",
)  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """One arm, sampler and NFE: a figure of four panels over the level."""

    title: str
    charts: list[Chart]


@dataclass(frozen=True)
class Facts:
    """What each start is made of: metrics of the columns, and arm, start and a Cell for each of
    them.
    """

    metrics: list[str]
    rows: list[tuple[str, str, list[Cell | None]]]


@dataclass(frozen=True)
class Started:
    """The section of one group.

    Attributes:
        sweeps: the figures.
        unplaced: starts whose level is not known, so that no figure has them.
        agreement: hard maps against random jumps, in words.
        facts: prior error, and the cost and the accuracy of the fits.
        listing: everything that was measured with these starts.
        look: of the lines.

    """

    sweeps: list[Sweep]
    unplaced: list[str]
    agreement: list[str]
    facts: Facts | None
    listing: Listing
    look: dict[str, Look]


@dataclass(frozen=True)
class Spec:
    """A start's spec, taken apart."""

    name: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> Spec:
        """From the text in the column ``start``."""
        name, _, options = text.partition(":")
        return cls(
            name, tuple(tuple(part.partition("=")[::2]) for part in options.split(",") if part)
        )

    def without(self, *names: str) -> Spec:
        """The same without some options."""
        return Spec(self.name, tuple(option for option in self.options if option[0] not in names))

    @property
    def hard(self) -> bool:
        """Whether it takes whole targets of a transport map."""
        return self.name in HARD and float(dict(self.options).get("tau", 0)) == 0

    def __str__(self) -> str:
        options = ",".join("=".join(option) for option in self.options)
        return f"{self.name}:{options}" if options else self.name


def started(rows: pd.DataFrame) -> Started | None:
    """The starts of a group; None where all sampling begins at plain noise."""
    mine = with_level(rows)
    if mine.empty:
        return None
    kinds = sorted(set(mine["kind"]))
    full = rows[
        rows["start"].eq("gaussian").fillna(False) & rows["guidance"].eq("none").fillna(False)
    ]
    curves = mine[mine["nfe"].notna() & mine["guidance"].eq("none").fillna(False)]
    ink = looks(())[BASELINE]
    levels = {
        FULL: replace(ink, marker="", line=(0, (6, 2))),
        REAL: replace(ink, marker="", line=(0, (1, 1.5))),
    }
    return Started(
        _sweeps(curves[curves["level"].notna()], full, floors(rows)),
        sorted(set(curves[curves["level"].isna()]["start"].dropna())),
        agreement(curves),
        _facts(rows),
        listing(mine, ("start", "sampler", "rho", "nfe")),
        looks(kinds) | levels,
    )


def with_level(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that begin elsewhere, with the columns ``level`` (``start_sigma``) and ``kind`` (the
    spec without).
    """
    found = rows[is_started(rows) & rows["start"].ne("gaussian").fillna(False) & ~is_guided(rows)]
    levels = rows[rows["metric"].eq("start_sigma")].drop_duplicates(["run_id", "start"])
    known = {
        (run, start): value
        for run, start, value in zip(levels.run_id, levels.start, levels.value, strict=True)
    }
    return found.assign(
        level=[
            known.get(key, math.nan) for key in zip(found["run_id"], found["start"], strict=True)
        ],
        kind=found["start"].map(
            {start: str(Spec.of(start).without(*_LEVEL)) for start in found["start"].unique()}
        ),
    )


def _sweeps(curves: pd.DataFrame, full: pd.DataFrame, real: dict[str, float]) -> list[Sweep]:
    found = []
    several = [name for name in ("sampler", "nfe") if curves[name].nunique() > 1]
    for arm in ordered(curves["coupling"]):
        own, plain = curves[curves["coupling"].eq(arm)], full[full["coupling"].eq(arm)]
        for (sampler, nfe), part in parts(own, ["sampler", "nfe"]):
            part = at_fixed_rho(part)
            at_nfe = plain[
                plain["nfe"].eq(nfe) & (plain["rho"].eq(part["rho"].iloc[0]) | plain["rho"].isna())
            ]
            same = at_nfe[at_nfe["sampler"].eq(sampler)]
            at_nfe = same if len(same) else at_nfe[at_nfe["sampler"].eq("heun")]
            charts = [_chart(part, at_nfe, real, *panel) for panel in _four(part)]
            more = [
                setting(name, value)
                for name, value in (("sampler", sampler), ("nfe", int(nfe)))
                if name in several
            ]
            title = ", ".join([arm, *more]).replace("nfe ", "NFE ")
            found.append(Sweep(title, charts))
    return found


def _four(rows: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Metric and split of the panels that can be drawn: distance on both splits, copies, mode
    mixture.
    """
    there = list(dict.fromkeys(zip(rows["metric"], rows["split"].fillna(""), strict=True)))
    judged = next(iter(distances(rows)), None)
    copies = sorted(key for key in there if key[0].startswith("copy_rate_"))
    mixture = sorted(key for key in there if key[0].startswith(_MIXTURE))
    return (
        [(judged, s) for s in ("train", "test") if (judged, s) in there] + copies[:1] + mixture[:1]
    )


def _chart(
    part: pd.DataFrame, full: pd.DataFrame, real: dict[str, float], metric: str, split: str
) -> Chart:
    of = part[part["metric"].eq(metric) & part["split"].fillna("").eq(split)]
    lines = [Line(str(kind), cells_by(own, "level")) for kind, own in of.groupby("kind")]
    whole = full[full["metric"].eq(metric) & full["split"].fillna("").eq(split)]
    levels = {FULL: Cell(values, {}).mean} if (values := values_by(whole).get(())) else {}
    if metric in real:
        levels[REAL] = real[metric]
    levels = {name: value for name, value in levels.items() if math.isfinite(value)}
    title = {"train": "train", "test": "held-out"}.get(split, "")
    log = "xy" if metric in distances(part) else "x"
    return Chart(
        f"{metric}, {title}".removesuffix(", "),
        "sigma(T'), where sampling begins",
        lines,
        levels,
        log,
    )


@dataclass(frozen=True)
class Agreement:
    """One hard map beside the random jump to the same targets.

    Attributes:
        place: level, NFE and split in words.
        hard, control: means over the seeds that both have.
        errors: their difference in standard errors over these seeds; None with one seed.

    """

    place: str
    hard: float
    control: float
    seeds: int
    errors: float | None


def compare(hard: dict[int, float], control: dict[int, float], place: str = "") -> Agreement | None:
    """Seed to value of both, seed by seed as all starts share their latents; None without a shared
    seed.
    """
    seeds = sorted(hard.keys() & control.keys())
    if not seeds:
        return None
    own, other = ([values[s] for s in seeds] for values in (hard, control))
    differences = [a - b for a, b in zip(own, other, strict=True)]
    count, mean = len(seeds), sum(differences) / len(seeds)
    errors = None
    if count > 1:
        error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (count - 1) / count)
        errors = abs(mean) / error if error else (math.inf if mean else 0.0)
    return Agreement(place, sum(own) / count, sum(other) / count, count, errors)


def agreement(curves: pd.DataFrame) -> list[str]:
    """For each arm and hard map, whether it and ``random-index`` give the same distances."""
    metric = next(iter(distances(curves)), None)
    rows = curves[curves["metric"].eq(metric)] if metric else curves.iloc[:0]
    found: dict[tuple[str, str], list[Agreement]] = {}
    for arm in ordered(rows["coupling"]):
        own = rows[rows["coupling"].eq(arm)]
        for (sampler, nfe, split, level), part in own.groupby(["sampler", "nfe", "split", "level"]):
            part = at_fixed_rho(part)
            by_spec = {
                Spec.of(start): values for (start,), values in values_by(part, "start").items()
            }
            for spec, values in by_spec.items():
                control = Spec(CONTROL, spec.without(*_OF_MAP).options)
                others = [
                    v for s, v in by_spec.items() if spec.hard and s.without(*_LEVEL) == control
                ]
                place = f"sigma {level:.3g}, NFE {nfe}, {split}" + (
                    f", {sampler}" if sampler != "heun" else ""
                )
                result = compare(values, others[0], place) if others else None
                if result:
                    found.setdefault((arm, str(spec.without(*_LEVEL))), []).append(result)
    return [_said(arm, kind, str(metric), results) for (arm, kind), results in found.items()]


def _said(arm: str, kind: str, metric: str, results: list[Agreement]) -> str:
    head = f"{arm}: {kind} and {CONTROL}"
    known = [result for result in results if result.errors is not None]
    if not known:
        values = "; ".join(
            f"{r.place}: {number(r.hard)} against {number(r.control)}" for r in results
        )
        return f"{head} share one seed only, so no error is known; {metric} at {values}"
    apart = [result for result in known if not result.errors <= TOLERANCE]
    seeds = join([str(n) for n in sorted({result.seeds for result in known})])
    most = max(result.errors for result in known)
    many = (
        f"{'the only setting' if len(known) == 1 else f'all {len(known)} settings'} (level, NFE,"
        f" split; {seeds} seeds)"
    )
    if not apart:
        return (
            f"{head} agree in {metric} within three standard errors at {many}, at most {most:.1f}"
            " apart"
        )
    where = "; ".join(
        f"{r.place}: {number(r.hard)} against {number(r.control)}, {r.errors:.1f} standard errors"
        for r in apart
    )
    return (
        f"{head} differ in {metric} by more than three standard errors at {len(apart)} of {many}:"
        f" {where}"
    )


def _facts(rows: pd.DataFrame) -> Facts | None:
    of_start = rows[rows["metric"].isin(_FACTS) & rows["start"].notna()].drop_duplicates(
        ["run_id", "start", "metric"]
    )
    if of_start.empty:
        return None
    metrics = [name for name in _FACTS if name in set(of_start["metric"])]
    of = {
        key: Cell(values, {})
        for key, values in values_by(of_start, "coupling", "start", "metric").items()
    }
    places = sorted({key[:2] for key in of}, key=lambda key: (key[0] != BASELINE, key))
    return Facts(
        metrics, [(*place, [of.get((*place, name)) for name in metrics]) for place in places]
    )

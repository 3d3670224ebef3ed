"""Discriminator guidance: the weight chosen on the train split, and what it does on the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from reports.figures.charts import Chart, Line
from reports.figures.style import Look, looks
from reports.tables.select import (
    PREFIX,
    Listing,
    at_fixed_rho,
    cells_by,
    distances,
    is_guided,
    listing,
    parts,
    values_by,
)
from reports.tables.statistics import BASELINE, LEAST_SEEDS, Cell, change, ordered
from reports.text import join, number
from reports.text import setting as setting_of

if TYPE_CHECKING:
    import pandas as pd

_GUIDANCE = rf"^{PREFIX}(?P<noising>.+?):weight=(?P<weight>[^,]+)(?P<more>,.*)?$"
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_PLACE = ["metric", "sampler", "start", "n", "nfe"]
GUESS = "guessing"
_QUALITY = ("dg_auc", "dg_accuracy", "dg_calibration_error")


@dataclass(frozen=True)
class Choice:
    """One arm guided by one discriminator at one NFE.

    Attributes:
        arm: the coupling.
        noising: how the discriminator was trained.
        train, test: weight to Cell, over which no guidance has weight 0.
        passes: of the discriminator for each image, at the guided weights.

    """

    arm: str
    noising: str
    train: dict[float, Cell]
    test: dict[float, Cell]
    passes: tuple[float, ...]

    @property
    def name(self) -> str:
        """As in the legend."""
        return f"{self.arm}, noising {self.noising}"

    @cached_property
    def weight(self) -> float | None:
        """The weight with the lowest mean on the train split over the seeds that all weights have;
        None without.
        """
        if not self.train:
            return None
        seeds = set.intersection(*(set(cell.values) for cell in self.train.values()))
        means = (
            {w: sum(cell.values[s] for s in seeds) / len(seeds) for w, cell in self.train.items()}
            if seeds
            else {}
        )
        return min(
            (w for w, mean in means.items() if math.isfinite(mean)), key=means.get, default=None
        )

    @cached_property
    def gain(self) -> Cell | None:
        """The test split at that weight beside unguided; None where it was not measured there."""
        guided, plain = self.test.get(self.weight), self.test.get(0.0)
        if guided is None or self.weight == 0:
            return guided
        shared = (
            {s: v for s, v in sorted(plain.values.items()) if s in guided.values} if plain else {}
        )
        return Cell(guided.values, shared)


@dataclass(frozen=True)
class Weights:
    """All choices of one distance at one NFE: one table and one figure."""

    metric: str
    nfe: int
    settings: str
    choices: list[Choice]

    @property
    def title(self) -> str:
        """Metric, NFE and what else tells it from its neighbours."""
        return ", ".join(part for part in (self.metric, f"NFE {self.nfe}", self.settings) if part)

    @property
    def grid(self) -> list[float]:
        """All weights, 0 first."""
        return sorted(
            {w for choice in self.choices for cells in (choice.train, choice.test) for w in cells}
        )

    @property
    def charts(self) -> list[Chart]:
        """Train and test against the weight."""
        marked = {c.name: () if c.weight is None else (c.weight,) for c in self.choices}
        return [
            Chart(f"{self.metric}, {split}, NFE {self.nfe}", "weight",
                  [Line(c.name, getattr(c, split), marked[c.name]) for c in self.choices if getattr(c, split)], log="y")
            for split in ("train", "test")
        ]  # fmt: skip

    def said(self, choice: Choice) -> str:
        """One choice in words."""
        weight, gain = choice.weight, choice.gain
        where = f"noising {choice.noising}, NFE {self.nfe}"
        others = [w for w in choice.train if w]
        if weight is None or not others:
            return (
                f"{where}: no weight can be chosen, for {self.metric} on the train split is not"
                " finite or not there"
            )
        if 0.0 not in choice.train:
            return (
                f"{where}: unguided sampling was not measured with this setting, so there is"
                " nothing to compare with"
            )
        tried = join([f"{w:g}" for w in choice.train])
        if weight == 0:
            return (
                f"{where}: of the weights {tried} the train split chooses 0, so guidance is not"
                " used"
            )
        if gain is None or gain.ratio is None:
            return (
                f"{where}: weight {weight:g} of {tried} is chosen, but the test split was not"
                " measured at it and at 0"
            )
        size = change(gain.ratio, gain.ratio_interval)
        passes = (
            f"; {join([f'{p:g}' for p in choice.passes])} discriminator passes an image"
            if choice.passes
            else ""
        )
        return (
            f"{where}: weight {weight:g} of {tried} is chosen; on the test split {_verdict(gain)}: "
            f"{number(gain.mean)} against {number(choice.test[0.0].mean)}, {size}{passes}"
        )


def _verdict(gain: Cell) -> str:
    """A claim only where its interval allows one."""
    if len(gain.baseline) < LEAST_SEEDS:
        return f"no claim with {len(gain.baseline)} of the {LEAST_SEEDS} seeds that one needs"
    return {
        "lower": "lower (better) than unguided",
        "higher": "higher (worse) than unguided",
        "unclear": "no clear difference from unguided",
    }[gain.verdict]


@dataclass(frozen=True)
class Quality:
    """How well the discriminators tell real from generated.

    Attributes:
        metrics: columns of the table.
        rows: arm, noising, split, and a Cell for each metric.
        charts: over sigma.

    """

    metrics: list[str]
    rows: list[tuple[str, str, str, list[Cell | None]]]
    charts: list[Chart]


@dataclass(frozen=True)
class Guided:
    """The section of one group.

    Attributes:
        weights: tables and figures of the distance that the summary speaks of.
        others: those of other distances.
        quality: of the discriminators; None where it was not measured.
        listing: everything that was measured with guidance.
        look: of the lines.

    """

    weights: list[Weights]
    others: list[Weights]
    quality: Quality | None
    listing: Listing
    look: dict[str, Look]


def guided(rows: pd.DataFrame, look: dict[str, Look]) -> Guided | None:
    """The guidance of a group; None where there is none. ``look``: that of the couplings."""
    named = with_weight(rows)
    if named.empty:
        return None
    steered = named[named["weight"].notna() & named["start"].eq("gaussian").fillna(False)]
    found = _weights(steered, rows)
    first = found[0].metric if found else ""
    return Guided(
        [weights for weights in found if weights.metric == first],
        [weights for weights in found if weights.metric != first],
        _quality(named[named["weight"].isna() & named["metric"].isin(_QUALITY)]),
        listing(named, ("guidance", "start", "sampler", "rho", "nfe")),
        _looks(named, look),
    )


def with_weight(rows: pd.DataFrame) -> pd.DataFrame:
    """The guided rows with the columns ``noising`` and ``weight``, which is empty for the
    discriminator's own rows.
    """
    found = rows[is_guided(rows)]
    named = found["guidance"].str.extract(_GUIDANCE)
    noising = (named["noising"] + named["more"].fillna("")).fillna(
        found["guidance"].str.removeprefix(PREFIX)
    )
    return found.assign(noising=noising, weight=named["weight"].astype("float64"))


def _weights(steered: pd.DataFrame, rows: pd.DataFrame) -> list[Weights]:
    plain = rows[rows["guidance"].eq("none").fillna(False)]
    passes = steered[steered["metric"].eq("discriminator_passes")]
    found = []
    for metric in distances(steered):
        of_metric = steered[steered["metric"].eq(metric)]
        for setting, part in parts(of_metric, _PLACE):
            part = at_fixed_rho(part)
            place = dict(zip(_PLACE, setting, strict=True)) | {"rho": part["rho"].iloc[0]}
            same = {name: place[name] for name in ("sampler", "start", "nfe", "rho")}
            counted, unguided = _where(passes, same), _where(plain, place)
            choices = [
                _choice(arm, str(noising), own, unguided[unguided["coupling"].eq(arm)], counted)
                for arm in ordered(part["coupling"])
                for noising, own in part[part["coupling"].eq(arm)].groupby("noising")
            ]
            varying = [
                name for name in ("sampler", "n") if of_metric[name].nunique(dropna=False) > 1
            ]
            shown = ", ".join(setting_of(name, place[name]) for name in varying)
            found.append(Weights(metric, int(place["nfe"]), shown, choices))
    return found


def _where(rows: pd.DataFrame, place: dict[str, object]) -> pd.DataFrame:
    """The rows with these values; an empty one equals an empty one."""
    import pandas as pd

    for name, value in place.items():
        rows = rows[rows[name].isna() if pd.isna(value) else rows[name].eq(value).fillna(False)]
    return rows


def _choice(
    arm: str, noising: str, own: pd.DataFrame, unguided: pd.DataFrame, passes: pd.DataFrame
) -> Choice:
    both: dict[str, dict[float, Cell]] = {"train": {}, "test": {}}
    found = values_by(unguided.assign(weight=0.0), "weight", "split") | values_by(
        own, "weight", "split"
    )
    for (weight, split), values in sorted(found.items()):
        both[split][weight] = Cell(values, {})
    mine = passes[
        passes["coupling"].eq(arm) & passes["noising"].eq(noising) & passes["weight"].ne(0)
    ]
    return Choice(
        arm, noising, both["train"], both["test"], tuple(sorted({float(v) for v in mine["value"]}))
    )


def _quality(rows: pd.DataFrame) -> Quality | None:
    if rows.empty:
        return None
    metrics = [name for name in _QUALITY if name in set(rows["metric"])]
    whole, bins = rows[rows["sigma"].isna()], rows[rows["sigma"].notna()]
    of = {
        key: Cell(values, {})
        for key, values in values_by(whole, "coupling", "noising", "split", "metric").items()
    }
    places = sorted({key[:3] for key in of}, key=lambda key: (key[0] != BASELINE, key))
    found = [(*place, [of.get((*place, name)) for name in metrics]) for place in places]
    split = "test" if bins["split"].eq("test").any() else "train"
    bins = bins[bins["split"].eq(split)]
    charts = [
        Chart(
            f"{name}, {split}",
            "sigma",
            _over_sigma(part),
            {} if name == "dg_calibration_error" else {GUESS: 0.5},
        )
        for name in metrics
        if len(part := bins[bins["metric"].eq(name)])
    ]
    return Quality(metrics, found, charts)


def _over_sigma(rows: pd.DataFrame) -> list[Line]:
    return [
        Line(f"{arm}, noising {noising}", cells_by(own, "sigma"))
        for (arm, noising), own in parts(rows, ["coupling", "noising"])
    ]


def _looks(named: pd.DataFrame, look: dict[str, Look]) -> dict[str, Look]:
    """An arm keeps its colour; the noising is told by dash and marker, and with it the
    discriminator's options.
    """
    noisings = sorted(set(named["noising"]))
    ink = looks(())[BASELINE]
    return {
        f"{arm}, noising {noising}": replace(
            look[arm], line=_DASHES[i % len(_DASHES)], marker=_MARKERS[i % len(_MARKERS)]
        )
        for arm in ordered(named["coupling"])
        for i, noising in enumerate(noisings)
    } | {GUESS: replace(ink, marker="", line=_DASHES[2])}


def sentences(found: Sequence[Weights]) -> dict[str, list[str]]:
    """Arm to what is said of it, over the NFEs."""
    said: dict[str, list[str]] = {}
    for weights in found:
        for choice in weights.choices:
            said.setdefault(choice.arm, []).append(weights.said(choice))
    return said

"""Weights of the guidance: one is chosen on the train split and judged on the test split."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench import plugins
from bench.record.infos import Info
from reports.tables.arms import ordered
from reports.tables.floors import Floor, floor_of, floors
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.select import (
    PREFIX,
    at_fixed_schedule,
    is_unguided,
    uses_discriminator,
    where,
)
from reports.tables.statistics import LEAST_SEEDS, Cell, against, values_by
from reports.text import join, listed, number, plural, setting

if TYPE_CHECKING:
    import pandas as pd

_DIGEST = re.compile(r"-[0-9a-f]{6}(?=[:,]|$)")
_PLACE = ["metric", "sampler", "start", "n", "nfe"]


def name_of(coupling: str, noising: str) -> str:
    """A guided coupling, as in the legend."""
    return f"{coupling}, noising {noising}"


@dataclass(frozen=True)
class Choice:
    """One coupling guided by one discriminator at one NFE.

    Attributes:
        coupling: its name.
        noising: how the discriminator was trained.
        by_split: split to weight to Cell; weight 0 is sampling without guidance.
        passes: of the discriminator for each image, at weights above 0.

    """

    coupling: str
    noising: str
    by_split: dict[str, dict[float, Cell]]
    passes: tuple[float, ...]

    @property
    def name(self) -> str:
        """As in the legend."""
        return name_of(self.coupling, self.noising)

    @cached_property
    def weight(self) -> float | None:
        """The weight with the lowest mean on the train split over the seeds that all weights have;
        None if there is none.
        """
        train = self.by_split["train"]
        if not train:
            return None
        # Over other seeds, a weight could win by an easier seed.
        seeds = set.intersection(*(set(cell.values) for cell in train.values()))
        means = {}
        for weight, cell in train.items():
            mean = sum(cell.values[seed] for seed in seeds) / len(seeds) if seeds else math.nan
            if math.isfinite(mean):
                means[weight] = mean
        # Of equal means the first, which is the smallest weight and changes sampling least.
        return min(means, key=means.get, default=None)

    @cached_property
    def gain(self) -> Cell | None:
        """The test split at that weight, compared with unguided; None if it was not measured."""
        test = self.by_split["test"]
        # On the split that chose, the lowest of several weights would look better than it is.
        guided = test.get(self.weight)
        if guided is None or self.weight == 0 or 0.0 not in test:
            return guided
        return against(guided.values, test[0.0].values)


@dataclass(frozen=True)
class Weights:
    """All choices by one distance at one NFE: one table and one figure.

    Attributes:
        info: the distance.
        nfe: of the denoiser.
        settings: sampler and number of images in words, if there are several.
        choices: of each coupling and noising.
        floor: the value of real images against the test split; None if it is not known.

    """

    info: Info
    nfe: int
    settings: str
    choices: list[Choice]
    floor: Floor | None = None

    @property
    def metric(self) -> str:
        """Name of the distance."""
        return self.info.name

    @property
    def title(self) -> str:
        """Metric, NFE and settings."""
        return listed([self.info.full_title, f"NFE {self.nfe}", self.settings])

    @property
    def grid(self) -> list[float]:
        """All weights, 0 first."""
        weights: set[float] = set()
        for choice in self.choices:
            for cells in choice.by_split.values():
                weights.update(cells)
        return sorted(weights)

    def sentence(self, choice: Choice) -> str:
        """One choice in words."""
        return f"noising {choice.noising}, NFE {self.nfe}: {self._result(choice)}"

    def _result(self, choice: Choice) -> str:
        train = choice.by_split["train"]
        weight = choice.weight
        gain = choice.gain
        if weight is None or not any(train):
            return (
                f"no weight can be chosen, because {self.metric} on the train split is not finite"
                " or was not measured"
            )
        if 0.0 not in train:
            return (
                "unguided sampling was not measured with this setting, so there is nothing to"
                " compare with"
            )
        tried = join([f"{one:g}" for one in train])
        if weight == 0:
            return f"of the weights {tried} the train split chooses 0, so guidance is not used"
        if gain is None or gain.ratio is None:
            return (
                f"weight {weight:g} of {tried} is chosen, but the test split was not measured at it"
                " and at 0"
            )
        unguided = choice.by_split["test"][0.0]
        numbers = f"{number(gain.mean)} vs {number(unguided.mean)}, {gain.change}"
        passes = ""
        if choice.passes:
            counts = join([f"{count:g}" for count in choice.passes])
            passes = f"; {counts} discriminator passes per image"
        return (
            f"weight {weight:g} of {tried} is chosen; on the test split"
            f" {_verdict(self.info, gain)}: {numbers}{passes}"
        )


def _verdict(info: Info, gain: Cell) -> str:
    """A claim, if its interval allows one."""
    if len(gain.baseline) < LEAST_SEEDS:
        seeds = plural(len(gain.baseline), "seed")
        return f"no claim ({seeds}, {LEAST_SEEDS} needed)"
    than = "from" if gain.side == "unclear" else "than"
    return f"{claim(info, gain)} {than} unguided"


def with_weight(rows: pd.DataFrame) -> pd.DataFrame:
    """The guided rows with the columns ``noising`` and ``weight``.

    ``weight`` is empty for rows about the discriminator itself.
    """
    guided = rows[uses_discriminator(rows)]
    parts = {name: _parse(name) for name in guided["guidance"].unique()}
    words = without_digests({noising for noising, _ in parts.values()})
    noising = guided["guidance"].map({name: words[noising] for name, (noising, _) in parts.items()})
    weight = guided["guidance"].map({name: weight for name, (_, weight) in parts.items()})
    return guided.assign(noising=noising, weight=weight.astype("float64"))


def without_digests(names: Collection[str]) -> dict[str, str]:
    """Names to names without the digest of their settings, ``independent`` for
    ``independent-1bec90``, where these are still unique.
    """
    short = {name: _DIGEST.sub("", name) for name in names}
    counted = Counter(short.values())
    return {name: own if counted[own] == 1 else name for name, own in short.items()}


def _parse(guidance: str) -> tuple[str, float]:
    """Noising and weight of ``dg-<noising>:weight=<weight>,...``; other options belong to the
    noising.
    """
    name = guidance.removeprefix(PREFIX)
    # A noising may be the spec of a coupling with a colon, so the last colon separates.
    noising, _, text = name.rpartition(":")
    try:
        _, options = plugins.split_spec(f"{PREFIX}:{text}")
        weight = float(options.pop("weight"))
    except (KeyError, ValueError):
        return name, math.nan
    more = [f",{key}={value}" for key, value in options.items()]
    return noising + "".join(more), weight


def weights_of(rows: pd.DataFrame, group: Group) -> list[Weights]:
    """The choices by each distance at each NFE, that of the summary first."""
    steered = rows[rows["weight"].notna() & rows["start"].eq("gaussian").fillna(False)]
    # Unguided sampling is weight 0 of every discriminator.
    plain = group.rows[is_unguided(group.rows)].assign(weight=0.0)
    passes = steered[steered["metric"].eq("discriminator_passes")]
    distances = group.metrics.distances(steered["metric"])
    known = floors(group.rows, [group.metrics[metric] for metric in distances])
    found = []
    for metric in distances:
        of_metric = steered[steered["metric"].eq(metric)]
        varying = [key for key in ("sampler", "n") if of_metric[key].nunique(dropna=False) > 1]
        for values, part in of_metric.groupby(_PLACE, dropna=False, sort=True):
            part = at_fixed_schedule(part)
            place = dict(zip(_PLACE, values, strict=True)) | {"schedule": part["schedule"].iloc[0]}
            # Passes are counted once per sampling, whatever metric is looked at.
            same = {key: place[key] for key in ("sampler", "start", "nfe", "schedule")}
            choices = _choices(part, where(plain, **place), where(passes, **same))
            words = ", ".join(setting(key, place[key]) for key in varying)
            info = group.metrics[metric]
            floor = floor_of(info, "test", part, known)
            found.append(Weights(info, int(place["nfe"]), words, choices, floor))
    return found


def _choices(guided: pd.DataFrame, unguided: pd.DataFrame, passes: pd.DataFrame) -> list[Choice]:
    """A choice for each coupling and noising."""
    found = []
    for coupling in ordered(guided["coupling"]):
        own = guided[guided["coupling"].eq(coupling)]
        plain = _cells(unguided[unguided["coupling"].eq(coupling)], coupling)
        for noising, part in own.groupby("noising"):
            steered = _cells(part, coupling)
            by_split = {split: plain[split] | steered[split] for split in ("train", "test")}
            counted = passes[passes["coupling"].eq(coupling) & passes["noising"].eq(noising)]
            counts = set(map(float, counted["value"][counted["weight"].ne(0)]))
            found.append(Choice(coupling, str(noising), by_split, tuple(sorted(counts))))
    return found


def _cells(rows: pd.DataFrame, coupling: str) -> dict[str, dict[float, Cell]]:
    """Split to weight to Cell of one coupling, the weights rising."""
    found: dict[str, dict[float, Cell]] = {"train": {}, "test": {}}
    for (weight, split), by_coupling in sorted(values_by(rows, "weight", "split").items()):
        found[split][weight] = Cell(by_coupling[coupling], {})
    return found

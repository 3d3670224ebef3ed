"""Specs of starts, and the noise levels where they begin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import plugins
from reports.tables.select import begins_elsewhere, is_guided

if TYPE_CHECKING:
    import pandas as pd

LEVEL = ("sigma", "step", "view")  # options of a start that say where it begins
CONTROL = "random-index"  # the start that takes its targets at random, without a map
# Starts that map each latent to one target, unless smoothed; runs record this themselves now.
_HARD_IN_EARLIER_RUNS = ("expressway", "ot-prior")


@dataclass(frozen=True)
class Spec:
    """A start's spec in parts.

    Attributes:
        name: of the start.
        options: key and value as text.

    """

    name: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> Spec:
        """From the text in the column ``start``."""
        name, options = plugins.split_spec(text)
        return cls(name, tuple(options.items()))

    def without(self, *names: str) -> Spec:
        """The same without some options."""
        left = [option for option in self.options if option[0] not in names]
        return Spec(self.name, tuple(left))

    def __str__(self) -> str:
        options = ",".join("=".join(option) for option in self.options)
        return f"{self.name}:{options}" if options else self.name


def with_level(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of other starts with the columns ``level`` (their ``start_sigma``), ``kind`` (the
    spec without it) and ``hard`` (True for a map that sends each latent to one target).
    """
    found = rows[begins_elsewhere(rows) & ~is_guided(rows)]
    # The level is recorded, because a step or a view names it only indirectly.
    levels = _recorded(rows, "start_sigma")
    whole = _recorded(rows, "start_whole_targets")
    specs = {start: Spec.of(start) for start in found["start"].unique()}
    own_levels = []
    hard = []
    for place in zip(found["run_id"], found["start"], strict=True):
        own_levels.append(levels.get(place, math.nan))
        hard.append(is_hard(specs[place[1]], whole.get(place)))
    kinds = {start: str(spec.without(*LEVEL)) for start, spec in specs.items()}
    return found.assign(level=own_levels, kind=found["start"].map(kinds), hard=hard)


def _recorded(rows: pd.DataFrame, metric: str) -> dict[tuple[str, str], float]:
    """Run and start to the value of a metric about starts."""
    rows = rows[rows["metric"].eq(metric)].drop_duplicates(["run_id", "start"])
    places = zip(rows["run_id"], rows["start"], strict=True)
    return dict(zip(places, rows["value"], strict=True))


def is_hard(spec: Spec, whole_targets: float | None) -> bool:
    """True for a map that sends each latent to one target.

    Args:
        spec: of the start.
        whole_targets: ``start_whole_targets`` of its run; None in runs of earlier versions.

    """
    if whole_targets is None:
        if spec.name not in _HARD_IN_EARLIER_RUNS:
            return False
        return float(dict(spec.options).get("tau", 0)) == 0
    # The random jump takes whole targets too, but it is the control, no map.
    return whole_targets == 1 and spec.name != CONTROL

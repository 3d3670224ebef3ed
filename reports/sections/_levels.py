"""Specs of starts, and the noise levels where they begin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import plugins
from reports.tables.select import begins_elsewhere, is_guided, is_started

if TYPE_CHECKING:
    import pandas as pd

LEVEL = ("sigma", "step", "view")  # options of a start that say where it begins
HARD = ("expressway", "ot-prior")  # starts that map each latent to one target, unless smoothed


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

    @property
    def hard(self) -> bool:
        """True for an unsmoothed map: each latent goes to one target."""
        return self.name in HARD and float(dict(self.options).get("tau", 0)) == 0

    def __str__(self) -> str:
        options = ",".join("=".join(option) for option in self.options)
        return f"{self.name}:{options}" if options else self.name


def with_level(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of other starts with the columns ``level`` (their ``start_sigma``) and ``kind`` (the
    spec without it).
    """
    found = rows[is_started(rows) & begins_elsewhere(rows) & ~is_guided(rows)]
    # The level is recorded, because a step or a view names it only indirectly.
    recorded = rows[rows["metric"].eq("start_sigma")].drop_duplicates(["run_id", "start"])
    pairs = zip(recorded["run_id"], recorded["start"], strict=True)
    known = dict(zip(pairs, recorded["value"], strict=True))
    places = zip(found["run_id"], found["start"], strict=True)
    levels = [known.get(place, math.nan) for place in places]
    kinds = {start: str(Spec.of(start).without(*LEVEL)) for start in found["start"].unique()}
    return found.assign(level=levels, kind=found["start"].map(kinds))

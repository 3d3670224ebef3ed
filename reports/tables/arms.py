"""Arms: what one comparison compares, a coupling with an objective and a law of the noise levels.

Runs that differ in the objective, in the law or in sigma_data are arms of one comparison. An arm is
named by its coupling and what distinguishes it within the comparison: ``lapjv``, ``lapjv, flow`` or
``lapjv, P_mean 0, P_std 2``. Plain names stand for EDM with its own law and sigma_data (Karras et
al. 2022, Table 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.text import STRINGS, is_missing, listed, setting

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "random"
PERMUTED = "permuted"  # the coupling whose pairs are those of another one, permuted
SEPARATOR = ", "  # of an arm's coupling from the rest: specs have commas, but no spaces

OBJECTIVE = "training.objective"
LAW = ("training.P_mean", "training.P_std")
SIGMA_DATA = "training.sigma_data"  # of EDM's preconditioning; flow matching has none
FIELDS = (OBJECTIVE, *LAW, SIGMA_DATA)
EDM = "edm"
EDM_SIGMA_DATA = 0.5
_EDM_LAW = (-1.2, 1.2)  # P_mean and P_std


def coupling_of(arm: str) -> str:
    """The coupling of an arm: ``lapjv`` of ``lapjv, flow``."""
    return arm.partition(SEPARATOR)[0]


def variant_of(arm: str) -> str:
    """The objective and law that an arm's name adds to its coupling; empty if it adds none."""
    return arm.partition(SEPARATOR)[2]


def arm_of(coupling: str, variant: str) -> str:
    """The name of an arm."""
    return listed([coupling, variant])


def baseline_of(arm: str) -> str:
    """The arm with random pairing, and the objective and law of this one."""
    return arm_of(BASELINE, variant_of(arm))


def is_baseline(arm: str) -> bool:
    """True for an arm with random pairing."""
    return coupling_of(arm) == BASELINE


def is_placebo(arm: str) -> bool:
    """True for an arm whose pairs are random too: another draw, or a permuted pairing."""
    name, _, options = coupling_of(arm).partition(":")
    return name == PERMUTED or (name == BASELINE and bool(options))


def ordered(arms: Iterable[str]) -> list[str]:
    """Each objective and law with random first, the other couplings by name: the order of all
    tables and figures.
    """
    return sorted(set(arms), key=baseline_first)


def baseline_first(arm: str) -> tuple[str, bool, str]:
    """Sort key of an arm."""
    return variant_of(arm), not is_baseline(arm), arm


def objectives(rows: pd.DataFrame) -> pd.Series:
    """The objective of each row, without its options."""
    if OBJECTIVE not in rows:
        return rows["run_id"].map(lambda _: EDM)
    # Not by str.partition, which gives an empty column no parts.
    return rows[OBJECTIVE].astype(STRINGS).fillna(EDM).str.replace(":.*", "", regex=True)


def with_arms(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one comparison with arms in the column ``coupling``."""
    fields = [name for name in FIELDS if name in rows]
    if not fields:
        return rows
    # Object columns, in which an empty cell is one value and can be the key of a dictionary.
    columns = [rows[name].astype(object).where(rows[name].notna(), None) for name in fields]
    places = list(zip(*columns, strict=True))
    words = _variants(fields, set(places))
    arms = [
        arm_of(str(coupling), words[place])
        for coupling, place in zip(rows["coupling"], places, strict=True)
    ]
    return rows.assign(coupling=arms).astype({"coupling": STRINGS})


def _variants(fields: list[str], places: set[tuple]) -> dict[tuple, str]:
    """Values of the fields to what distinguishes them from the others, in words."""
    known = {place: dict(zip(fields, place, strict=True)) for place in places}
    laws: dict[object, set[tuple]] = {}
    scales: dict[object, set[str]] = {}
    for values in known.values():
        laws.setdefault(values.get(OBJECTIVE), set()).add(_law(values))
        scales.setdefault(values.get(OBJECTIVE), set()).add(_scale(values))
    words = {}
    for place, values in known.items():
        objective = values.get(OBJECTIVE)
        parts = []
        if len(laws) > 1 and objective not in (None, EDM):
            parts.append(str(objective))
        # Within the objective: flow matching has a law of its own, and records EDM's all the same.
        law = _law(values)
        if len(laws[objective]) > 1 and law != _EDM_LAW:
            parts += [_words(name, value) for name, value in zip(LAW, law, strict=True)]
        scale = _scale(values)
        if len(scales[objective]) > 1 and scale != str(EDM_SIGMA_DATA):
            parts.append(setting("sigma_data", scale))
        words[place] = listed(parts)
    return words


def _scale(values: dict[str, object]) -> str:
    """The sigma_data, as text: a number or ``data``; EDM's if it is not known."""
    value = values.get(SIGMA_DATA)
    return str(EDM_SIGMA_DATA if value is None else value)


def _law(values: dict[str, object]) -> tuple:
    """P_mean and P_std; EDM's where all runs of the report share one."""
    pairs = zip(LAW, _EDM_LAW, strict=True)
    return tuple(values.get(name, usual) for name, usual in pairs)


def _words(name: str, value: object) -> str:
    short = name.removeprefix("training.")
    return "" if is_missing(value) else setting(short, value)


@dataclass(frozen=True)
class Arm:
    """An arm of a comparison.

    Attributes:
        name: as in the column ``coupling`` of the comparison's rows.
        coupling: its coupling.
        objective: the objective without options.
        law: location and scale of the law of ln sigma, which for flow matching is that of logit t;
            None if t is uniform, or not known.

    """

    name: str
    coupling: str
    objective: str
    law: tuple[float, float] | None


def arms_of(rows: pd.DataFrame) -> list[Arm]:
    """The arms of a comparison, in the order of tables."""
    fields = ["coupling", *[name for name in FIELDS if name in rows]]
    found = {}
    # Rows are many, arms are few.
    for record in rows[fields].drop_duplicates().to_dict("records"):
        name = str(record["coupling"])
        known = {key: value for key, value in record.items() if not is_missing(value)}
        spec = str(known.get(OBJECTIVE, EDM))
        law = _law(known) if spec == EDM else _law_of_t(spec)
        found[name] = Arm(name, coupling_of(name), spec.partition(":")[0], law)
    return [found[name] for name in ordered(found)]


def _law_of_t(spec: str) -> tuple[float, float] | None:
    """Location and scale of logit t from the spec of an objective."""
    options = dict(item.partition("=")[::2] for item in spec.partition(":")[2].split(","))
    if options.get("t") != "logit-normal":
        return None
    # A user's own objective may call its law the same and mean something else.
    try:
        return float(options.get("loc", 0.0)), float(options.get("scale", 1.0))
    except ValueError:
        return None

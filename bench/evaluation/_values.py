"""Values as a metric returns them, held to what the metric promises before they are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bench.metrics.contract import SPLITS, Metric
from bench.record import Measurement, UserError


def by_pair(
    name: str, metric: type[Metric], method: str, second: str, values: Any
) -> Iterator[tuple[str, Any, float]]:
    """Triples (name of the value, split or noise level, number) of ``{(name, second): number}``.

    Args:
        name: of the metric, for messages.
        metric: its class.
        method: that returned the values.
        second: the word for what stands next to the name: ``"split"`` or ``"sigma"``.
        values: as returned.

    Raises:
        UserError: they are of another form, or have a name that ``infos`` does not declare.

    """
    promise = _promise(name, metric, f"{method}() must return {{(name, {second}): number}}")
    for key, value in _items(promise, values):
        # A text of two letters would unpack into a name and a split.
        if not isinstance(key, tuple) or len(key) != 2 or not _declares(metric, key[0]):
            raise UserError(f"{promise}, got {key!r}")
        if second == "split" and key[1] not in (None, *SPLITS):
            raise UserError(f"{promise} and a split of {', '.join(SPLITS)} or None, got {key!r}")
        yield *key, _number(promise, key, value)


def by_name(
    name: str, metric: type[Metric], method: str, values: Any
) -> Iterator[tuple[str, float]]:
    """Pairs (name of the value, number) of ``{name: number}``; otherwise as ``by_pair``."""
    promise = _promise(name, metric, f"{method}() must return {{name: number}}")
    for key, value in _items(promise, values):
        if not _declares(metric, key):
            raise UserError(f"{promise}, got {key!r}")
        yield key, _number(promise, key, value)


def as_rows(name: str, metric: type[Metric], rows: Iterable[Any]) -> Iterator[Measurement]:
    """Rows of a metric of the denoiser, with plain numbers; otherwise as ``by_pair``."""
    promise = _promise(name, metric, "rows() must give each Measurement")
    for row in rows:
        if not isinstance(row, Measurement):
            raise UserError(f"{promise}, got {type(row).__name__}")
        # The error of the starts also records the real share of mode mixtures, which the metric of
        # that name describes. Files of users have no such agreement.
        if "." in name and metric.describe(row.metric) is None:
            raise UserError(f"{promise}, got {row.metric!r}")
        yield replace(row, value=_number(promise, row.metric, row.value))


def _promise(name: str, metric: type[Metric], form: str) -> str:
    declared = ", ".join(info.name for info in metric.infos)
    return f"{name}: {form} with the names of infos ({declared})"


def _declares(metric: type[Metric], name: object) -> bool:
    """True if a name is declared; another one might be that of another metric's values."""
    return any(info.name == name for info in metric.infos)


def _items(promise: str, values: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(values, Mapping):
        raise UserError(f"{promise}, got {type(values).__name__}")
    return values.items()


def _number(promise: str, key: object, value: Any) -> float:
    """A plain number, also of a tensor or an array of one value: records cannot hold these."""
    try:
        return float(value)
    # Torch raises RuntimeError for a tensor of several values.
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{promise}, got {type(value).__name__} for {key!r}") from None

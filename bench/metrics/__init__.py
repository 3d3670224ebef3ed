"""Metrics. One file of this folder is one metric, or a family of metrics that share their work.

``contract.py`` says what a metric is. Its name is that of the file; a metric of a user's own is any
module that Python can import, such as ``my_project.spread``. What a metric says about itself
(``Info``) goes into ``metrics.json`` of a run folder, and from there into reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.record.infos import Described, Info

if TYPE_CHECKING:
    from bench.metrics.contract import Metric

PACKAGE = "bench.metrics"


# An evaluation asks for names and metrics thousands of times, and each look into the folder takes
# half a millisecond. Its files do not change while a process runs.
@lru_cache
def names() -> tuple[str, ...]:
    """Names of the metrics in this folder."""
    # Imports torch, which a look into the record of a run must not wait for.
    from bench import plugins

    return plugins.names(PACKAGE)


def load(name: str) -> type[Metric]:
    """The metric of a name.

    Raises:
        PluginError: there is none, or its module defines no metric, or one that does not keep the
            contract.

    """
    # Only those of this folder are kept: a user's module may be imported again.
    return _load(name) if "." in name else _load_shipped(name)


@lru_cache
def _load_shipped(name: str) -> type[Metric]:
    return _load(name)


def _load(name: str) -> type[Metric]:
    from bench import plugins
    from bench.metrics._complete import check_complete
    from bench.metrics.contract import MEASURED

    module = plugins.load("metric", name, PACKAGE)
    # Nothing would ever measure a user's metric of another kind.
    bases = MEASURED if "." in name else (Described,)
    metric = plugins.class_in("metric", module, *bases)
    check_complete(name, metric)
    if "." in name:
        _refuse_taken(name, metric)
    return metric


def _refuse_taken(name: str, metric: type[Metric]) -> None:
    """Refuse a user's metric that is called like one of this folder.

    Its values would take the place of that one's rows, also in finished runs.
    """
    from bench import plugins

    taken: set[str] = set()
    for shipped in names():
        taken |= {info.name for info in load(shipped).infos}
    for info in metric.infos:
        if info.name in taken:
            raise plugins.PluginError(
                f"{name}: {info.name!r} is the name of a metric of bench.metrics: call it otherwise"
            )


def groups() -> dict[str, list[str]]:
    """Names of the metrics in this folder by their group; the empty group is among them."""
    by_group: dict[str, list[str]] = {}
    for name in names():
        by_group.setdefault(load(name).group, []).append(name)
    return by_group


def chosen(words: Iterable[str]) -> tuple[str, ...]:
    """Names of the metrics that some words of ``--metrics`` stand for, each once.

    A word is a group, such as ``samples``, or the name of a metric. Metrics without a group
    describe starts and guidance; they are always among the chosen ones.
    """
    by_group = groups()
    found = list(by_group.get("", ()))
    for word in words:
        found += by_group.get(word, [word])
    return tuple(dict.fromkeys(found))


def owner(metric: str, own: Iterable[str] = ()) -> tuple[str, Info] | None:
    """Name and description of the metric that measures a row's ``metric``; None if none is known.

    Args:
        metric: as in the column ``metric``, such as ``kid_classifier``.
        own: names of a user's metrics, to be searched alongside those of this folder.

    """
    best: tuple[int, str, Info] | None = None
    for name in (*names(), *own):
        match = load(name).describe(metric)
        # fd_infinity_classifier is not the fd of some features called infinity_classifier: the
        # longest name that fits is meant.
        if match is not None and (best is None or match[0] > best[0]):
            best = (match[0], name, match[1])
    return None if best is None else best[1:]


def infos(measured: Iterable[str], own: Iterable[str] = ()) -> list[Info]:
    """Descriptions of measured metrics, in the order of a report; unknown ones are left out.

    Args:
        measured: values of the column ``metric``.
        own: names of a user's metrics, to be searched alongside those of this folder.

    """
    found = []
    for metric in set(measured):
        match = owner(metric, own)
        if match is not None:
            found.append(match[1])
    return sorted(found, key=lambda info: (info.place, info.name))

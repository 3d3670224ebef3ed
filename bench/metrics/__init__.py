"""Metrics. One file of this folder is one metric, or a family of metrics that share their work.

``contract.py`` says what a metric is. Its name is that of the file; a metric of a user's own is any
module that Python can import, such as ``my_project.spread``. What a metric says about itself
(``Info``) goes into ``metrics.json`` of a run folder, and from there into reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ConfigError, EvaluationConfig, RunConfig
from bench.record.infos import Described, Info

if TYPE_CHECKING:
    from bench.metrics.contract import Metric

PACKAGE = "bench.metrics"
_FORM = re.compile(r"(\w+)@(\d+)", re.ASCII)  # of a primary question
_EXAMPLE = "METRIC@NFE, such as fd_classifier@9"


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


def check_metrics(words: tuple[str, ...]) -> None:
    """Refuse what is neither a group nor a metric; a user's own is imported for that.

    Raises:
        ConfigError: with one line that names the way out.

    """
    from bench import plugins

    # The metrics without a group are always measured, so no word stands for them.
    known = sorted(group for group in groups() if group)
    for word in words:
        if word in known:
            continue
        try:
            load(word)
        except plugins.PluginError as error:
            # No group has a dot: the word is a user's module, whose own fault is all that matters.
            tail = "" if "." in word else f"; or a group of metrics: {', '.join(known)}"
            # The cause stays: it is the traceback of a user's module that fails on import.
            raise ConfigError(f"--metrics: {error}{tail}") from error.__cause__


def check_primary(config: RunConfig) -> str:
    """The primary question of a run, ``METRIC@NFE``; empty if it leaves that to the report.

    The data set's own, of its preset, is dropped where it is not measured: nobody asked for it.

    Raises:
        ConfigError: the question of the command is not measured.

    """
    from bench.config import load_preset

    own = load_preset(None, config.data).evaluation.primary
    asked = config.evaluation.primary or own
    problem = _problem(asked, config.evaluation) if asked else ""
    if not problem:
        return asked
    if asked == own:
        return ""
    raise ConfigError(f"--primary {asked}: {problem}")


def _problem(asked: str, evaluation: EvaluationConfig) -> str:
    """Words on why a question is not measured, with the way out; empty if it is."""
    match = _FORM.fullmatch(asked)
    if match is None:
        return f"it must be {_EXAMPLE}"
    metric, nfe = match[1], int(match[2])
    if nfe not in evaluation.nfe:
        grid = ", ".join(map(str, evaluation.nfe))
        return f"NFE {nfe} is not measured: take one of --nfe ({grid}), or add it there"
    measured = chosen(evaluation.metrics)
    found = owner(metric, [name for name in measured if "." in name])
    # What is measured once for a run, or in the search for the best schedule, is no quality at it.
    if found is None or found[1].per != "nfe" or _searches(load(found[0])):
        return f"{metric} is not a metric of samples at an NFE: it must be {_EXAMPLE}"
    if found[0] not in measured:
        return f"{metric} is not measured: add {found[0]} to --metrics, or ask for another metric"
    return _features_problem(metric, load(found[0]), evaluation)


def _searches(metric: type[Metric]) -> bool:
    """True for metrics of few samples, or of starts."""
    from bench.metrics.contract import SampleMetric

    return issubclass(metric, SampleMetric) and metric.scope != "all"


def _features_problem(metric: str, cls: type[Metric], evaluation: EvaluationConfig) -> str:
    """Words on features that are not measured in; empty if they are."""
    from bench.features import DEFAULT
    from bench.metrics.contract import SampleMetric

    match = cls.describe(metric)
    # Some metrics are recorded without features.
    if not issubclass(cls, SampleMetric) or match is None or match[0] == len(metric):
        return ""
    features = metric[match[0] + 1 :]
    names = {_name_of(spec) for spec in evaluation.features or DEFAULT}
    # A user's own extractor chooses its name when it is loaded.
    if features in names or any("." in spec.partition(":")[0] for spec in evaluation.features):
        return ""
    return f"nothing is measured in the features {features}: add them to --features"


def _name_of(spec: str) -> str:
    """The name of the features of a spec, as in ``fd_<name>``."""
    from couplings.spec import split_spec

    name, options = split_spec(spec)
    # A network of the user's own is called by its file.
    of_file = Path(options["path"]).stem if "path" in options else name
    return options.get("name", of_file)

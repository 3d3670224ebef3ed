"""Floors of a run's distances: those of as many real training images from the test split.

No finite sample of a perfect model is at distance 0, so a ratio of two distances says little where
both are near the floor. Against the train split there is no floor: images drawn from it are part of
what they would be compared with, and the rest of it is another, smaller reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bench import metrics
from bench.evaluation import plan as planning
from bench.evaluation.ledger import Task
from bench.metrics.contract import FeatureSpace, SampleMetric, Subject
from bench.randomness import generator
from bench.record import Measurement, digest, made_once, write_json

REAL = "real-images"  # in place of a setting of samples
DRAWS = 10
BLOCK = 2**25  # numbers: features of a draw are taken up to 128 MiB at a time
VERSION = 1  # raise it when the numbers change, so that no old file is read
QUIET = 3.0  # seconds before a progress bar is shown: most floors take less


@dataclass(frozen=True)
class Floor:
    """The floor of one metric.

    Attributes:
        metric: its name, without features.
        split: that it compares with; None for a metric that names none.
        n: images of a draw that it is computed from.
        mean: over the draws.
        sd: standard deviation of a draw; None of a single one.

    """

    metric: str
    split: str | None
    n: int
    mean: float
    sd: float | None


def floor_tasks(subject: Subject) -> list[Task]:
    """A task for each metric of samples that declares a floor, in all features that suit it."""
    n = subject.config.evaluation.samples
    tasks = []
    for name, space, metric in planning.sample_metrics(subject, n, "all"):
        if any(info.floor for info in metric.infos):
            features = space.features
            tasks.append(Task(name, REAL, n, features.name, features.fingerprint))
    return tasks


def floor_cautions(subject: Subject) -> list[str]:
    """A line for the terminal if floors cannot be measured; else none."""
    n = subject.config.evaluation.samples
    available = len(subject.dataset.train)
    if available >= n or not floor_tasks(subject):
        return []
    return [
        f"floors of {n:,} real images are not measured: the training split has {available:,}; take"
        f" at most --samples {available}"
    ]


def measure_floor(subject: Subject, task: Task) -> list[Measurement]:
    """Rows of a task: each floor, and its standard deviation where there are several draws."""
    metric = metrics.load(task.metric)
    assert issubclass(metric, SampleMetric), task
    assert task.features is not None, task
    space = subject.spaces[task.features]
    described = {info.name: info for info in metric.infos}
    rows = []
    for floor in floors(space, task.metric, metric, task.n):
        mean, spread = described[floor.metric].floors()
        for info, value in ((mean, floor.mean), (spread, floor.sd)):
            if value is not None:
                name = metric.full_name(info.name, task.features)
                rows.append(Measurement(name, value, split=floor.split, n=floor.n))
    return rows


def floors(
    space: FeatureSpace, name: str, metric: type[SampleMetric], n: int, most: int = DRAWS
) -> list[Floor]:
    """Floors of all values of a metric that declare one; none if the training split is too small.

    They depend on no run: a file in the cache holds them for all runs with these data.

    Args:
        space: the real images.
        name: of the metric, as in ``--metrics``.
        metric: its class.
        n: number of samples that runs generate.
        most: number of draws.

    """
    if space.cache is None:
        return _measured(space, metric, n, most)
    key = {
        "version": VERSION,
        "train": space.real["train"].key,
        "test": space.real["test"].key,
        "metric": name,
        "n": n,
        "compared": space.most,
        "draws": most,
    }
    path = space.cache / f"floor-{name}-{space.features.name}-{digest(key, 16)}.json"

    def make() -> None:
        found = _measured(space, metric, n, most)
        write_json(path, {"key": key, "floors": [asdict(floor) for floor in found]})

    # A file of another key or a damaged one is made again, as if it were missing.
    made_once(path, make, lambda there: _read(there, key) is not None)
    found = _read(path, key)
    assert found is not None
    return found


def draws(available: int, n: int, most: int = DRAWS) -> list[Tensor]:
    """Rows ``[n]`` of up to ``most`` random draws of ``available`` images, without replacement.

    Draws are disjoint as long as the images last; then the next pass over them begins. All images
    at once are one draw, and of fewer than n there is none.
    """
    if available < n:
        return []
    stream = generator(0, "floors")
    found: list[Tensor] = []
    while len(found) < (most if n < available else 1):
        # The order of the images in a draw is random too: some metrics look at the first ones only,
        # and files are often sorted by class.
        order = torch.randperm(available, generator=stream, device="cpu")
        found += order[: available // n * n].split(n)
    return found[:most]


def shared(drawn: Sequence[Tensor]) -> float:
    """Mean share of a draw's images that another draw has too: 0 for disjoint ones."""
    n = len(drawn[0])
    uses = torch.bincount(torch.cat(list(drawn)))
    # An image that u draws have is in u (u - 1) ordered pairs of draws.
    common = int((uses * (uses - 1)).sum())
    return common / (len(drawn) * (len(drawn) - 1) * n)


def deviation(values: Sequence[float], overlap: float) -> float | None:
    """Standard deviation of a draw from the values of some; None of a single one.

    Two draws that share a part ``overlap`` of their images agree more than new ones would: for a
    sum over images the covariance is that part of the variance, so the sample variance of the draws
    is (1 - overlap) of it.
    """
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / (1 - overlap))


def _measured(space: FeatureSpace, metric: type[SampleMetric], n: int, most: int) -> list[Floor]:
    train = space.real["train"]
    declared = {info.name for info in metric.infos if info.floor}
    # Some metrics look at fewer images than there are.
    size = metric(space, n).n
    drawn = draws(len(space.dataset.train), size, most)
    values: dict[tuple[str, str | None], list[float]] = {}
    counts: dict[str, int] = {}
    about = f"real images, {metric.__name__} in {space.features.name}"
    for rows in tqdm(drawn, about, leave=False, delay=QUIET, disable=None):
        measuring = metric(space, n)
        for block in rows.split(max(1, BLOCK // space.features.size)):
            measuring.update(train.rows(block))
        for (name, split), value in measuring.compute().items():
            if name in declared and split != "train":
                values.setdefault((name, split), []).append(float(value))
                counts[name] = measuring.count(name)
    found = []
    for (name, split), of_draws in values.items():
        mean = sum(of_draws) / len(of_draws)
        # Features that cannot be computed of real images have no floor, and JSON no such number.
        if not math.isfinite(mean):
            continue
        overlap = shared(drawn) if len(drawn) > 1 else 0.0
        found.append(Floor(name, split, counts[name], mean, deviation(of_draws, overlap)))
    return found


def _read(path: Path, key: dict[str, object]) -> list[Floor] | None:
    """The floors of a file that was written whole for this key, or None."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return [Floor(**entry) for entry in content["floors"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None

"""Measure the stored samples of a setting, and the denoiser itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from bench import metrics
from bench.data import as_images
from bench.evaluation._values import as_rows, by_name, by_pair
from bench.evaluation.ledger import Recorded, Task
from bench.evaluation.pictures import WIDTH, is_shown, save_grid
from bench.evaluation.plan import Job
from bench.evaluation.points import MOST, PATHS, REAL, points_file, save_points, save_trajectories
from bench.evaluation.subject import (
    TANGENTS,
    dense_levels,
    dense_setting,
    fixed_of_search,
    store,
)
from bench.metrics.contract import (
    DenoiserMetric,
    FeatureSpace,
    Item,
    PathMetric,
    SampleMetric,
    SolverMetric,
    Subject,
)
from bench.metrics.copies import nearest_rows
from bench.metrics.w2 import in_the_plane
from bench.record import Measurement
from bench.sampling.latents import finite_rows
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore

SHOWN_NFE = (5, 13, 35)  # numbers of evaluations, if sampled, whose images are shown
SHOWN_SIDE = 6  # images in a row, and rows
NEAREST = 8  # samples that are shown with their nearest training image

NotFinite = dict[str, tuple[int, int]]
"""By the name of a setting: how many samples were not finite, and of how many."""


def measure(
    subject: Subject, job: Job, tasks: Sequence[Task], not_finite: NotFinite
) -> list[Recorded]:
    """Rows of some tasks of a job, from its stored samples; also writes the pictures that go with
    them.

    Args:
        subject: whose samples they are.
        job: their setting.
        tasks: what is to be measured.
        not_finite: counts of samples that were not finite are added to it.

    Raises:
        SampleError: a sample is not there.
        UserError: a metric returns values that it does not promise.

    """
    setting = _as_recorded(subject, job)
    recorded: list[Recorded] = []
    # Tasks with the same features and number of samples share one pass over the images, because
    # extracting features takes longest.
    passes: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        metric = metrics.load(task.metric)
        if issubclass(metric, SolverMetric):
            recorded.append((task, _solver_rows(subject, job, setting, metric, task)))
        elif issubclass(metric, PathMetric):
            dense = job.setting == dense_setting(subject.config.evaluation)
            of = _dense_path_rows if dense else _path_rows
            recorded.append((task, of(subject, job, setting, metric, task)))
        elif issubclass(metric, SampleMetric):
            # Metrics of fixed features have tasks without any, see ``plan.sample_tasks``.
            features = metric.only_in or task.features
            passes.setdefault((features, task.n), []).append(task)
    for (features, n), several in passes.items():
        space = subject.spaces[features]
        images = _as_measured(subject, job.setting, n, not_finite)
        fixed = _fixed_of_search(subject, job.setting, n)
        recorded += _sample_rows(space, setting, several, n, images, fixed)
    if passes and not job.setting.search:
        _show(subject, job.setting)
    return recorded


def measure_denoiser(subject: Subject, task: Task) -> list[Measurement]:
    """Rows of a task that needs no stored samples.

    Raises:
        UserError: the metric gives rows that it does not promise.

    """
    metric = metrics.load(task.metric)
    assert issubclass(metric, DenoiserMetric), task
    rows = metric.rows(subject, Item(task.setting, task.n, task.fingerprint))
    return list(as_rows(task.metric, metric, rows))


def measure_samples(
    space: FeatureSpace, several: Sequence[type[SampleMetric]], n: int, images: Iterable[Tensor]
) -> list[SampleMetric]:
    """Objects of several metrics that have seen ``n`` images, given in chunks as the data set
    stores them.

    Raises:
        ValueError: there are more or fewer images.

    """
    measuring = [metric(space, n) for metric in several]
    # Counted here, because a metric that sees too few samples would give a wrong value silently.
    count = 0
    for features in space.extract(images):
        count += len(features)
        for metric in measuring:
            metric.update(features)
    if count != n:
        raise ValueError(f"{count} images where {n} were announced")
    return measuring


def _sample_rows(
    space: FeatureSpace,
    setting: Setting,
    tasks: Sequence[Task],
    n: int,
    images: Iterable[Tensor],
    fixed: Iterable[Tensor] | None,
) -> Iterator[Recorded]:
    """Rows of metrics of samples, from one pass over the images.

    Those of the search are compared with images of the fixed schedule, unless they are these.
    """
    several = [_of_samples(task) for task in tasks]
    measured = measure_samples(space, several, n, images)
    others = measured if fixed is None else measure_samples(space, several, n, fixed)
    for task, metric, other in zip(tasks, measured, others, strict=True):
        values = [("compute", metric.compute())]
        if setting.search:
            values.append(("against", metric.against(other)))
        rows = []
        for method, returned in values:
            for name, split, value in by_pair(task.metric, type(metric), method, "split", returned):
                full_name = metric.full_name(name, space.features.name)
                rows.append(setting.row(full_name, value, split=split, n=metric.count(name)))
        yield task, rows


def _fixed_of_search(subject: Subject, setting: Setting, n: int) -> Iterator[Tensor] | None:
    """Images 0 .. n - 1 of the fixed schedule, if these are other ones of the search."""
    if not setting.search:
        return None
    fixed = fixed_of_search(subject.config.evaluation, setting.nfe)
    stored = store(subject, fixed).as_measured(n)
    return None if fixed == setting else map(subject.as_measured, stored)


def _solver_rows(
    subject: Subject, job: Job, setting: Setting, metric: type[SolverMetric], task: Task
) -> list[Measurement]:
    # The dense store is read only by metrics that compare with it.
    samples = store(subject, job.setting)
    dense = store(subject, dense_setting(subject.config.evaluation))
    rows = []
    values = metric.values(samples, dense, task.n)
    for name, value in by_name(task.metric, metric, "values", values):
        rows.append(setting.row(name, value, n=task.n))
    return rows


def _dense_path_rows(
    subject: Subject, job: Job, setting: Setting, metric: type[PathMetric], task: Task
) -> list[Measurement]:
    per_sample = _observed(store(subject, job.setting), metric, task.n)
    _show_paths(subject, task.n)
    rows = []
    values = metric.values(per_sample, dense_levels(subject.config.evaluation), subject)
    for name, sigma, value in by_pair(task.metric, metric, "values", "sigma", values):
        rows.append(setting.row(name, value, n=task.n, sigma=sigma))
    return rows


def _path_rows(
    subject: Subject, job: Job, setting: Setting, metric: type[PathMetric], task: Task
) -> list[Measurement]:
    samples = store(subject, job.setting)
    # A sampler of a user's own may show no points.
    if not samples.has(metric.stored):
        return []
    values = metric.values_at(_observed(samples, metric, task.n), subject)
    rows = []
    for name, value in by_name(task.metric, metric, "values_at", values):
        rows.append(setting.row(name, value, n=task.n))
    return rows


def _observed(samples: SampleStore, metric: type[PathMetric], n: int) -> dict[str, Tensor]:
    """Tensors that a metric observed along the first ``n`` paths, by name."""
    return {name: torch.cat(list(samples.tensors(name, n))) for name in metric.stored}


def _as_recorded(subject: Subject, job: Job) -> Setting:
    """The setting, with the evaluations that an adaptive sampler took."""
    if job.setting.nfe is not None:
        return job.setting
    # Every chunk of an adaptive sampler has its own sequence of steps, so counts differ.
    counts = torch.cat(list(store(subject, job.setting).tensors("evaluations", job.n)))
    return job.setting.with_nfe(round(counts.double().mean().item()))


def _as_measured(
    subject: Subject, setting: Setting, n: int, not_finite: NotFinite
) -> Iterator[Tensor]:
    """Images 0 .. n - 1 of a setting, chunk by chunk; counts those that are not finite."""
    bad = 0
    for images in store(subject, setting).as_measured(n):
        bad += int((~finite_rows(images)).sum())
        yield subject.as_measured(images)
    if bad:
        not_finite[setting.name] = (bad, n)


def _of_samples(task: Task) -> type[SampleMetric]:
    metric = metrics.load(task.metric)
    assert issubclass(metric, SampleMetric), task
    return metric


def _show_paths(subject: Subject, n: int) -> None:
    """Write the first paths of the dense reference: of pictures D along them, a row for each
    sample, from noise to image; of points the paths themselves.
    """
    samples = store(subject, dense_setting(subject.config.evaluation))
    if in_the_plane(subject.dataset):
        count = min(PATHS, n)
        paths = torch.cat(list(samples.tensors("trajectories", count)))
        ends = torch.cat(list(samples.tensors("exact", count)))
        save_trajectories(subject.samples_folder / "trajectories.csv", paths, ends)
        return
    # [rows, columns, c, h, w]
    tangents = torch.cat(list(samples.tensors("tangents", min(TANGENTS[0], n))))
    path = subject.samples_folder / "tangents.png"
    save_grid(path, subject.as_shown(tangents.flatten(0, 1)), columns=tangents.shape[1])


def _show(subject: Subject, setting: Setting) -> None:
    """Write the first images, or points of the plane, at some numbers of evaluations of the fixed
    schedule.
    """
    evaluation = subject.config.evaluation
    # Pictures of couplings are compared at equal settings, so only the fixed schedule is shown.
    fixed = Setting.along(evaluation.fixed_schedule, setting.sampler, setting.nfe)
    if setting != fixed or setting.nfe is None:
        return
    samples = store(subject, setting)
    folder = subject.samples_folder
    if in_the_plane(subject.dataset):
        # Published experiments may have one number of evaluations, of another sampler.
        if setting.nfe in ([nfe for nfe in SHOWN_NFE if nfe in evaluation.nfe] or evaluation.nfe):
            points = torch.cat(list(samples.images(min(MOST, evaluation.samples))))
            save_points(folder / points_file(setting.sampler, setting.nfe), points)
            save_points(folder / f"{REAL}.csv", subject.dataset.test.images)
        return
    if setting.sampler != "heun" or setting.nfe not in SHOWN_NFE:
        return
    first = torch.cat(list(samples.images(min(SHOWN_SIDE**2, evaluation.samples))))
    save_grid(folder / f"nfe{setting.nfe}.png", subject.as_shown(first))
    # What they are to look like; the same for every run.
    save_grid(folder / f"{REAL}.png", as_images(subject.measured.test.images[: SHOWN_SIDE**2]))
    most = max((nfe for nfe in SHOWN_NFE if nfe in evaluation.nfe), default=setting.nfe)
    if setting.nfe == most:
        _show_nearest(subject, first[:NEAREST])


def _show_nearest(subject: Subject, samples: Tensor) -> None:
    """Write a picture of stored samples ``[n, ...]``, and below each its nearest training image.

    In the features of the first distance; pixels only if there are no others.
    """
    # The search goes through all training images, for a picture that there would not be.
    if not is_shown(subject.measured.train.images):
        return
    spaces = sorted(subject.spaces.values(), key=lambda space: space.features.name == "pixels")
    space = spaces[0]
    features = torch.cat(list(space.extract(subject.as_measured(samples))))
    _, rows = nearest_rows(features.to(space.device), space.real["train"].parts())
    images = as_images(subject.measured.train.images[rows.cpu()])
    path = subject.samples_folder / f"nearest-{space.features.name}.png"
    both = torch.cat([subject.as_shown(samples), images.cpu()])
    save_grid(path, both, columns=len(samples), width=2 * WIDTH)

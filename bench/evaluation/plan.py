"""Plan of an evaluation: which samples are drawn, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from bench import metrics
from bench.config import EvaluationConfig
from bench.evaluation.ledger import Task, search_name
from bench.evaluation.methods import guidances
from bench.evaluation.subject import dense_setting, setting_name
from bench.metrics.contract import (
    DenoiserMetric,
    FeatureSpace,
    Metric,
    PathMetric,
    SampleMetric,
    SolverMetric,
    Subject,
)
from bench.record import Measurement
from bench.record.best_schedule import Cell, parameter
from bench.record.specs import cfg, flow, karras
from bench.sampling.setting import Setting
from models.classifier_free import network_evaluations

TWO_STEPS = 3  # evaluations that two Heun steps take
STEP = 1.7  # factor between the end of a family of schedules and the next one beyond it
STEPS = 3  # beyond each end, at most
FAMILIES = {"karras": karras, "flow": flow}  # whose parameter can be any number above 0
M = TypeVar("M", bound=Metric)


@dataclass(frozen=True)
class Job:
    """Samples of one setting and what is measured of them.

    Attributes:
        setting: how they are sampled.
        tasks: what is measured.

    """

    setting: Setting
    tasks: tuple[Task, ...]

    @property
    def n(self) -> int:
        """Number of samples: as many as the largest of its tasks asks for."""
        return max((task.n for task in self.tasks), default=0)


def plan(subject: Subject) -> list[Job]:
    """All that is known before the first pass is measured, one job a setting.

    The dense reference comes first: truncation errors of all others are measured against it.
    """
    merged: dict[Setting, Job] = {}
    # A setting may be part of several groups; it is sampled once.
    several = [
        dense_reference(subject),
        *fixed_schedule(subject),
        *classifier_free(subject),
        *guided(subject),
        *started(subject),
        *grid(subject),
    ]
    for job in several:
        before = merged.get(job.setting, Job(job.setting, ()))
        tasks = dict.fromkeys(before.tasks + job.tasks)  # each once
        merged[job.setting] = Job(job.setting, tuple(tasks))
    return list(merged.values())


def dense_reference(subject: Subject) -> Job:
    """The paths of the dense reference."""
    setting = dense_setting(subject.config.evaluation)
    n = subject.config.evaluation.trajectories
    tasks = []
    for name, metric in chosen(subject, PathMetric).items():
        if metric.suits(subject.dataset):
            tasks.append(Task(name, setting.name, n))
    # Also without tasks: the job is planned, and samples nothing.
    return Job(setting, tuple(tasks))


def fixed_schedule(subject: Subject, weight: float = 1.0) -> list[Job]:
    """All samplers along the fixed schedule, at every number of evaluations of the denoiser.

    ``weight`` is that of classifier-free guidance.
    """
    evaluation = subject.config.evaluation
    jobs = []
    for sampler in evaluation.samplers:
        adaptive = not Setting(sampler).fixed_steps
        for evaluations in (None,) if adaptive else evaluation.nfe:
            # The same steps at every weight: guidance shows its full price in the column nfe.
            each = network_evaluations(weight)
            nfe = None if evaluations is None else evaluations * each
            spec = evaluation.fixed_schedule
            setting = Setting.along(spec, sampler, nfe, guidance=cfg(weight))
            jobs.append(all_metrics(subject, setting))
    return jobs


def classifier_free(subject: Subject) -> list[Job]:
    """All samplers at every weight of classifier-free guidance."""
    jobs = []
    for weight in subject.config.evaluation.cfg:
        jobs += fixed_schedule(subject, weight)
    return jobs


def guided(subject: Subject) -> list[Job]:
    """Every weight of every discriminator, including unguided, along the fixed schedule."""
    schedule = subject.config.evaluation.fixed_schedule
    jobs = []
    for config in guidances(subject.config):
        for weight in config.weights:
            for nfe in config.nfe:
                setting = Setting.along(schedule, "heun", nfe, guidance=config.label(weight))
                jobs.append(all_metrics(subject, setting))
    return jobs


def started(subject: Subject) -> list[Job]:
    """Every start, including the usual one, along the fixed schedule, with the metrics of
    starts.
    """
    evaluation = subject.config.evaluation
    if not evaluation.start:
        return []
    jobs = []
    # Without the usual start, measured in the same way, there is nothing to compare with.
    for start in ("gaussian", *evaluation.start):
        for sampler in evaluation.samplers:
            # An adaptive sampler has no number of evaluations to ask for.
            if not Setting(sampler).fixed_steps:
                continue
            for nfe in evaluation.start_nfe:
                schedule = evaluation.fixed_schedule
                setting = Setting.along(schedule, sampler, nfe, start=start)
                job = all_metrics(subject, setting)
                more = sample_tasks(subject, job.setting, evaluation.samples, "starts")
                jobs.append(replace(job, tasks=(*job.tasks, *more)))
    return jobs


def grid(subject: Subject) -> list[Job]:
    """Few samples in every cell of schedule x NFE: the first pass, which chooses the best
    schedule.
    """
    evaluation = subject.config.evaluation
    cells = []
    for nfe in evaluation.nfe:
        specs = evaluation.searched_schedules
        # Two steps go from sigma_max to sigma_min and to 0, whatever Karras' exponent.
        if nfe <= TWO_STEPS:
            specs = [spec for spec in specs if Setting.along(spec, "heun", nfe).rho is None]
        if specs:
            # The fixed one always, because all others are compared with it.
            several = dict.fromkeys((*specs, evaluation.fixed_schedule))
            cells += [(nfe, spec) for spec in several]
    return search(subject, cells)


def beyond(
    evaluation: EvaluationConfig, best: Iterable[Measurement], tried: Iterable[Cell]
) -> list[Cell]:
    """The next cells of the first pass where a best schedule is the first or last of its family
    that was tried at its NFE: one step further out, at most ``STEPS`` from those asked for.

    Args:
        evaluation: says which schedules are asked for.
        best: rows ``best_schedule_<features>``.
        tried: all cells that were measured.

    """
    several = list(tried)
    cells = []
    for row in best:
        family = row.schedule.partition(":")[0]
        asked = _parameters(evaluation.searched_schedules, family)
        known = _parameters([spec for nfe, spec in several if nfe == row.nfe], family)
        # Where one was asked for, it is first and last at once, and nothing was searched.
        if family not in FAMILIES or len(asked) < 2 or row.nfe not in evaluation.nfe:
            continue
        value = parameter(row.schedule)
        if value == max(known):
            factor = STEP
            steps = sum(number > max(asked) for number in known)
        elif value == min(known):
            factor = 1 / STEP
            steps = sum(number < min(asked) for number in known)
        else:
            continue
        if steps < STEPS:
            # Three digits: a schedule is spelled in the results, and means no more than that.
            cells.append((row.nfe, FAMILIES[family](float(f"{value * factor:.3g}"))))
    return cells


def _parameters(specs: Iterable[str], family: str) -> list[float]:
    return [parameter(spec) for spec in specs if spec.partition(":")[0] == family]


def search(subject: Subject, cells: Iterable[Cell]) -> list[Job]:
    """Few samples in some cells of the first pass, compared with those of the fixed schedule."""
    evaluation = subject.config.evaluation
    # Without features there is no distance to choose a schedule by.
    if not subject.extractors:
        return []
    jobs = []
    for nfe, spec in cells:
        setting = Setting.along(spec, "heun", nfe, search=True)
        tasks = []
        for task in sample_tasks(subject, setting, evaluation.grid_samples, "grid"):
            name = search_name(task.setting, evaluation.fixed_schedule)
            tasks.append(replace(task, setting=name))
        if tasks:
            jobs.append(Job(setting, tuple(tasks)))
    return jobs


def at_best_schedule(subject: Subject, best: Iterable[Measurement]) -> list[Job]:
    """All metrics at the best schedule of each number of evaluations, unless that is the fixed one.

    ``best`` are rows of ``bench.record.best_schedule.choose``.
    """
    evaluation = subject.config.evaluation
    jobs: dict[Setting, Job] = {}
    for row in sorted(best, key=lambda row: row.nfe):
        if row.nfe in evaluation.nfe and row.schedule != evaluation.fixed_schedule:
            setting = Setting.along(row.schedule, "heun", row.nfe)
            jobs[setting] = all_metrics(subject, setting)
    return list(jobs.values())


def all_metrics(subject: Subject, setting: Setting) -> Job:
    """All metrics of samplers and samples at a setting."""
    evaluation = subject.config.evaluation
    tasks = []
    for name, metric in chosen(subject, SolverMetric).items():
        # A path from pure noise ends elsewhere than one from sigma_max: a difference of starts, not
        # of steps.
        dense = dense_setting(evaluation).plan.coordinates
        if metric.needs_dense and setting.plan.coordinates != dense:
            continue
        if metric.suits(setting):
            n = metric.samples(evaluation)
            tasks.append(Task(name, setting_name(subject, setting), n))
    for name, of_paths in chosen(subject, PathMetric).items():
        if is_watched(subject, of_paths, setting):
            tasks.append(Task(name, setting_name(subject, setting), evaluation.samples))
    tasks += sample_tasks(subject, setting, evaluation.samples, "all")
    return Job(setting, tuple(tasks))


def is_watched(subject: Subject, metric: type[PathMetric], setting: Setting) -> bool:
    """True if a metric of paths has values at a setting, other than those of the dense
    reference.
    """
    dense = dense_setting(subject.config.evaluation)
    return (
        setting != dense
        and metric.suits(subject.dataset)
        and metric.watches(subject.dataset, setting)
    )


def sample_tasks(subject: Subject, setting: Setting, n: int, scope: str) -> list[Task]:
    """The metrics of ``n`` samples with this scope, in all features that suit them."""
    name = setting_name(subject, setting)
    tasks = []
    for metric, space, cls in sample_metrics(subject, n, scope):
        # Points in the plane are measured as they are: no other features could give other values.
        of_features = cls.only_in is None
        features = space.features.name if of_features else None
        fingerprint = space.features.fingerprint if of_features else None
        tasks.append(Task(metric, name, n, features, fingerprint))
    return tasks


def sample_metrics(
    subject: Subject, n: int, scope: str
) -> list[tuple[str, FeatureSpace, type[SampleMetric]]]:
    """Name, feature space and class of all metrics of ``n`` samples with this scope."""
    extractors = subject.extractors
    # The grid and the metrics of starts are measured in the judge's features only.
    if scope != "all" and extractors:
        extractors = [subject.judge]
    triples = []
    for features in extractors:
        space = subject.spaces[features.name]
        for name, metric in chosen(subject, SampleMetric).items():
            if metric.only_in is None and metric.scope == scope and metric.suits(space, n):
                triples.append((name, space, metric))
    for name, metric in chosen(subject, SampleMetric).items():
        if metric.only_in is not None and metric.scope == scope:
            space = subject.spaces[metric.only_in]
            if metric.suits(space, n):
                triples.append((name, space, metric))
    return triples


def denoiser_tasks(subject: Subject) -> list[Task]:
    """Tasks of metrics that need no stored samples."""
    tasks = []
    for name, metric in chosen(subject, DenoiserMetric).items():
        for item in metric.items(subject):
            tasks.append(Task(name, item.name, item.n, fingerprint=item.fingerprint))
    return tasks


def chosen(subject: Subject, kind: type[M]) -> dict[str, type[M]]:
    """The metrics of one kind that are asked for, by name, in the order of a report."""
    found: dict[str, type[M]] = {}
    for name in metrics.chosen(subject.config.evaluation.metrics):
        metric = metrics.load(name)
        if issubclass(metric, kind):
            found[name] = metric
    names = sorted(found, key=lambda name: _place(name, found[name]))
    return {name: found[name] for name in names}


def _place(name: str, metric: type[Metric]) -> tuple[int, str]:
    return min(info.place for info in metric.infos), name


def cautions(subject: Subject) -> list[str]:
    """Lines for the terminal: which values are to be read with care."""
    evaluation = subject.config.evaluation
    lines = []
    for _, space, metric in sample_metrics(subject, evaluation.samples, "all"):
        lines += metric.cautions(space, evaluation.samples)
    # The grid has few samples, so it is the first to fall below the number of features.
    if grid(subject):
        for _, space, metric in sample_metrics(subject, evaluation.grid_samples, "grid"):
            lines += metric.cautions(space, evaluation.grid_samples)
    return lines

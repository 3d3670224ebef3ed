"""Samples of a subject: their settings, where they are stored, how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench import metrics
from bench.config import EvaluationConfig
from bench.evaluation.pictures import Tangents
from bench.evaluation.points import PATHS, Trajectories
from bench.metrics.contract import PathMetric, Subject
from bench.metrics.w2 import in_the_plane
from bench.sampling.latents import EVALUATION, SEARCH, as_stored, finite_rows
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore
from models.ode import Point

TANGENTS = (8, 10)  # rows, one a sample, and columns of the picture of D along the path


def dense_setting(evaluation: EvaluationConfig) -> Setting:
    """The reference that stands for the exact solution."""
    return Setting.along(evaluation.fixed_schedule, "heun", 2 * evaluation.reference_steps - 1)


def dense_levels(evaluation: EvaluationConfig) -> Tensor:
    """Noise levels ``[points]`` of the reference, without the 0 at the end; the first one is
    infinite in flow coordinates.
    """
    schedule = dense_setting(evaluation).plan
    in_flow = schedule.coordinates == "flow"
    top = math.inf if in_flow else evaluation.sigma_max
    times = schedule.times(evaluation.reference_steps, evaluation.sigma_min, top)[:-1]
    # 1 / 0 is infinite for tensors, as it should be at t = 1.
    return times / (1 - times) if in_flow else times


def fixed_of_search(evaluation: EvaluationConfig, nfe: int) -> Setting:
    """The setting that others of the search are compared with: the fixed schedule at their NFE."""
    return Setting.along(evaluation.fixed_schedule, "heun", nfe, search=True)


def setting_name(subject: Subject, setting: Setting) -> str:
    """The setting's name, with the fingerprint of the discriminator that guides it."""
    if not setting.uses_discriminator:
        return setting.name
    return f"{setting.name}@{subject.methods.prints[setting.guidance]}"


def path_metrics(subject: Subject, setting: Setting) -> list[type[PathMetric]]:
    """The observers of a setting: those of this project and those asked for by name.

    The former watch even if their values are not asked for. They cost next to nothing, and an
    evaluation that asks for them later need not sample again.
    """
    observers: list[type[PathMetric]] = []
    # Only distances are measured of the search's samples.
    if setting.search:
        return observers
    dense = setting == dense_setting(subject.config.evaluation)
    asked = metrics.chosen(subject.config.evaluation.metrics)
    for name in dict.fromkeys((*metrics.names(), *asked)):
        metric = metrics.load(name)
        if not issubclass(metric, PathMetric) or not metric.suits(subject.dataset):
            continue
        if dense or metric.watches(subject.dataset, setting):
            observers.append(metric)
    return observers


def store(subject: Subject, setting: Setting) -> SampleStore:
    """The store of a setting's samples.

    It holds ``images`` as the data set stores its own and, of the trajectories only, ``exact``
    float32 ones. It also holds what was observed along the paths, those of the dense reference
    above all.
    """
    evaluation = subject.config.evaluation
    key: dict[str, object] = {
        **subject.origin,
        "setting": setting_name(subject, setting),
        # A store with fewer exact images could not serve more trajectories, so it is another one.
        "trajectories": evaluation.trajectories,
    }
    observed: list[str] = []
    for metric in path_metrics(subject, setting):
        observed += metric.stored
    if setting == dense_setting(evaluation):
        observed.append("tangents")
        if in_the_plane(subject.dataset):
            observed.append("trajectories")
    # A store that lacks what a metric observes could not be measured, so it is another one too.
    if observed:
        key["observed"] = observed
    return SampleStore.of(subject.samples_folder, setting.name, key)


def sample_chunk(
    subject: Subject, setting: Setting, rows: range, advance: Callable[[int], object]
) -> None:
    """Sample the images of some latents into the store, with their paths observed.

    Args:
        subject: whose denoiser samples.
        setting: how.
        rows: indices of the samples.
        advance: called with the number of evaluations made since the last call.

    """
    evaluation = subject.config.evaluation
    path_observers = [metric() for metric in path_metrics(subject, setting)]
    observers = [*path_observers, *_picture_observers(subject, setting, rows)]

    def observe(point: Point) -> None:
        for observer in observers:
            observer(point)

    sampled = sample(
        subject.net,
        subject.latents(rows, SEARCH if setting.search else EVALUATION),
        setting,
        evaluation,
        subject.device,
        observe if observers else None,
        advance,
        subject.methods.steering,
    )
    # Everything is compared at equal NFE: a wrong count must end the run, not enter its results.
    if setting.nfe is not None and sampled.nfe != setting.nfe:
        raise AssertionError(
            f"counted {sampled.nfe} evaluations where {setting.nfe} were asked for"
        )
    images = sampled.images
    for path_observer in path_observers:
        path_observer.end(images)
    tensors = {}
    for observer in observers:
        for name, tensor in observer.per_sample().items():
            tensors[name] = tensor.cpu()
    if setting.nfe is None:
        tensors["evaluations"] = torch.full((len(rows),), sampled.nfe)
    if setting.uses_discriminator:
        tensors["passes"] = torch.full((len(rows),), sampled.passes)
    # What is stored in 8 bits cannot say that it was not finite.
    finite = finite_rows(images)
    if not finite.all():
        tensors["finite"] = finite
    tensors["images"] = as_stored(images, subject.dataset)
    # A clone, because as_stored may return the images themselves, and safetensors refuses tensors
    # that share memory.
    tensors["exact"] = images[: max(0, evaluation.trajectories - rows.start)].clone()
    store(subject, setting).add(rows.start, **tensors)


def _picture_observers(
    subject: Subject, setting: Setting, rows: range
) -> list[Tangents | Trajectories]:
    """Observers of the dense reference that keep what its pictures show."""
    if setting != dense_setting(subject.config.evaluation):
        return []
    points = subject.config.evaluation.reference_steps
    tangents = Tangents.evenly(max(0, TANGENTS[0] - rows.start), TANGENTS[1], points)
    if not in_the_plane(subject.dataset):
        return [tangents]
    return [tangents, Trajectories(max(0, PATHS - rows.start))]

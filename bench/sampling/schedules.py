"""Schedules by their spec: ``karras:rho=7``, ``flow:shift=3``, ``my_project.cosine``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from torch import Tensor

from bench import plugins
from bench.config import ConfigError, EvaluationConfig
from models.schedules.contract import Schedule

# Schedules of this repository, and the settings of the evaluation that are their options
OWN_OPTIONS = {"karras": ("rho", "rhos"), "flow": ("shift", "shifts")}


# Settings ask for their schedule at every chunk; schedules are frozen, so one of each will do.
@lru_cache
def parse(text: str) -> Schedule:
    """Build the schedule of a spec.

    Raises:
        ValueError: an unknown schedule or option, with the near matches, or a bad value.

    """
    return plugins.build("schedule", text, ("models.schedules",), Schedule)


def canonical(text: str) -> str:
    """Spell the spec as it stands in the results, with all options; raises as ``parse``."""
    return parse(text).spec


def with_natural(evaluation: EvaluationConfig, natural: str) -> EvaluationConfig:
    """The evaluation with the natural schedule of its objective, if none is given."""
    given = evaluation.schedule or (natural,)
    # Karras' own is left out, as in runs of before.
    return replace(evaluation, schedule=() if given == (natural,) == ("karras",) else given)


def check_schedules(evaluation: EvaluationConfig) -> None:
    """Refuse unknown schedules, and those whose times coincide, rather than after the training.

    Raises:
        ConfigError: naming the option.

    """
    for name in evaluation.schedules:
        try:
            spelled = canonical(name)
        except ValueError as error:
            raise ConfigError(f"--schedule: {error}") from None
        family, _, options = name.partition(":")
        if family in OWN_OPTIONS and options:
            fixed, searched = OWN_OPTIONS[family]
            raise ConfigError(f"--schedule {name}: take {family} with --{fixed} and --{searched}")
        # One spelling in the results.
        if family not in OWN_OPTIONS and spelled != name:
            raise ConfigError(f"--schedule {name}: spell it {spelled}")
    # The finest schedule has the closest times, and the reference is finer than all others.
    steps = evaluation.reference_steps
    for spec in dict.fromkeys((evaluation.fixed_schedule, *evaluation.searched_schedules)):
        try:
            schedule = parse(spec)
            top = math.inf if schedule.coordinates == "flow" else evaluation.sigma_max
            _check_times(schedule.times(steps, evaluation.sigma_min, top), spec, steps)
        except ValueError as error:
            raise ConfigError(f"{_option_of(spec, evaluation)}: {error}") from None


def refuse_unused(
    given: EvaluationConfig, usual: EvaluationConfig, evaluations: Iterable[EvaluationConfig]
) -> None:
    """Refuse values of --rho, --rhos, --shift and --shifts that no run would use.

    Args:
        given: settings of the command line.
        usual: those of a command line without options.
        evaluations: checked settings of all runs.

    Raises:
        ConfigError: naming the option.

    """
    taken = set(chain.from_iterable(evaluation.schedules for evaluation in evaluations))
    for schedule, options in OWN_OPTIONS.items():
        for option in options:
            value = getattr(given, option)
            # Without values, or with only the fixed one, it skips the search along any schedule.
            no_search = ((), (getattr(given, options[0]),))
            known = (*no_search, getattr(usual, option), getattr(EvaluationConfig, option))
            if schedule not in taken and value not in known:
                raise ConfigError(
                    f"--{option}: no run samples along the schedule {schedule}; leave it out, or"
                    f" name the schedule: --schedule {' '.join([*sorted(taken), schedule])}"
                )


def _check_times(times: Tensor, spec: str, steps: int) -> None:
    """Refuse times of a user's schedule that no sampler could step along.

    Raises:
        ValueError: another number of them, or they do not fall.

    """
    if times.shape != (steps + 1,):
        raise ValueError(
            f"{spec}: {steps} steps have {steps + 1} times, not a tensor {list(times.shape)}"
        )
    if not (times.diff() < 0).all():
        raise ValueError(f"{spec}: the times of {steps} steps must decrease strictly")


def _option_of(spec: str, evaluation: EvaluationConfig) -> str:
    """The option of the command line that a schedule comes from."""
    option = {"karras": "--rho", "flow": "--shift"}.get(spec.partition(":")[0])
    if option is None:
        return "--schedule"
    is_fixed = spec == evaluation.fixed_schedule
    return option if is_fixed else f"{option}s"

"""Samplers by their spec: ``heun``, ``dopri5:tolerance=1e-5``, ``my_project.ralston``."""

from __future__ import annotations

from functools import lru_cache

from bench import plugins
from bench.config import ConfigError, EvaluationConfig
from bench.sampling import schedules
from couplings.spec import format_spec
from models.samplers.contract import Sampler


# Settings ask for their sampler at every chunk; samplers are frozen, so one of each will do.
@lru_cache
def parse(text: str) -> Sampler:
    """Build the sampler of a spec.

    Raises:
        ValueError: an unknown sampler or option, with the near matches, or a bad value.

    """
    return plugins.build("sampler", text, ("models.samplers",), Sampler)


def canonical(text: str) -> str:
    """Spell the spec as it stands in the results; raises as ``parse``."""
    return format_spec(parse(text))


def check_sampler(sampler: str, evaluation: EvaluationConfig) -> str:
    """The spec of a sampler as it stands in the results, if it can take the evaluations asked for.

    Raises:
        ConfigError: naming the option.

    """
    try:
        solver = parse(sampler)
    except ValueError as error:
        raise ConfigError(f"--samplers {sampler}: {error}") from None
    fixed = schedules.parse(evaluation.fixed_schedule)
    if fixed.coordinates not in solver.coordinates:
        raise ConfigError(
            f"--samplers {solver.name} needs times of {' or '.join(solver.coordinates)}, which"
            f" {evaluation.fixed_schedule} does not have: add --schedule karras, or leave it out"
        )
    # An adaptive sampler ignores these numbers.
    if solver.fixed_steps:
        for nfe in evaluation.nfe:
            _check_steps(solver, evaluation, "--nfe", nfe)
        for nfe in evaluation.start_nfe if evaluation.start else ():
            _check_steps(solver, evaluation, "--start-nfe", nfe)
    return canonical(sampler)


def _check_steps(solver: Sampler, evaluation: EvaluationConfig, option: str, nfe: int) -> None:
    """Refuse a number of evaluations that a sampler cannot take, or that makes no schedule."""
    where = f"{option} {nfe} with --samplers {solver.name}"
    try:
        steps = solver.steps(nfe)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    fixed = schedules.parse(evaluation.fixed_schedule)
    # Karras' schedule has both ends, sigma_max and sigma_min, before its 0.
    if steps < 2 and fixed.name == "karras":
        raise ConfigError(f"{where}: the schedule needs 2 steps or more")

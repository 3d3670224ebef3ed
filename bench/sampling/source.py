"""Checks of ``--source``: what needs Gaussian noise cannot have noise samples of a data set."""

from __future__ import annotations

from bench import data
from bench.config import ConfigError, RunConfig
from bench.sampling.samplers import parse
from couplings import get

# One way out is the same for all of them.
_LEAVE_OUT = "leave it or --source out"


def check_source(config: RunConfig) -> None:
    """Refuse a source together with anything whose formulas assume Gaussian noise.

    Args:
        config: of the run, with known samplers and a known coupling.

    Raises:
        ConfigError: naming the option and the way out.

    """
    try:
        data.check_source(config.source)
    except data.DataError as error:
        raise ConfigError(f"--source: {error}") from error.__cause__
    if config.source == data.GAUSSIAN:
        return
    for option, reason in _refusals(config).items():
        raise ConfigError(f"--source {config.source} with {option}: {reason}; {_LEAVE_OUT}")


def _refusals(config: RunConfig) -> dict[str, str]:
    """Options of a run that need Gaussian noise, and why."""
    found = {}
    if config.checkpoint:
        found["--from-checkpoint"] = "its network was trained on Gaussian noise"
    elif get(config.coupling).kind == "dataset":
        found[f"--coupling {config.coupling}"] = (
            "a coupling of the training set draws Gaussian noise of its own (a coupling of a pool,"
            " such as lapjv, takes any source)"
        )
    elif get(config.coupling).jitter:
        found[f"--coupling {config.coupling}"] = "its jitter is Gaussian noise"
    if config.guidance.kind != "none":
        found[f"--guidance {config.guidance.kind}"] = (
            "its correction is a score under Gaussian noise"
        )
    if config.evaluation.start:
        found[f"--start {config.evaluation.start[0]}"] = "its points are images with Gaussian noise"
    for sampler in config.evaluation.samplers:
        # A stochastic sampler adds Gaussian noise on its way.
        if not parse(sampler).solves_the_ode:
            found[f"--samplers {sampler}"] = "it draws Gaussian noise on its way"
    return found

"""Laws of training noise: the distributions that noise levels are drawn from in training.

With t = sigma / (1 + sigma), the time of flow matching, ln sigma = logit t. A normal ln sigma with
mean ``P_mean`` and deviation ``P_std`` (Karras et al. 2022, Table 1) is therefore a logit-normal t
with that location and scale (Esser et al. 2024, Eq. 19). A uniform t is the logistic law of
ln sigma, of mean 0 and deviation pi / sqrt(3) = 1.81.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.config import ConfigError, RunConfig, TrainingConfig

UNIFORM = "uniform"
# Options by which an objective shows which laws it knows
NORMAL = ("P_mean", "P_std")
OF_TIME = ("t", "loc", "scale")


@dataclass(frozen=True)
class NoiseLaw:
    """A normal law of ln sigma or, without numbers, the uniform law of t.

    Attributes:
        P_mean: mean of ln sigma, which is the location of a logit-normal t.
        P_std: its standard deviation, which is the scale of a logit-normal t.

    """

    P_mean: float | None = None
    P_std: float | None = None

    @property
    def name(self) -> str:
        """As on the command line: ``-1.2,1.2`` or ``uniform``."""
        if self.P_mean is None or self.P_std is None:
            return UNIFORM
        return f"{self.P_mean:g},{self.P_std:g}"


# Locations from EDM's to one at high noise, each with a width that still reaches the low levels.
# 0,1 and 0,2 differ in width only.
DEFAULT = (
    NoiseLaw(-1.2, 1.2),
    NoiseLaw(-0.4, 1.6),
    NoiseLaw(0.0, 1.0),
    NoiseLaw(0.0, 2.0),
    NoiseLaw(0.8, 1.6),
)


def parse(text: str) -> NoiseLaw:
    """Read a law, ``MEAN,DEVIATION`` of ln sigma or ``uniform``.

    Raises:
        ConfigError: it is neither, or the deviation is not above 0.

    """
    if text == UNIFORM:
        return NoiseLaw()
    try:
        mean, deviation = map(float, text.split(","))
    except ValueError:
        raise ConfigError(
            f"--noise-laws {text!r}: give mean and deviation of ln sigma, such as -1.2,1.2, or"
            f" {UNIFORM}"
        ) from None
    if not math.isfinite(mean) or not 0 < deviation < math.inf:
        raise ConfigError(f"--noise-laws {text}: finite numbers, and the deviation above 0")
    return NoiseLaw(mean, deviation)


def law_of(config: RunConfig) -> NoiseLaw:
    """The law that a configuration trains with.

    Raises:
        ConfigError: its objective has no options for a law.

    """
    objective = _objective(config.training, shared=True)
    if _has(objective, NORMAL):
        return NoiseLaw(objective.P_mean, objective.P_std)
    _refuse_without_law(objective)
    if objective.t == UNIFORM:
        return NoiseLaw()
    return NoiseLaw(objective.loc, objective.scale)


def with_law(config: RunConfig, law: NoiseLaw) -> RunConfig:
    """The configuration with another law, unchecked.

    Raises:
        ConfigError: its objective does not know this law.

    """
    objective = _objective(config.training, shared=False)
    if not knows(config, law):
        raise ConfigError(f"--noise-laws {law.name}: {objective.name} draws a normal ln sigma")
    if _has(objective, NORMAL):
        training = replace(config.training, P_mean=law.P_mean, P_std=law.P_std)
    else:
        changed = _with_time(objective, law)
        training = replace(config.training, objective=_spec(changed))
    return replace(config, training=training)


def knows(config: RunConfig, law: NoiseLaw) -> bool:
    """True if the objective of a configuration can draw its levels by this law.

    Raises:
        ConfigError: the objective has no options for any law.

    """
    objective = _objective(config.training, shared=False)
    if _has(objective, NORMAL):
        return law.P_mean is not None
    _refuse_without_law(objective)
    return True


def default_laws(config: RunConfig) -> tuple[NoiseLaw, ...]:
    """The laws to try by default, the same noise levels for every objective.

    An objective that knows the uniform t has it in the place of 0,2, which is almost the same law.
    """
    if not knows(config, NoiseLaw()):
        return DEFAULT
    wide = NoiseLaw(0.0, 2.0)
    return tuple(NoiseLaw() if law == wide else law for law in DEFAULT)


def without_law(config: RunConfig) -> str:
    """The spec of a configuration's objective with its default law."""
    objective = _objective(config.training, shared=False)
    return _spec(replace(objective, **_defaults(objective)))


def _with_time(objective: Any, law: NoiseLaw) -> Any:
    """The objective with another law of t."""
    # Location and scale mean nothing for the uniform law, so they go back to their defaults.
    options = _defaults(objective) | {"t": UNIFORM}
    if law.P_mean is not None:
        options = {"t": "logit-normal", "loc": law.P_mean, "scale": law.P_std}
    return replace(objective, **options)


def _defaults(objective: Any) -> dict[str, Any]:
    """Defaults of the options of a law of t, if the objective has them."""
    return {field.name: field.default for field in fields(objective) if field.name in OF_TIME}


def _objective(training: TrainingConfig, shared: bool) -> Any:
    # Imported here: the command line reads this file, and needs no torch.
    from bench.training.network import find_objective, stated_objective

    try:
        return find_objective(training) if shared else stated_objective(training)
    except ValueError as error:
        raise ConfigError(f"--objective: {error}") from None


def _has(objective: Any, names: tuple[str, ...]) -> bool:
    return {field.name for field in fields(objective)} >= set(names)


def _refuse_without_law(objective: Any) -> None:
    if not _has(objective, OF_TIME):
        raise ConfigError(
            f"--search-noise: {objective.name} has neither {' and '.join(NORMAL)} nor"
            f" {', '.join(OF_TIME)}, by which its noise could be changed"
        )


def _spec(objective: Any) -> str:
    from couplings.spec import format_spec

    return format_spec(objective)

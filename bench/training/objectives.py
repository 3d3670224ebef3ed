"""One training under several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from bench import plugins
from bench.config import ConfigError, TrainingConfig
from bench.training.network import SHARED
from models.objectives.contract import Objective


def for_objectives(
    training: TrainingConfig, specs: Sequence[str], preset: TrainingConfig
) -> list[TrainingConfig]:
    """Build the training under each objective, unchecked.

    An option such as ``--P-mean`` that an objective does not have goes back to its default if
    another objective has it, or if it is the preset's: it was not meant for this one. Any other is
    left for ``bench.check`` to refuse.

    Args:
        training: with all options of the command line.
        specs: of the objectives.
        preset: the training of the preset.

    Raises:
        ConfigError: an unknown objective or option, with the near matches, or a bad value.

    """
    known = {spec: _options(spec) for spec in specs}
    of_any = set().union(*known.values())
    trainings = []
    for spec in specs:
        changes: dict[str, Any] = {"objective": spec}
        for name in SHARED:
            of_preset = getattr(training, name) == getattr(preset, name)
            if name not in known[spec] and (name in of_any or of_preset):
                changes[name] = getattr(TrainingConfig, name)
        trainings.append(replace(training, **changes))
    return trainings


def _options(spec: str) -> set[str]:
    """Names of the options that an objective has."""
    try:
        objective: Any = plugins.build("objective", spec, ("models.objectives",), Objective)
    except ValueError as error:
        raise ConfigError(f"--objective: {error}") from None
    return {field.name for field in fields(objective)}

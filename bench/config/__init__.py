"""The configuration of a run: dataclasses in ``schema`` and ``guidance``; ``read`` fills them.

Other packages import from here, so that a move inside does not concern them.
"""

from bench.config.errors import ConfigError
from bench.config.guidance import GuidanceConfig
from bench.config.read import from_dict, load_preset, presets, refuse_other_preset
from bench.config.schema import (
    DEFAULT_GROUPS,
    SAME_FOR_ALL_ROWS,
    ClassLaw,
    EvaluationConfig,
    Execution,
    NetworkConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "SAME_FOR_ALL_ROWS",
    "ClassLaw",
    "ConfigError",
    "EvaluationConfig",
    "Execution",
    "GuidanceConfig",
    "DEFAULT_GROUPS",
    "NetworkConfig",
    "RunConfig",
    "TrainingConfig",
    "from_dict",
    "load_preset",
    "presets",
    "refuse_other_preset",
]

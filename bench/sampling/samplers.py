"""Samplers by their spec: ``heun``, ``dopri5:tolerance=1e-5``, ``my_project.midpoint``."""

from __future__ import annotations

from functools import lru_cache

from bench import plugins
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

"""Runs of a sweep, and their checked configurations."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from bench.config import ConfigError, GuidanceConfig, RunConfig, load_preset
from slurm.resources import Resources, SweepError

Options = dict[str, Any]  # of one run, by their names in bench.config, and "preset"


@dataclass(frozen=True)
class Entry:
    """One run of a sweep.

    Attributes:
        run_id: the name of its folder.
        variant: the options that differ in the sweep except the seed, ``coupling=lapjv pool=256``.
        config: checked.
        resources: what it may use.

    """

    run_id: str
    variant: str
    config: RunConfig
    resources: Resources

    @property
    def label(self) -> str:
        """The variant and the seed."""
        return f"{self.variant} seed={self.config.seed}".strip()


def build(options: list[Options], variants: list[str]) -> list[RunConfig]:
    """Build the checked configuration of each run.

    Args:
        options: of each run.
        variants: their names, for messages.

    Raises:
        SweepError: an option is unknown or out of range; the message names the variant.

    """
    checks = _Checks()
    configs = []
    for run, variant in zip(options, variants, strict=True):
        try:
            configs.append(checks.config(run))
        except ConfigError as error:
            raise SweepError(f"{variant}: {error}" if variant else str(error)) from None
    return configs


class _Checks:
    """Checks of options, each combination once.

    A check takes milliseconds, and a sweep may have ten thousand runs. All options but coupling
    and seed are checked once for each combination of them. A coupling is checked once for each
    guidance, for runs with labels and for runs without.
    """

    def __init__(self) -> None:
        # With the coupling that the preset names, for runs that name none.
        self._rest: dict[str, tuple[RunConfig, str]] = {}
        self._couplings: dict[tuple[str, bool, GuidanceConfig], str] = {}

    def config(self, run: Options) -> RunConfig:
        """Return the checked configuration of one run."""
        seed = run.get("seed", 0)
        # Not isinstance: ``seed = true`` is an int to Python.
        if type(seed) is not int or seed < 0:
            raise SweepError(f"seed must be a whole number, 0 or more, not {seed!r}")
        config, of_preset = self._without_coupling(run)
        coupling = self._coupling(run, run.get("coupling", of_preset), config)
        return replace(config, coupling=coupling, seed=seed)

    def _without_coupling(self, run: Options) -> tuple[RunConfig, str]:
        # Loads torch, which reading a sweep file or showing its status does not need.
        from bench.check import make

        preset = run.get("preset")
        rest = _without(run, "coupling", "seed", "preset")
        # default=str: TOML has dates, which are refused by the check and not by json.
        key = json.dumps([preset, rest], sort_keys=True, default=str)
        if key not in self._rest:
            of_preset = load_preset(preset, str(rest.get("data", RunConfig.data))).coupling
            # Random pairing fits every pool, so an error here is not the coupling's.
            self._rest[key] = make(preset, {**rest, "coupling": "random"}), of_preset
        return self._rest[key]

    def _coupling(self, run: Options, spec: object, config: RunConfig) -> str:
        """Return the canonical spelling of a coupling."""
        from bench.check import make

        # By repr, as a wrong value may be a list.
        key = (repr(spec), config.training.conditional, config.guidance)
        if key not in self._couplings:
            rest = _without(run, "seed", "preset")
            checked = make(run.get("preset"), {**rest, "coupling": spec})
            self._couplings[key] = checked.coupling
        return self._couplings[key]


def _without(run: Options, *keys: str) -> Options:
    return {key: value for key, value in run.items() if key not in keys}

"""A sweep: which runs to make, and what each may use of the cluster.

::

    name = "digits"

    [base]                          # options of bench.run, the same for every run
    data = "digits"

    [grid]                          # lists: every combination is a run
    coupling = ["random", "lapjv"]
    seed = [0, 1, 2]

    [resources]                     # of one run
    minutes = 30
    cpus = 2
"""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config import RunConfig

SIGNAL_DELAY_S = 90  # SLURM warns a run this long before its time is up
MAX_ARRAY_SIZE = 1000  # SLURM's MaxArraySize is 1001 unless the cluster says otherwise

_START_S = 60  # SLURM may send the warning up to a minute early
_WORK_S = 60  # the least a run must have for itself
_OWN_SBATCH_KEYS = {
    "time": "minutes",
    "cpus-per-task": "cpus",
    "gpus-per-node": "gpus",
    "mem": "memory_gb",
    "partition": "partition",
    "account": "account",
    "job-name": "name",
    "array": "--max-parallel",
}


class SweepError(ValueError):
    """The sweep file is wrong; the message is one line and names the way out."""


@dataclass(frozen=True)
class Resources:
    """What one run may use. ``minutes`` is its wall-clock limit, after which it is resubmitted and goes on.

    ``extra`` holds further sbatch options as they are: ``{qos = "low", constraint = "a100"}``.
    """

    minutes: int = 60
    cpus: int = 2
    gpus: int = 0
    memory_gb: int = 8
    partition: str | None = None
    account: str | None = None
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """The runs of a study: ``base`` with every combination of the lists in ``grid``."""

    name: str
    base: dict[str, object]
    grid: dict[str, list[object]]
    resources: Resources

    def expand(self) -> list[dict[str, object]]:
        """The options of each run; the last list of the grid varies fastest."""
        points = itertools.product(*self.grid.values())
        return [{**self.base, **dict(zip(self.grid, point, strict=True))} for point in points]


def read(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SweepError: it cannot be read, or has an unknown key or a value out of range.

    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SweepError(f"{path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"{path} is no TOML: {error}") from error
    return parse(content)


def parse(content: dict[str, object]) -> Sweep:
    """Build a sweep from the tables of its file.

    Raises:
        SweepError: an unknown key or a value out of range.

    """
    _refuse_unknown(content, [f.name for f in fields(Sweep)], "the sweep")
    tables = {key: content.get(key, {}) for key in ("base", "grid", "resources")}
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise SweepError(f"{key} must be a table: write [{key}] above its keys")
    base, grid, resources = tables.values()
    name = content.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise SweepError(f"name must be one word of letters, digits, '.', '_' and '-', not {name!r}")
    base = _flatten(base)
    grid = _check_grid(_flatten(grid), base)
    return Sweep(name, base, grid, _check_resources(resources))


def configs(sweep: Sweep) -> list[RunConfig]:
    """The checked configuration of each run, in order.

    Raises:
        SweepError: two runs are the same, or more runs than a job array holds.
        bench.config.ConfigError: an option is unknown or out of range.

    """
    from bench.config import make

    options = sweep.expand()
    if len(options) > MAX_ARRAY_SIZE:
        raise SweepError(f"{len(options)} runs, but a job array holds {MAX_ARRAY_SIZE}: split the grid")
    runs = [make(run.get("preset"), {k: v for k, v in run.items() if k != "preset"}) for run in options]
    for index, run in enumerate(runs):
        if run in runs[:index]:
            raise SweepError(f"the grid names the same run twice: {describe(sweep, options[index])}")
    return runs


def describe(sweep: Sweep, options: dict[str, object]) -> str:
    """What sets this run apart in the sweep: ``coupling=lapjv seed=1``."""
    return " ".join(f"{key}={options[key]}" for key in sweep.grid) or sweep.name


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted keys for nested tables: TOML reads ``training.pool = 512`` as a table in a table."""
    flat = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _check_grid(grid: dict[str, object], base: dict[str, object]) -> dict[str, list[object]]:
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise SweepError(f"grid.{key} must be a list of values; a single value belongs in [base]")
        if key in base:
            raise SweepError(f"{key} is in both [base] and [grid]: keep one")
    return grid


def _check_resources(table: dict[str, object]) -> Resources:
    _refuse_unknown(table, [f.name for f in fields(Resources)], "[resources]")
    for key, least in {"minutes": 1, "cpus": 1, "gpus": 0, "memory_gb": 1}.items():
        value = table.get(key, least)
        if type(value) is not int or value < least:  # a bool is an int
            raise SweepError(f"resources.{key} must be a whole number, {least} or more, not {value!r}")
    for key in ("partition", "account"):
        if not isinstance(table.get(key, ""), str):
            raise SweepError(f"resources.{key} must be a text, not {table[key]!r}")
    extra = table.get("extra", {})
    if not isinstance(extra, dict):
        raise SweepError('resources.extra must be a table, such as {qos = "low"}')
    for key in extra:
        if own := _OWN_SBATCH_KEYS.get(key.replace("_", "-")):
            raise SweepError(f"resources.extra.{key}: set it with {own}")
    resources = Resources(**table)
    if resources.gpus > 1:
        raise SweepError(f"resources.gpus is {resources.gpus}, but a run uses one GPU at most")
    least_s = SIGNAL_DELAY_S + _START_S + _WORK_S
    if resources.minutes * 60 <= least_s:
        raise SweepError(f"resources.minutes must be {least_s // 60 + 1} or more: SLURM warns a run that early")
    return resources


def _refuse_unknown(table: dict[str, object], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SweepError(f"unknown key {key!r} in {where}.{hint} Known: {', '.join(known)}")

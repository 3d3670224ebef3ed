"""A sweep: which runs to make, and what each may use of the cluster.

::

    name = "digits"

    [base]                          # options of bench.run, the same for every run; preset = "..."
    among them data = "digits"

    [grid]                          # lists: every combination is a run
    coupling = ["random", "lapjv"]
    seed = [0, 1, 2]

    [[zip]]                         # lists of one length, walked together; every combination with
    [grid] pool = [256, 1024] batch = [64, 128]

    [[exclude]]                     # runs to leave out: a value, a pattern or a list of them for
    each option coupling = "lapjv*" pool = 1024

    [resources]                     # of one run
    minutes = 30
    cpus = 2

    [[override]]                    # other resources for the runs that match; later ones win
    match = {pool = 1024}
    minutes = 60
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from slurm.resources import Resources, SweepError, check_resources, refuse_unknown

if TYPE_CHECKING:
    from bench.config import GuidanceConfig, RunConfig

Options = dict[str, object]  # of one run, by their names in bench.config; and "preset"
Pattern = dict[str, list[object]]  # for each option the values, or patterns of texts, that match

_TABLES = ("base", "grid", "resources")
_LISTS = ("zip", "exclude", "override")


@dataclass(frozen=True)
class Entry:
    """One run of a sweep.

    Attributes:
        run_id: the name of its folder.
        arm: what sets its arm apart in the sweep, ``coupling=lapjv pool=256``: all but the seed.
        config: checked.
        resources: what it may use.

    """

    run_id: str
    arm: str
    config: RunConfig
    resources: Resources

    @property
    def label(self) -> str:
        """The arm and the seed."""
        return f"{self.arm} seed={self.config.seed}".strip()


@dataclass(frozen=True)
class Sweep:
    """The runs of a study, checked but for the values of their options."""

    name: str
    base: Options
    grid: dict[str, list[object]]
    zip: tuple[dict[str, list[object]], ...]
    exclude: tuple[Pattern, ...]
    resources: Resources
    override: tuple[tuple[Pattern, dict[str, object]], ...]

    @property
    def varied(self) -> list[str]:
        """The options that differ between runs."""
        return [*self.grid, *(key for group in self.zip for key in group)]

    def expand(self) -> list[Options]:
        """The options of each run; the last list varies fastest, zipped ones after the grid's.

        Raises:
            SweepError: an exclusion matches no run, or nothing is left.

        """
        axes = [[{key: value} for value in values] for key, values in self.grid.items()]
        axes += [[dict(zip(group, point, strict=True)) for point in zip(*group.values(), strict=True)]
                 for group in self.zip]  # fmt: skip
        runs = [
            {**self.base, **{k: v for part in point for k, v in part.items()}}
            for point in itertools.product(*axes)
        ]
        for pattern in self.exclude:
            if not any(matches(pattern, run) for run in runs):
                raise SweepError(f"an [[exclude]] matches no run: {_spell(pattern)}")
        kept = [run for run in runs if not any(matches(pattern, run) for pattern in self.exclude)]
        if not kept:
            raise SweepError("[[exclude]] leaves no run")
        return kept

    def entries(self) -> list[Entry]:
        """Every run, checked.

        Raises: SweepError: an option is unknown or out of range, two runs are the same, or a
            pattern matches none.

        """
        options = self.expand()
        arms = [
            " ".join(f"{key}={run[key]}" for key in self.varied if key != "seed") for run in options
        ]
        configs = build(options, arms)
        entries = [
            Entry(config.run_id, arm, config, use)
            for config, arm, use in zip(configs, arms, self._resources_of(options), strict=True)
        ]
        seen: dict[str, Entry] = {}
        for entry in entries:
            if entry.run_id in seen:
                twin = seen[entry.run_id].label
                raise SweepError(
                    f"the sweep names the same run twice: {entry.label or self.name} (as {twin});"
                    " what only its measurements differ in, such as start and guidance, belongs in"
                    " [base], as one list"
                )
            seen[entry.run_id] = entry
        return entries

    def _resources_of(self, options: list[Options]) -> list[Resources]:
        used = [self.resources] * len(options)
        for pattern, changes in self.override:
            hits = [index for index, run in enumerate(options) if matches(pattern, run)]
            if not hits:
                raise SweepError(f"an [[override]] matches no run: {_spell(pattern)}")
            for index in hits:
                used[index] = replace(used[index], **changes)
        checked: dict[str, Resources] = {}
        for use in used:
            key = repr(use)
            if key not in checked:
                checked[key] = check_resources(
                    {k: v for k, v in asdict(use).items() if v is not None}
                )
        return [checked[repr(use)] for use in used]


def matches(pattern: Pattern, run: Options) -> bool:
    """Whether every option of the pattern has one of its values; texts may be shell patterns."""

    def fits(value: object, wanted: object) -> bool:
        if isinstance(value, str) and isinstance(wanted, str):
            return fnmatchcase(value, wanted)
        return value == wanted

    return all(
        key in run and any(fits(run[key], wanted) for wanted in values)
        for key, values in pattern.items()
    )


def build(options: list[Options], arms: list[str]) -> list[RunConfig]:
    """The checked configuration of each run.

    Checks cost milliseconds, and a sweep may have ten thousand runs: what is neither coupling nor
    seed is checked once for each distinct combination, a coupling once for each guidance, for runs
    with labels and for those without.

    Raises:
        SweepError: an option is unknown or out of range; the message names the arm.

    """
    from bench.check import make
    from bench.config import ConfigError, RunConfig, load_preset

    parts: dict[str, tuple[RunConfig, str]] = {}  # and the preset's own coupling
    specs: dict[tuple[str, bool, GuidanceConfig], str] = {}
    built = []
    for run, arm in zip(options, arms, strict=True):
        rest = {
            key: value for key, value in run.items() if key not in ("coupling", "seed", "preset")
        }
        part, preset = (
            json.dumps([run.get("preset"), rest], sort_keys=True, default=str),
            run.get("preset"),
        )
        seed = run.get("seed", 0)
        if type(seed) is not int or seed < 0:
            raise SweepError(f"seed must be a whole number, 0 or more, not {seed!r}")
        try:
            if part not in parts:
                own = load_preset(preset, str(rest.get("data", RunConfig.data))).coupling
                parts[part] = make(preset, {**rest, "coupling": "random"}), own
            config, own = parts[part]
            spec = run.get("coupling", own)
            key = (repr(spec), config.training.conditional, config.guidance)
            if key not in specs:
                specs[key] = make(preset, {**rest, "coupling": spec}).coupling
        except ConfigError as error:
            raise SweepError(f"{arm}: {error}" if arm else str(error)) from None
        built.append(replace(config, coupling=specs[key], seed=seed))
    return built


def read(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SweepError: it cannot be read, or has an unknown key or a value out of range.

    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
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
    refuse_unknown(content, [f.name for f in fields(Sweep)], "the sweep")
    name = content.get("name")
    # A folder's and a job's name.
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise SweepError(
            f"name must be one word of letters, digits, '.', '_' and '-', not {name!r}"
        )
    for key in _TABLES:
        if not isinstance(content.get(key, {}), dict):
            raise SweepError(f"{key} must be a table: write [{key}] above its keys")
    for key in _LISTS:
        tables = content.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise SweepError(
                f"{key} must be a list of tables: write [[{key}]] above the keys of each"
            )
    base = _flatten(content.get("base", {}))
    grid = _flatten(content.get("grid", {}))
    groups = tuple(_flatten(group) for group in content.get("zip", []))
    _check_axes(base, grid, groups)
    known = [*base, *grid, *(key for group in groups for key in group)]
    resources = check_resources(content.get("resources", {}))
    exclude = tuple(_pattern(table, known, "[[exclude]]") for table in content.get("exclude", []))
    override = tuple(_check_override(table, known) for table in content.get("override", []))
    return Sweep(name, base, grid, groups, exclude, resources, override)


def _flatten(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted keys for nested tables: TOML reads ``training.pool = 512`` as a table in a table."""
    flat = {}
    for key, value in table.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _check_axes(
    base: Options, grid: dict[str, object], groups: tuple[dict[str, object], ...]
) -> None:
    homes = dict.fromkeys(base, "[base]")
    for where, table in [("[grid]", grid), *(("[[zip]]", group) for group in groups)]:
        for key, values in table.items():
            if not isinstance(values, list) or not values:
                raise SweepError(
                    f"{where.strip('[]')}.{key} must be a list of values; a single value belongs in"
                    " [base]"
                )
            if key in homes:
                raise SweepError(f"{key} is in both {homes[key]} and {where}: keep one")
            homes[key] = where
    for group in groups:
        lengths = {key: len(values) for key, values in group.items()}
        if len(set(lengths.values())) != 1:
            counts = (
                ", ".join(f"{key} has {length}" for key, length in lengths.items()) or "it is empty"
            )
            raise SweepError(
                f"the lists of a [[zip]] are walked together and must be equally long: {counts}"
            )


def _pattern(table: dict[str, object], known: list[str], where: str) -> Pattern:
    flat = _flatten(table)
    refuse_unknown(flat, known, where)
    if not flat:
        raise SweepError(f"an empty pattern in {where} would match every run: name an option")
    return {key: value if isinstance(value, list) else [value] for key, value in flat.items()}


def _check_override(
    table: dict[str, object], known: list[str]
) -> tuple[Pattern, dict[str, object]]:
    match, changes = (
        table.get("match"),
        {key: value for key, value in table.items() if key != "match"},
    )
    if not isinstance(match, dict):
        raise SweepError('an [[override]] needs a match, such as match = {coupling = "lapjv"}')
    check_resources(changes, "override")
    return _pattern(match, known, "[[override]] match"), changes


def _spell(pattern: Pattern) -> str:
    return ", ".join(f"{key} = {' or '.join(map(str, values))}" for key, values in pattern.items())

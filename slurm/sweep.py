"""A sweep: the runs of a study, and the resources of each on a cluster.

::

    name = "digits"

    [base]              # options of bench.run, the same for every run; "preset" is one of them
    data = "digits"

    [grid]              # lists: every combination is a run
    coupling = ["random", "lapjv"]
    seed = [0, 1, 2]

    [[zip]]             # lists of one length, walked together; combined with all of [grid]
    pool = [256, 1024]
    batch = [64, 128]

    [[exclude]]         # runs to leave out: for each option a value, a pattern or a list of them
    coupling = "lapjv*"
    pool = 1024

    [resources]         # of one run
    minutes = 30
    cpus = 2
    gpus = 4            # of a node, one process each; nodes = 2 doubles them
    strategy = "fsdp"   # and micro_batch, compile, gradient_checkpointing: as for bench.run

    [[override]]        # other resources for the runs that match; later ones win
    match = {pool = 1024}
    minutes = 60
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.record import flatten
from slurm.entry import Entry, Options, build
from slurm.resources import Resources, SweepError, check_resources, refuse_unknown

Axes = dict[str, list[Any]]  # values of options that differ between runs
Pattern = dict[str, list[Any]]  # for each option the values, or patterns of texts, that match
Override = tuple[Pattern, dict[str, Any]]  # the runs that match, and their other resources

_TABLES = ("base", "grid", "resources")
_LISTS = ("zip", "exclude", "override")


@dataclass(frozen=True)
class Sweep:
    """The runs of a study; the values of their options are not checked yet.

    Attributes:
        name: of the sweep's folder and jobs.
        base: options of every run.
        grid: options of which every combination is a run.
        zip: groups of options that are walked together.
        exclude: runs to leave out.
        resources: of every run.
        override: other resources, in their order.

    """

    name: str
    base: Options
    grid: Axes
    zip: tuple[Axes, ...]
    exclude: tuple[Pattern, ...]
    resources: Resources
    override: tuple[Override, ...]

    @property
    def varied(self) -> list[str]:
        """The options that differ between runs."""
        names = list(self.grid)
        for group in self.zip:
            names += group
        return names

    def expand(self) -> list[Options]:
        """List the options of each run.

        The last list varies fastest; zipped lists come after the grid's.

        Raises:
            SweepError: an exclusion matches no run, or nothing is left.

        """
        runs = []
        for point in itertools.product(*self._axes()):
            run = dict(self.base)
            for options in point:
                run |= options
            runs.append(run)
        for pattern in self.exclude:
            # Most likely misspelt, and hours of runs that nobody wants would follow. All runs are
            # asked, not those that are left: two exclusions may overlap.
            if not any(matches(pattern, run) for run in runs):
                raise SweepError(f"an [[exclude]] matches no run: {_spell(pattern)}")
        included = [run for run in runs if not matches_any(self.exclude, run)]
        if not included:
            raise SweepError("[[exclude]] leaves no run")
        return included

    def _axes(self) -> Iterator[list[Options]]:
        """List the points of each axis; zipped lists are one axis of several options."""
        for key, values in self.grid.items():
            yield [{key: value} for value in values]
        for group in self.zip:
            points = zip(*group.values(), strict=True)
            yield [dict(zip(group, point, strict=True)) for point in points]

    def entries(self) -> list[Entry]:
        """Build every run, checked.

        Raises:
            SweepError: an option is unknown or out of range, two runs are the same, or a pattern
                matches none.

        """
        options = self.expand()
        variants = [self._variant(run) for run in options]
        configs = build(options, variants)
        resources = self._resources_of(options)
        entries: dict[str, Entry] = {}
        for config, variant, use in zip(configs, variants, resources, strict=True):
            _check_execution(use, config.training.batch, variant)
            entry = Entry(config.run_id, variant, config, use)
            # Different spellings of one coupling, or options that only its measurements read.
            if entry.run_id in entries:
                twin = entries[entry.run_id].label
                raise SweepError(
                    f"the sweep names the same run twice: {entry.label or self.name} (as {twin});"
                    " options that only change its measurements, such as start and guidance,"
                    " belong in [base], as one list"
                )
            entries[entry.run_id] = entry
        return list(entries.values())

    def _variant(self, run: Options) -> str:
        return " ".join(f"{key}={run[key]}" for key in self.varied if key != "seed")

    def _resources_of(self, options: list[Options]) -> list[Resources]:
        """Resources of each run, checked once for each class."""
        resources = [self.resources] * len(options)
        for pattern, changes in self.override:
            indices = [index for index, run in enumerate(options) if matches(pattern, run)]
            if not indices:
                raise SweepError(f"an [[override]] matches no run: {_spell(pattern)}")
            for index in indices:
                resources[index] = replace(resources[index], **changes)
        # Together, as two overrides that are fine alone may ask for more processes than GPUs.
        checked: dict[str, Resources] = {}
        for use in resources:
            if repr(use) not in checked:
                table = {key: value for key, value in asdict(use).items() if value is not None}
                checked[repr(use)] = check_resources(table)
        return [checked[repr(use)] for use in resources]


def _check_execution(use: Resources, batch: int, variant: str) -> None:
    """Refuse settings of the execution that do not fit a run: a job would fail hours later."""
    of_run = f"{variant}: " if variant else ""
    if use.strategy == "fsdp" and use.all_processes == 1:
        raise SweepError(
            f"{of_run}resources.strategy fsdp shares a network among processes: set gpus,"
            " processes or nodes to 2 or more, or leave it out"
        )
    if use.micro_batch is not None and use.micro_batch > batch:
        raise SweepError(
            f"{of_run}resources.micro_batch is {use.micro_batch}, the batch {batch}: take fewer"
        )


def matches(pattern: Pattern, run: Options) -> bool:
    """True if every option of the pattern has one of its values; texts may be shell patterns."""
    for key, values in pattern.items():
        if key not in run or not any(_fits(run[key], wanted) for wanted in values):
            return False
    return True


def matches_any(patterns: tuple[Pattern, ...], run: Options) -> bool:
    """True if one of the patterns matches."""
    return any(matches(pattern, run) for pattern in patterns)


def _fits(value: object, wanted: object) -> bool:
    # A coupling without its options: ``lapjv*`` fits ``lapjv:cost=l2`` too.
    if isinstance(value, str) and isinstance(wanted, str):
        return fnmatchcase(value, wanted)
    return value == wanted


def read(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        SweepError: it cannot be read, or has an unknown key or a value out of range.

    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: not a text file") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"{path} is not valid TOML: {error}") from error
    return parse(content)


def parse(content: dict[str, Any]) -> Sweep:
    """Build a sweep from the tables of its file.

    Raises:
        SweepError: an unknown key or a value out of range.

    """
    refuse_unknown(content, [f.name for f in fields(Sweep)], "the sweep")
    name = content.get("name")
    # It becomes a folder and the name of jobs; a dot first would hide the folder.
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise SweepError(
            f"name must be one word of letters, digits, '.', '_' and '-', not {name!r}"
        )
    _check_kinds_of_tables(content)
    # TOML reads ``training.pool = 512`` as a table in a table.
    base: Options = flatten(content.get("base", {}))
    grid: Options = flatten(content.get("grid", {}))
    groups: list[Options] = [flatten(group) for group in content.get("zip", [])]
    _check_axes(base, grid, groups)
    options = [*base, *grid]
    for group in groups:
        options += group
    return Sweep(
        name=name,
        base=base,
        grid=grid,
        zip=tuple(groups),
        exclude=tuple(_pattern(t, options, "[[exclude]]") for t in content.get("exclude", [])),
        resources=check_resources(content.get("resources", {})),
        override=tuple(_override(table, options) for table in content.get("override", [])),
    )


def _check_kinds_of_tables(content: dict[str, Any]) -> None:
    for key in _TABLES:
        if not isinstance(content.get(key, {}), dict):
            raise SweepError(f"{key} must be a table: write [{key}] above its keys")
    for key in _LISTS:
        tables = content.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise SweepError(
                f"{key} must be a list of tables: write [[{key}]] above the keys of each"
            )


def _check_axes(base: Options, grid: Options, groups: list[Options]) -> None:
    homes = dict.fromkeys(base, "[base]")
    axes = [("[grid]", grid)]
    axes += [("[[zip]]", group) for group in groups]
    for where, table in axes:
        for key, values in table.items():
            if not isinstance(values, list) or not values:
                raise SweepError(
                    f"{where.strip('[]')}.{key} must be a list of values; a single value belongs in"
                    " [base]"
                )
            # The later of two homes would silently win.
            if key in homes:
                raise SweepError(f"{key} is in both {homes[key]} and {where}: keep one")
            homes[key] = where
    for group in groups:
        lengths = {key: len(values) for key, values in group.items()}
        # Also refuses an empty group, which would multiply the grid by nothing.
        if len(set(lengths.values())) != 1:
            counts = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise SweepError(
                "the lists of a [[zip]] are walked together and must be equally long:"
                f" {counts or 'it is empty'}"
            )


def _pattern(table: dict[str, Any], options: list[str], where: str) -> Pattern:
    flat = flatten(table)
    refuse_unknown(flat, options, where)
    if not flat:
        raise SweepError(f"an empty pattern in {where} would match every run: name an option")
    return {key: value if isinstance(value, list) else [value] for key, value in flat.items()}


def _override(table: dict[str, Any], options: list[str]) -> Override:
    match = table.get("match")
    if not isinstance(match, dict):
        raise SweepError('an [[override]] needs a match, such as match = {coupling = "lapjv"}')
    changes = {key: value for key, value in table.items() if key != "match"}
    # For the message: after they are merged it could not name the table.
    check_resources(changes, "override")
    return _pattern(match, options, "[[override]] match"), changes


def _spell(pattern: Pattern) -> str:
    parts = [f"{key} = {' or '.join(map(str, values))}" for key, values in pattern.items()]
    return ", ".join(parts)

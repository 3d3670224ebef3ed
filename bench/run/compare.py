"""``bench.compare``: the comparison of ``python -m bench.run`` as a function, for notebooks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from bench.config import ConfigError
from bench.config.read import apply
from bench.record import UserError
from bench.run import make_all
from bench.run.command import Command, parse
from reports.files.results import Results

# Options that choose the defaults of all others.
_FIRST = ("data", "preset")


def compare(
    couplings: str | Sequence[str] = ("lapjv",),
    data: str = "digits",
    network: str | Callable[..., object] | None = None,
    seeds: int = 1,
    **options: Any,
) -> Results:
    """Train, sample and measure couplings and random pairing as ``python -m bench.run`` does.

    It prints the plan and the table, and writes the run folders, ``results.csv`` and the page.
    Finished runs are reused, so the same call again costs seconds.

    Args:
        couplings: specs, ``name`` or ``name:key=value,key=value``.
        data: data set, or a module of your own; ``arrays`` with ``data_dir=`` for arrays.
        network: name, ``my_project.net:Net``, or that class itself; None for the preset's.
        seeds: number of seeds.
        **options: of ``python -m bench.run --help`` by their names there, with underscores, such as
            ``images=2000``, ``nfe=[5, 9]``, ``runs="folder"`` or ``guidance_nfe=[9]``.
            Unlike there, runs are made one after the other: ``parallel=2`` needs
            ``if __name__ == "__main__":`` around the call of a script, because its processes import
            the script.

    Raises:
        bench.config.ConfigError: an unknown option or a bad value, in one line.
        UserError: no run finished; the lines above say why.

    """
    command = _command(couplings, data, network, seeds, options)
    made = make_all(command)
    if not made.finished:
        raise UserError(f"no run in {command.runs} finished: see the lines above")
    # The others are results, which an exception would keep from the caller.
    if made.code:
        warnings.warn("some runs failed: see the lines above", stacklevel=2)
    return Results(command.runs, tuple(made.finished))


def _command(
    couplings: str | Sequence[str],
    data: str,
    network: str | Callable[..., object] | None,
    seeds: int,
    options: dict[str, Any],
) -> Command:
    """The command of these options, which take the defaults of the command line."""
    if options.get("dry_run"):
        raise ConfigError("dry_run gives no results: python -m bench.run --dry-run prints the plan")
    if not isinstance(couplings, str | list | tuple):
        raise ConfigError(f"couplings must be a spec or a list of specs, not {couplings!r}")
    if not isinstance(data, str):
        raise ConfigError(f"data must be the name of a data set, not {data!r}")
    if "coupling" in options:
        raise ConfigError("coupling: call it couplings here")
    # A data set, a preset and --quick set defaults, so they are read before all other options.
    words = ["--data", data]
    if options.get("preset"):
        words += ["--preset", options["preset"]]
    if options.get("quick"):
        words.append("--quick")
    coupling = [couplings] if isinstance(couplings, str) else list(couplings)
    # In a notebook there is no guard that processes of their own would need.
    given = {"coupling": coupling, "seeds": seeds, "parallel": 1, **options}
    if network is not None:
        given["arch"] = network if isinstance(network, str) else _path_of(network)
    # The command calls the group by another word than its own field.
    named = {key.replace("guidance_", "dg.", 1): value for key, value in given.items()}
    return apply(parse(words), {key: value for key, value in named.items() if key not in _FIRST})


def _path_of(network: Callable[..., object]) -> str:
    """The spec ``package.module:name`` of a class or function."""
    module = network.__module__
    name = getattr(network, "__qualname__", "")
    # A run is named after its network, and another session must find it to resume.
    if "." not in module or not name.isidentifier():
        raise ConfigError(
            f"network={name or network!r}: put it at the top of a module in a folder, such as"
            " my_project/net.py, and import it from there"
        )
    return f"{module}:{name}"

"""The solver benchmark: ``python -m bench.solve``. What each coupling costs, and how near the
optimum it comes.

All contenders solve the same pools, round by round, in one process: ratios between them say more
than milliseconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import tyro

from bench.benchmarks.solver import Command, Tally, measure, table, write_csv
from bench.config import ConfigError
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import provenance, write_json

if TYPE_CHECKING:
    pass

DESCRIPTION = """Measure couplings as solvers: time, peak memory, and cost against the optimum, at several pool sizes.

Examples:
  python -m bench.solve --couplings lapjv sinkhorn --n 128 512
  python -m bench.solve --data cifar10 --data-dir data
  python -m bench.solve --peers          beside torchcfm, POT and scipy as their users call them
"""


@plain_torch()
def run(command: Command) -> int:
    """Measure, keeping solve.csv up to date, then print the table and write the page; 130 where
    Ctrl-C ended it.
    """
    from tqdm import tqdm

    from bench.benchmarks.contenders import contenders

    command.check()
    entrants = contenders(command.couplings, command.peers)
    steps = len(entrants) * len(set(command.n)) * (command.rounds + 2)
    tallies: list[Tally] = []
    code = 0
    _save(command, tallies)
    try:
        with tqdm(total=steps, desc="solve", unit="step", disable=None) as bar:
            for step in measure(command, entrants, tallies):
                _save(command, tallies)
                bar.set_postfix_str(step)
                bar.update()
    except KeyboardInterrupt:
        print("stopped; what was measured is kept", file=sys.stderr)
        code = 130
    _report(command, tallies)
    return code


def _save(command: Command, tallies: Sequence[Tally]) -> None:
    """solve.csv as it stands and, before it, solve.json: where its numbers come from."""
    try:
        if not tallies:
            peers = {"peers": {"torchcfm": version("torchcfm")}} if command.peers else {}
            write_json(command.out / "solve.json", provenance("cpu", seed=command.seed, **peers))
        write_csv(command.out / "solve.csv", [tally.cell(command) for tally in tallies])
    except OSError as error:
        raise ConfigError(
            f"cannot write to {command.out} ({error.strerror}): choose another --out"
        ) from None


def _report(command: Command, tallies: Sequence[Tally]) -> None:
    from bench.record.failures import one_line
    from reports.solver import build
    from reports.tables.runs import ReportError

    _save(command, tallies)
    # The page comes last: whatever fails in a figure costs neither the table nor the numbers.
    print(table([tally.cell(command) for tally in tallies]))
    print(f"\nresults: {command.out / 'solve.csv'}", flush=True)
    try:
        page = build(command.out / "solve.csv")
    except ReportError:
        raise
    except Exception as error:  # noqa: BLE001 - of matplotlib and the template
        raise ReportError(
            f"the page cannot be made ({one_line(error)}); solve.csv is written"
        ) from None
    print(f"report:  {page}")


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    command = tyro.cli(
        Command,
        prog="python -m bench.solve",
        description=DESCRIPTION,
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    from bench.data import DataError
    from reports.tables.runs import ReportError

    try:
        return run(command)
    except (ConfigError, DataError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(worker(main))

"""The solver benchmark: ``python -m bench.solve``. Cost of each coupling, and its distance from
the optimum.

All contenders solve the same pools, round by round, in one process: ratios between them say more
than milliseconds.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from bench import cli
from bench.benchmarks.rounds import Results, work_through
from bench.benchmarks.solver import Cell, Command, Tally, as_text, measure
from bench.cli import main_of
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import UserError, one_line, provenance

DESCRIPTION = """Measure couplings as solvers: time, peak memory, and cost against the optimum, at
several pool sizes.

Examples:
  python -m bench.solve --couplings lapjv sinkhorn --n 128 512
  python -m bench.solve --data cifar10 --data-dir data
  python -m bench.solve --data gauss:64 --couplings lapjv swap:passes=5 swap:passes=50
  python -m bench.solve --peers          next to torchcfm, POT, OTT and scipy
"""


@plain_torch()
def run(command: Command) -> int:
    """Measure, keeping solve.csv up to date, then print the table and write the page.

    Returns:
        The exit code: 130 after Ctrl-C, else 0.

    """
    from bench.benchmarks.contenders import contenders

    command.check()
    entrants = contenders(command.couplings, command.peers)
    results = Results(command.out, "solve", Cell)
    results.begin(provenance("cpu", seed=command.seed, **_peers(command)))
    tallies: list[Tally] = []

    def save() -> None:
        results.save([tally.cell(command) for tally in tallies])

    # One for memory, one to warm up, then the measured rounds.
    steps = len(entrants) * len(set(command.n)) * (command.rounds + 2)
    code = work_through(measure(command, entrants, tallies), steps, "solve", save)
    # The page comes last: a figure that fails costs neither the table nor the numbers.
    print(as_text([tally.cell(command) for tally in tallies]))
    print(f"\nresults: {results.csv}", flush=True)
    print(f"report:  {_page(results.csv)}")
    return code


def _peers(command: Command) -> dict[str, object]:
    return {"peers": {"torchcfm": version("torchcfm")}} if command.peers else {}


def _page(csv: Path) -> Path:
    """Write the page next to the table.

    Raises:
        UserError: it cannot be made.

    """
    from reports.solver import build
    from reports.tables.runs import ReportError

    try:
        return build(csv)
    except ReportError as error:
        raise UserError(str(error)) from None
    # Matplotlib and the template can fail in any way.
    except Exception as error:  # noqa: BLE001 - see above
        raise UserError(
            f"the page cannot be made ({one_line(error)}); solve.csv is written"
        ) from None


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return main_of(_main, args)


def _main(args: list[str]) -> int:
    return run(cli.parse("bench.solve", DESCRIPTION, args, Command()))


if __name__ == "__main__":
    sys.exit(worker(main))

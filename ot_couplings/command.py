"""``ot-couplings COMMAND``: one word for each command of this repository."""

from __future__ import annotations

import platform
import sys
from functools import partial
from importlib import import_module

from ot_couplings import __version__
from ot_couplings.paths import arrange

HELP = """usage: ot-couplings COMMAND ...

Compares optimal-transport couplings for training diffusion and flow models.

Compare couplings:
  run        train, sample and measure couplings and random pairing; writes a report
  evaluate   measure finished runs again: other NFE, samplers, features, more samples
  report     build tables, figures and the page from run folders
  diff       show the differences between two runs or two folders of runs
  bundle     pack runs into one file, without checkpoints
  studies    put the answers of several studies on one page

Choose a coupling and a machine:
  couplings  list the couplings: options, cost, marginals, papers
  solve      measure couplings as solvers: time, memory, distance from the optimum
  speed      measure training and sampling on this machine

Run a sweep, on SLURM or on this machine:
  submit     submit the runs of a sweep file
  status     show the state of its runs
  cancel     cancel its jobs

Begin with:
  ot-couplings run --coupling lapjv --quick     does all of it once, in less than a minute
  ot-couplings run --coupling lapjv             8x8 digits, a few minutes on two CPU cores
  ot-couplings run --data image-folder --data-dir photos --resolution 32 --dry-run
  ot-couplings couplings sinkhorn

ot-couplings COMMAND --help shows the options of a command, ot-couplings --version the version.
It works in any folder; modules of your own there, such as my_project.nearest, are found.
"""
# Like Unix's own commands they end when nobody reads them any more; the others work on.
ONLY_PRINT = ("couplings", "diff", "status")


def main(args: list[str] | None = None) -> None:
    """Run a command and exit with its code; an unknown one is one line and exit code 2."""
    words = list(sys.argv[1:] if args is None else args)
    # ``ot-couplings help run`` is ``ot-couplings run --help``.
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    # Before anything else is imported, so that both come at once.
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if words[0] == "--version":
        print(f"ot-couplings {__version__} (Python {platform.python_version()})")
        return
    arrange()
    _run(*words)


def _command_of(module: str, args: list[str]) -> int:
    # Imported by the command itself, whose errors are lines.
    return import_module(module).main(args)


def _run(word: str, *args: str) -> None:
    # All of ours only now that they are found.
    from bench.process.background import end_process
    from bench.process.console import reader, worker
    from bench.record import MODULES, PROGRAM, unknown

    if word not in MODULES:
        print(f"error: {unknown('command', word, MODULES)}", file=sys.stderr)
        sys.exit(2)
    module = MODULES[word]
    if word == "couplings":
        from couplings.__main__ import main as catalogue

        command = partial(catalogue, [*args], f"{PROGRAM} couplings")
    else:
        command = partial(_command_of, module, [*args])
    end_process((reader if word in ONLY_PRINT else worker)(command))

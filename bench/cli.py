"""Parts that the commands share: parsing, defaults that options choose, errors, exit codes, and
the report at their end.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.config import ConfigError, load_preset
from bench.config.command_line import CommandLine
from bench.config.options import filled, options_of
from bench.process.ranks import leave
from bench.process.signals import CHECKPOINT_SECONDS
from bench.record import OtherRunError, RunFolder, UserError, missing_package, one_line, spelled

if TYPE_CHECKING:
    from bench.process.ranks import Ranks

C = TypeVar("C")
# Lines after Ctrl-C
RESUMES = "stopped; run the same command to resume"
RESUMES_TRAINING = (
    f"{RESUMES}: a training continues from its last checkpoint, usually at most"
    f" {CHECKPOINT_SECONDS:.0f} s back"
)


def main_of(
    command: Callable[[list[str]], int], args: Sequence[str] | None, stopped: str = ""
) -> int:
    """Run a command; its exit code.

    Bad input is one line and 2, Ctrl-C is 130, and an unexpected error is a traceback and 1.

    Args:
        command: takes the words of the command line.
        args: the words; None takes those of this process.
        stopped: the line to print after Ctrl-C.

    """
    try:
        # An empty list is a command without words; None stands for those of the process.
        code = command(list(sys.argv[1:] if args is None else args))
        leave()
        return code
    except UserError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if stopped:
            print(stopped, file=sys.stderr)
        return 130
    # Not raised further: one of several processes must end without waiting for its threads.
    except Exception as error:  # noqa: BLE001 - see above
        line = missing_package(error)
        if line is None:
            traceback.print_exc()
            return 1
        print(f"error: {line}", file=sys.stderr)
        return 2


def parse(
    module: str,
    description: str,
    args: list[str],
    default: C,
    common: Sequence[str] = (),
    stray: str | None = None,
) -> C:
    """Read a command line into a dataclass.

    Args:
        module: the command's module, such as ``bench.run``.
        description: printed by --help.
        args: the words.
        default: of the dataclass, with the values of the options that are not given.
        common: names of the options that --help lists first.
        stray: name of the option that a word without one is probably meant for.

    Raises:
        ConfigError: an option is unknown, or a value is not one of its type.

    """
    options, groups = options_of(default)
    program = spelled(f"python -m {module}")
    line = CommandLine(program, spelled(description), options, groups, common)
    return filled(default, line.values(args, stray))


def read_first(
    args: list[str], options: Sequence[str], positional: str | None = None
) -> argparse.Namespace:
    """Values of the options that choose the defaults of all others, read before these.

    Args:
        args: the words of the command line.
        options: such as ``("--data", "--preset")``; None where one is not given.
        positional: name of the positional words, which become a list. Values of options that are
            not read here may be among them.

    """
    # Neither --help nor abbreviations: both belong to the real parser.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in options:
        # An option without its value passes here: the message is left to the real parser.
        parser.add_argument(option, nargs="?")
    if positional is not None:
        parser.add_argument(positional, nargs="*")
    known, _ = parser.parse_known_args(args)
    return known


def note_preset(preset: str | None, objectives: Sequence[str]) -> None:
    """Print a line if objectives are trained by a recipe that was made for another one."""
    if preset is None:
        return
    made_for = load_preset(preset).training.objective
    others = [spec for spec in objectives if spec != made_for]
    if others:
        print(
            f"note: the preset {preset} is a recipe for {made_for}; its learning rate, budget and"
            f" the like are taken for {' and '.join(others)} too"
        )


def survive(error: Exception, number: int, folder: RunFolder, ranks: Ranks) -> None:
    """Print the line of a run that failed, so that the next one can begin, or raise the error.

    Args:
        error: the run's.
        number: of the run, from 1.
        folder: of the run.
        ranks: the processes. Among several any error is raised, for the others may wait for this
            one.

    Raises:
        ConfigError: the first run failed by what all of them have in common.

    """
    from bench.data import DataError
    from bench.features import FeatureError

    # The others would wait for this one at the next all-reduce.
    if ranks.count > 1:
        raise error
    # Wrong data or features fail every run alike: one line instead of one for each.
    in_common = (ConfigError, DataError, FeatureError, OtherRunError)
    if number == 1 and isinstance(error, in_common):
        raise ConfigError(one_line(error)) from None
    print(folder.failure_line(error), file=sys.stderr, flush=True)


def report(runs_dir: Path, finished: list[str]) -> bool:
    """Print the table of some runs, and write results and page over all of the folder.

    Neither failure costs the other, nor the runs, so each is one line.

    Args:
        runs_dir: folder of run folders.
        finished: names of the runs of the table.

    Returns:
        True if all of it worked.

    """
    from reports.files.terminal import terminal_table
    from reports.tables.runs import read
    from reports.tables.tidy import results

    worked = True
    try:
        runs, _ = read(runs_dir, finished)
        print(terminal_table(results(runs), runs), flush=True)
    except Exception as error:  # noqa: BLE001 - the files matter more than the table
        print(f"error: no table can be shown: {one_line(error)}", file=sys.stderr)
        worked = False
    return write_report(runs_dir) and worked


def write_report(runs_dir: Path) -> bool:
    """Write results and page over all of a folder; True if that worked, else it is one line."""
    from reports.build import build
    from reports.tables.runs import CannotWrite, ReportError

    try:
        # Runs that cannot be compared are marked, for it is too late to refuse them.
        made = build(runs_dir, mixed=True)
    except CannotWrite as error:
        print(
            f"error: {error.problem}: all runs are kept; make room, and the same command reports"
            " them",
            file=sys.stderr,
        )
        return False
    except ReportError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return False
    print(f"\nresults: {made.csv}\nreport:  {made.html}")
    return True

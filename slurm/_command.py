"""The command line of all commands of this package."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.record import spelled
from slurm.resources import SweepError


def run(command: Callable[..., int], args: list[str] | None) -> int:
    """Parse a command line and run its command.

    Args:
        command: function whose signature and docstring are the options and the help.
        args: the words after the program; None for those of this process.

    Returns:
        The exit code: the command's, 2 for bad input, which is one line, 130 after Ctrl-C.

    """
    # Takes a second to import; the jobs themselves have no command line.
    import tyro

    layout = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    # Not its module, which has another name under ``python -m``.
    program = spelled(f"python -m slurm.{command.__name__}")
    try:
        return tyro.cli(command, prog=program, args=args, config=layout)
    except SweepError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # As the shell counts: 128 plus the number of SIGINT.
        return 130

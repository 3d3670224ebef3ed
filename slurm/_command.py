"""The command line of all commands of this package."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

from bench.config.command_line import CommandLine
from bench.config.options import parameters_of
from bench.record import UserError, spelled


def run(command: Callable[..., int], args: list[str] | None) -> int:
    """Parse a command line and run its command.

    Args:
        command: function whose signature and docstring are the options and the help.
        args: the words after the program; None for those of this process.

    Returns:
        The exit code: the command's, 2 for bad input, which is one line, 130 after Ctrl-C.

    """
    # Not its module, which has another name under ``python -m``.
    program = spelled(f"python -m slurm.{command.__name__}")
    # The rest of the docstring is for readers of the code.
    description, _, _ = (command.__doc__ or "").partition("\n\n    Args:")
    try:
        line = CommandLine(program, spelled(inspect.cleandoc(description)), parameters_of(command))
        return command(**line.values(sys.argv[1:] if args is None else args))
    except UserError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # As the shell counts: 128 plus the number of SIGINT.
        return 130

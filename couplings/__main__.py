"""The couplings and their options: ``python -m couplings``, ``python -m couplings lapjv``."""

from __future__ import annotations

import signal
import sys

from couplings import catalogue
from couplings.errors import CouplingError

USAGE = """usage: {program} [NAME ...]

Lists every coupling: what it solves, cost, marginals, options with their defaults, paper.
With names, all about these: the meaning of each option too. A module of your own is a name with a
dot.

examples:
  {program}
  {program} lapjv sinkhorn
  {program} my_project.nearest
"""


def main(args: list[str] | None = None, program: str = "python -m couplings") -> int:
    """Print the catalogue; an unknown name is one line and exit code 2."""
    words = sys.argv[1:] if args is None else args
    if {"-h", "--help"} & set(words):
        print(USAGE.format(program=program), end="")
        return 0
    try:
        if words:
            print("\n\n".join([catalogue.full(catalogue.entry(word)) for word in words]))
        else:
            print(f"{catalogue.overview()}\n\nThe meaning of each option: {program} NAME")
    except CouplingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    # Like Unix's own commands it ends when nobody reads it any more.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())

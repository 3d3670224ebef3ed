"""The couplings and their options: ``python -m couplings``, ``python -m couplings lapjv``."""

from __future__ import annotations

import signal
import sys

from couplings import catalogue, papers
from couplings.errors import CouplingError

USAGE = """usage: {program} [--bibtex] [NAME ...]

Lists every coupling: what it solves, cost, marginals, options with their defaults, paper.
With names, all about these: the meaning of each option too. A module of your own is a name with a
dot. --bibtex prints the papers to cite instead, and this project.

examples:
  {program}
  {program} lapjv sinkhorn
  {program} my_project.nearest
  {program} --bibtex lapjv sinkhorn > papers.bib
"""


def main(args: list[str] | None = None, program: str = "python -m couplings") -> int:
    """Print the catalogue; an unknown name is one line and exit code 2."""
    words = sys.argv[1:] if args is None else args
    if {"-h", "--help"} & set(words):
        print(USAGE.format(program=program), end="")
        return 0
    try:
        if "--bibtex" in words:
            print(_bibtex([word for word in words if word != "--bibtex"]))
        elif words:
            print("\n\n".join([catalogue.full(catalogue.entry(word)) for word in words]))
        else:
            print(f"{catalogue.overview()}\n\nThe meaning of each option: {program} NAME")
    except CouplingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _bibtex(names: list[str]) -> str:
    """The entries of couplings, or of all; a coupling of a user's own has its source as a note."""
    if not names:
        return papers.bibtex()
    entries = [papers.bibtex(names)]
    for name in names:
        found = catalogue.entry(name)
        # Names of ours have no dot.
        if "." in found.name and found.source:
            entries.append(papers.note(found.name, found.source))
    return "\n\n".join(entries)


if __name__ == "__main__":
    # Like Unix's own commands it ends when nobody reads it any more.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())

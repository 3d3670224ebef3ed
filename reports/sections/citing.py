"""Papers to cite for a comparison: this project, and those of the couplings compared."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plugins import bibtex, papers_of
from reports.tables.arms import coupling_of
from reports.tables.groups import Group

title = "How to cite this comparison"
place = 200  # the foot of the page
folded = True


@dataclass(frozen=True)
class Citing:
    """Papers to cite.

    Attributes:
        bibtex: the entries.
        without: couplings that have none: of a user's own, or heuristics without a paper.

    """

    bibtex: str
    without: tuple[str, ...]


def build(group: Group) -> Citing:
    """The entries of all couplings of the comparison."""
    # Networks from files have the names of their files, which no paper describes.
    own = group.own_couplings if group.trained else []
    couplings = list(dict.fromkeys(map(coupling_of, own)))
    # The project itself is always among them.
    without = [spec for spec in couplings if len(papers_of([spec])) == 1]
    return Citing(bibtex(couplings), tuple(without))

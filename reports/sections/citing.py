"""Papers to cite for a comparison: this project, and those of what it compares and measures."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plugins import papers_of
from bench.record.papers import cited, keywords_of
from reports.tables.arms import coupling_of, objectives
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
    """The entries of all couplings, metrics, data sets and objectives of the comparison."""
    # Networks from files have the names of their files, which no paper describes.
    own = group.own_couplings if group.trained else []
    couplings = list(dict.fromkeys(map(coupling_of, own)))
    # The project itself is always among them.
    without = [spec for spec in couplings if len(papers_of([spec])) == 1]
    return Citing(cited(couplings, _keywords(group)), tuple(without))


def _keywords(group: Group) -> set[str]:
    """Keywords of all that the comparison used besides its couplings."""
    rows = group.rows
    data = {str(name) for name in rows["data"].unique()}
    if "source" in rows:
        data |= {str(name) for name in rows["source"].dropna().unique()}
    # How a network was trained is known of runs of this project only.
    known = group.trained and group.trainer is None
    trained_with = objectives(rows).unique() if known else []
    return keywords_of(rows["metric"].unique(), data, trained_with)

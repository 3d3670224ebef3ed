"""The papers to cite for couplings, from `papers.bib`, where the keywords of an entry name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("papers.bib")
_FIELD = re.compile(r"^  (\w+) *= \{(.*)\},$", re.MULTILINE)


@dataclass(frozen=True)
class Paper:
    """An entry of the file.

    Attributes:
        key: that a text cites.
        bibtex: the entry without its keywords.
        couplings: what its keywords name, here its couplings; empty for this project itself.

    """

    key: str
    bibtex: str
    couplings: tuple[str, ...]


@cache
def papers() -> tuple[Paper, ...]:
    """All entries on couplings, this project first."""
    return read_papers(FILE)


def read_papers(path: Path) -> tuple[Paper, ...]:
    """The entries of a file of BibTeX, in its order."""
    # An entry begins at the margin and ends with a brace there.
    entries = re.findall(r"(?ms)^@\w+\{.*?^\}", path.read_text(encoding="utf-8"))
    return tuple(map(_paper, entries))


def papers_of(specs: Iterable[str]) -> list[Paper]:
    """Papers of couplings, each once, after the entry of this project.

    Args:
        specs: of the couplings. A coupling within an option, as in `permuted:of=lapjv`, counts.

    """
    named: set[str] = set()
    for spec in specs:
        named.update(re.findall(r"[\w.-]+", spec))
    return [paper for paper in papers() if not paper.couplings or named & set(paper.couplings)]


def bibtex(specs: Iterable[str] | None = None) -> str:
    """BibTeX of this project and of couplings; None for all of them."""
    found = papers() if specs is None else papers_of(specs)
    return "\n\n".join(paper.bibtex for paper in found)


def note(name: str, source: str) -> str:
    """The entry of a coupling of a user's own, which holds the source that its docstring names."""
    # A key of BibTeX has no dot in some styles.
    key = name.replace(".", "-")
    return f"@misc{{{key},\n  title = {{{name}}},\n  note  = {{{source}}},\n}}"


def _paper(entry: str) -> Paper:
    key = entry.partition("{")[2].partition(",")[0]
    keywords = dict(_FIELD.findall(entry)).get("keywords", "")
    couplings = tuple(word.strip() for word in keywords.split(",") if word.strip())
    # Keywords are for this file only.
    shown = re.sub(r"^  keywords .*\n", "", entry, flags=re.MULTILINE)
    return Paper(key, shown, couplings)

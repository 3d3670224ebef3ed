"""The papers of metrics, features, data sets and objectives, from ``papers.bib`` next to this file.

The keywords of an entry name what it describes, as in ``couplings/papers.bib``: ``metric/kid``,
``features/dinov2``, ``data/cifar10``, ``objective/flow``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from couplings.papers import bibtex, read_papers

FILE = Path(__file__).with_name("papers.bib")


def keywords_of(metrics: Iterable[str], data: Iterable[str], objectives: Iterable[str]) -> set[str]:
    """Keywords of what a comparison used.

    Args:
        metrics: names in the results, such as ``kid_inception``, where the end names the features.
        data: data sets, those that noise samples are drawn from among them.
        objectives: specs; their options name no other paper.

    """
    # Names of a user's own match no keyword, and cite nothing.
    found = {f"data/{name}" for name in data}
    found |= {f"objective/{spec.partition(':')[0]}" for spec in objectives}
    for name in metrics:
        # Of fd_infinity_dinov2 every start and every end: a name does not say where features begin.
        words = name.split("_")
        for cut in range(1, len(words) + 1):
            found.add(f"metric/{'_'.join(words[:cut])}")
            found.add(f"features/{'_'.join(words[cut:])}")
    # FID is the one distance whose name does not end with that of its features.
    return found | ({"features/inception"} if "metric/fid" in found else set())


def cited(couplings: Iterable[str], keywords: set[str]) -> str:
    """BibTeX of this project, of couplings, and of what keywords name; each entry once.

    Args:
        couplings: specs.
        keywords: of ``keywords_of``.

    """
    entries = [bibtex(couplings)]
    for paper in read_papers(FILE):
        # A paper may describe a coupling and an objective, and stands in both files then.
        is_there = f"{{{paper.key}," in entries[0]
        if keywords & set(paper.couplings) and not is_there:
            entries.append(paper.bibtex)
    return "\n\n".join(entries)

"""The foot of a page names the papers of what was compared and measured, and no others."""

import re
from html import unescape

from reports.build import build


def test_the_page_ends_with_the_papers_of_its_couplings(study, tmp_path):
    page = build(study, tmp_path).html.read_text(encoding="utf-8")
    (entries,) = re.findall(r"<pre>(@software.*?)</pre>", page, re.DOTALL)
    keys = re.findall(r"^@\w+\{(\w+),$", unescape(entries), re.MULTILINE)
    # The study compares random, lapjv and sinkhorn, by Frechet distances on digits, with EDM. The
    # paper of EDM is that of random pairing too, and comes once.
    assert keys == [
        *("otcouplingsbench", "karras2022elucidating", "kim2024improving", "jonker1987shortest"),
        *("cuturi2013sinkhorn", "feydy2019interpolating", "heusel2017gans", "alpaydin1998optical"),
    ]
    assert page.index(">How to cite this comparison</") < page.index("<pre>@software")


def test_couplings_without_an_entry_are_named(make, tmp_path):
    for arm in ("random", "my_project.nearest", "greedy"):
        make(tmp_path, arm, 0)
    page = build(tmp_path).html.read_text(encoding="utf-8")
    assert "No entry: greedy, my_project.nearest; cite the authors" in page

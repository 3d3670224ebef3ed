import re

import pytest

from bench.record import write_bytes
from reports.build import build
from reports.figures import style
from reports.sections import pairs as section
from reports.tables.runs import read

LINES = [[(2.0, 1.0), (0.5, 0.25)], [(-1.0, 0.0), (-0.25, 0.125)], [(0.0, -2.0), (0.0, 0.5)]]


def keep(folder, lines):
    rows = [f"{a},{b},{x},{y}" for (a, b), (x, y) in lines]
    text = "\n".join(["noise_x,noise_y,x,y", *rows, ""])
    write_bytes(folder.path / "samples" / "pairs.csv", text.encode())


@pytest.fixture
def moons(tmp_path, make):
    """Two arms of two seeds; the pairs of seed 0 are ``LINES``, those of seed 1 are fewer."""
    for seed in (1, 0):
        for arm in ("random", "lapjv"):
            keep(make(tmp_path, arm, seed, data="moons"), LINES if seed == 0 else LINES[:1])
    return tmp_path


def test_the_pairs_of_each_arm_are_of_its_first_seed(moons):
    assert section.pairs(read(moons)[0]).lines == {"random": LINES, "lapjv": LINES}


def test_the_page_shows_the_arms_side_by_side_with_words(moons):
    page = build(moons).html.read_text()
    assert page.count("<b>Pairs of one pool.</b>") == 1
    words = "Pairs of noise samples and points of the data: random; lapjv."
    (svg,) = re.findall(rf'<svg [^>]*aria-label="{words}".*?</svg>', page, re.DOTALL)
    assert [len(re.findall(rf">{arm}<", svg)) for arm in ("random", "lapjv")] == [1, 1]
    assert "The first 3 pairs of a pool" in page


def test_each_panel_holds_all_pairs(moons):
    found = section.pairs(read(moons)[0])
    figure = section.drawing(found, style.looks(["random", "lapjv"]))
    for ax in figure.axes:
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        lines, noise, data = (patch.get_path().vertices.tolist() for patch in ax.patches)
        assert lines == [list(point) for line in LINES for point in line]
        assert noise[::2] == [list(line[0]) for line in LINES]
        assert data[::2] == [list(line[1]) for line in LINES]
        assert all(left < x < right and bottom < y < top for x, y in lines)


def test_damaged_files_are_passed_over(moons):
    for path in moons.glob("*lapjv*/samples/pairs.csv"):
        path.write_text("x,y\n0,1\n")
    assert list(section.pairs(read(moons)[0]).lines) == ["random"]
    build(moons)


def test_images_have_none(study):
    assert section.pairs(read(study)[0]) is None

"""The figure of the first screen: its points, their words, and names that do not overlap."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures.ratios import apart, ratio_drawing, ratio_figure
from reports.figures.style import looks
from reports.overview.first_screen import first_screen
from reports.tables.groups import groups
from reports.tables.tidy import read_runs
from tests.reports.conftest import NFES, factor

GAP = 10.0


@given(st.lists(st.floats(0, 200), min_size=1, max_size=15))
def test_names_are_apart_in_their_order_and_within_the_figure(heights):
    moved = apart(dict(enumerate(heights)), GAP, 0.0, 200.0)
    order = sorted(moved, key=lambda one: (heights[one], one))
    places = [moved[one] for one in order]
    assert all(b - a >= GAP - 1e-6 for a, b in zip(places, places[1:], strict=False))
    assert all(-1e-6 <= place <= 200 + 1e-6 for place in places)


def test_names_that_have_room_stay():
    heights = {0: 5.0, 1: 60.0, -1: 30.0}
    assert apart(heights, GAP, 0.0, 100.0) == heights


@pytest.fixture(scope="module")
def table(study):
    (group,) = groups(read_runs(study))
    return first_screen(group).default.table


def test_points_stand_at_their_ratios_and_say_their_numbers(table):
    look = looks(["random", "lapjv", "sinkhorn:epsilon=0.05"])
    (axes,) = ratio_drawing(table, look).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = {line.get_gid(): line.get_xydata() for line in axes.lines if line.get_gid()}
    tips = re.findall(r"<title>(.*?)</title>", str(ratio_figure(table, look)))
    assert len(tips) == 2 * len(NFES)
    for place, row in enumerate(table.rows):
        for nfe in NFES:
            ((x, y),) = drawn[f"mark|{place}|point|{nfe}"]
            assert x == nfe
            assert math.isclose(y, factor(row.arms[0], nfe), rel_tol=1e-9)
            assert sum(tip.startswith(f"{row.arms[0]} at {nfe} NFE: ") for tip in tips) == 1
    names = [text.get_text() for text in axes.texts]
    assert sorted(names) == ["lapjv", "random", "sinkhorn"]

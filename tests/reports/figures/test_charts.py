from xml.etree import ElementTree

from reports.figures import style
from reports.figures.charts import Chart, Line, caption, describe, draw
from reports.tables.statistics import Cell

LOOK = style.looks(["random", "lapjv"])
CHART = Chart(
    "cost",
    "weight",
    [
        Line("random", {0.5: Cell({0: 2.0, 1: 4.0}, {}), 2.0: Cell({0: 8.0}, {})}),
        Line("lapjv", {1.0: Cell({0: 5.0}, {})}),
    ],
    {"lapjv": 7.0},
)


def test_charts_in_words():
    said = describe(CHART)
    assert (
        said == "Chart of cost over weight: random 3.00 at 0.5, 8.00 at 2; lapjv 5.00 at 1; lapjv"
        " 7.00 throughout."
    )
    assert "up to 2 seeds" in caption([CHART])
    assert "one seed each" in caption([Chart("a", "b", [CHART.lines[1]])])


def test_a_figure_of_three_charts_has_no_empty_axes():
    """Each of the axes names what it shows, and a fourth in the second row is not there."""
    svg = ElementTree.fromstring(str(draw([CHART, CHART, CHART], LOOK)))
    shown = [element.text for element in svg.iter("text")]
    assert shown.count("cost") == shown.count("weight (log)") == 3
    assert shown.count("random") == 1
    assert shown.count("0.5") == 3


def test_values_that_no_axis_has_a_place_for_are_left_out():
    bad = Chart(
        "a",
        "b",
        [Line("random", {1.0: Cell({0: float("nan")}, {}), 2.0: Cell({0: -1.0}, {})})],
        log="xy",
    )
    assert "<svg" in draw([bad], LOOK)

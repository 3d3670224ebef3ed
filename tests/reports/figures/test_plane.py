import re
from xml.etree import ElementTree

import pytest

from reports.figures import plane
from reports.figures.plane import Frame, Layer, Panel
from reports.figures.svg import to_svg


def test_a_frame_is_the_smallest_square_with_its_margin():
    frame = Frame.around([(0.0, 0.0), (4.0, 1.0)], margin=0.25)
    assert frame.limits == ((-1.0, 5.0), (-2.5, 3.5))
    assert frame.holds((5.0, -2.5))
    assert not frame.holds((5.1, 0.0))
    assert not frame.holds((0.0, 3.6))


def test_a_frame_of_equal_points_has_a_side():
    (left, right), (bottom, top) = Frame.around([(2.0, 3.0)] * 2, margin=0.0).limits
    assert (right - left, top - bottom) == (1.0, 1.0)


def test_both_axes_have_one_scale():
    wide = Frame.around([(0.0, 0.0), (10.0, 1.0)], margin=0.0)
    figure = plane.drawing([[Panel("a", (plane.dots([(0.0, 0.0)], "#123456"),))]], wide)
    to_svg(figure, "words")  # draws, which gives the axes their places
    (ax,) = figure.axes
    # One unit of x and one of y, in pixels of the canvas.
    origin, right, up = ax.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert right[0] - origin[0] == pytest.approx(up[1] - origin[1], rel=1e-6)


def test_lines_and_dots_of_a_layer_are_one_element_at_their_places():
    lines = [[(0.0, 0.0), (1.0, 1.0), (1.0, 0.0)], [(0.5, 0.5)], []]
    layer = Layer([line for line in lines if line], "#ab1234", 1.0)
    figure = plane.drawing([[Panel("a", (layer,))]], Frame((0.5, 0.5), 0.5))
    svg = str(to_svg(figure, "words"))
    paths = [p for p in ElementTree.fromstring(svg).iter("path") if "ab1234" in p.get("style", "")]
    assert len(paths) == 1
    shape = re.findall(r"([ML]) (\S+) (\S+)", paths[0].get("d"))
    assert "".join(code for code, _, _ in shape) == "MLLML"
    x = [float(x) for _, x, _ in shape]
    y = [float(y) for _, _, y in shape]
    side = x[1] - x[0]
    # The vertical of SVG points down.
    assert y[0] - y[1] == pytest.approx(side, abs=0.02)
    assert (x[3] - x[0], y[0] - y[3]) == pytest.approx((side / 2, side / 2), abs=0.02)
    assert 0 < x[4] - x[3] < 0.01 * side


def test_each_row_begins_a_row_of_panels():
    panels = [Panel(f"{i}", ()) for i in range(plane.COLUMNS + 1)]
    figure = plane.drawing([panels, panels[:2]], Frame((0.0, 0.0), 1.0))
    visible = [ax.get_visible() for ax in figure.axes]
    c = plane.COLUMNS
    assert visible == [True] * (c + 1) + [False] * (c - 1) + [True] * 2 + [False] * (c - 2)


@pytest.mark.parametrize(
    "text", ["", "x,y\n1,2,3\n", "x,y\n1,a\n", "a,b\n1,2\n", "x,y\n", "x,y\nnan,1\n1,inf\n"]
)
def test_a_damaged_file_has_no_rows(tmp_path, text):
    path = tmp_path / "points.csv"
    assert plane.read_rows(path, "x,y") == []
    path.write_text(text)
    assert plane.read_rows(path, "x,y") == []
    path.write_bytes(b"\xff\xfe\x00")
    assert plane.read_rows(path, "x,y") == []
    path.write_text("x,y\n1,2\nnan,3\n-4e-3,5\n")
    assert plane.read_rows(path, "x,y") == [[1.0, 2.0], [-0.004, 5.0]]

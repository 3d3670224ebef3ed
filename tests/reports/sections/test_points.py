import re
from xml.etree import ElementTree

import pytest

from bench.record import Measurement, write_bytes
from reports.build import build
from reports.figures import style
from reports.figures.plane import COLUMNS
from reports.sections import points as plane
from reports.tables.runs import read

DATA = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]


def keep(folder, name, points):
    text = "\n".join(["x,y", *(f"{x},{y}" for x, y in points), ""])
    write_bytes(folder.path / "samples" / f"{name}.csv", text.encode())


@pytest.fixture
def moons(tmp_path, make):
    """Two arms of two seeds; the points of each are at a place of their own."""
    place = {
        "split": "test",
        "n": 400,
        "rho": 7.0,
        "sampler": "heun",
        "start": "gaussian",
        "guidance": "none",
    }
    for seed in (1, 0):
        for shift, arm in enumerate(("random", "lapjv")):
            found = [
                Measurement(name, 2.0 - shift, nfe=nfe, **place)
                for nfe in (5, 13)
                for name in ("w2", "fd_pixels")
            ]
            folder = make(tmp_path, arm, seed, data="moons", found=found)
            keep(folder, "real", DATA)
            for nfe in (13, 5):
                keep(folder, f"nfe{nfe}", [(0.1 * shift + 0.01 * seed, 0.5), (0.2, 0.001 * nfe)])
    return tmp_path


def test_the_points_of_each_arm_are_of_its_first_seed_at_each_nfe(moons):
    found = plane.scatter(read(moons)[0])
    assert found.data == DATA
    assert list(found.samples) == ["NFE 5", "NFE 13"]
    assert found.samples["NFE 5"] == {
        "random": [(0.0, 0.5), (0.2, 0.005)],
        "lapjv": [(0.1, 0.5), (0.2, 0.005)],
    }


def test_the_page_has_one_figure_of_data_and_arms_side_by_side(moons):
    page = build(moons).html.read_text()
    assert page.count("<b>Generated points.</b>") == 1
    (svg,) = re.findall(r'<svg [^>]*aria-label="Points of the data.*?</svg>', page, re.DOTALL)
    shown = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert [shown.count(word) for word in ("data", "random", "lapjv", "NFE 5", "NFE 13")] == [
        2,
        2,
        2,
        1,
        1,
    ]
    assert "Wasserstein distance (w2), test, at NFE 13: 1.00 vs 2.00 for random" in page


def test_every_point_is_a_dot_in_the_figure(moons):
    found = plane.scatter(read(moons)[0])
    svg = str(plane.draw(found, style.looks(["random", "lapjv"])))
    paths = [
        path
        for path in ElementTree.fromstring(svg).iter("path")
        if "linecap: round" in path.get("style", "")
    ]
    assert [len(re.findall(r"M (\S+) (\S+)\s+L \S+ \2", path.get("d"))) for path in paths] == [
        3,
        2,
        2,
    ] * 2


def test_all_panels_share_their_axes(moons):
    found = plane.scatter(read(moons)[0])
    axes = [
        ax for ax in plane.drawing(found, style.looks(["random", "lapjv"])).axes if ax.get_visible()
    ]
    assert {ax.get_xlim() for ax in axes} == {(-0.35, 1.35)}
    assert {ax.get_ylim() for ax in axes} == {(-0.35, 1.35)}


def test_points_outside_the_frame_are_counted():
    found = plane.Scatter(
        [(0.0, 0.0), (1.0, 1.0)],
        {"NFE 5": {"random": [(0.5, 0.5), (1.3, 0.5), (1.4, 0.5), (0.5, -9.0)]}},
    )
    axes = plane.drawing(found, style.looks(["random"])).axes
    assert [ax.get_title() for ax in axes] == ["data", "random\n2 of 4 outside"]
    assert "4 points generated" in found.caption


def test_many_arms_take_several_rows(tmp_path, make):
    for i in range(7):
        folder = make(tmp_path, f"c{i}", data="moons")
        keep(folder, "real", DATA)
        keep(folder, "nfe5", DATA)
    found = plane.scatter(read(tmp_path)[0])
    figure = plane.drawing(found, style.looks([f"c{i}" for i in range(7)]))
    assert len(figure.axes) == 2 * COLUMNS
    assert sum(ax.get_visible() for ax in figure.axes) == 8


@pytest.mark.parametrize("text", ["", "x,y\n1,2,3\n", "x,y\n1,a\n", "a,b\n1,2\n", "x,y\n"])
def test_a_damaged_file_is_passed_over(moons, text):
    for path in moons.glob("*lapjv*/samples/nfe5.csv"):
        path.write_text(text)
    found = plane.scatter(read(moons)[0])
    assert list(found.samples["NFE 5"]) == ["random"]
    assert list(found.samples["NFE 13"]) == ["random", "lapjv"]
    build(moons)


def test_points_that_are_not_finite_are_not_drawn(moons):
    for path in moons.glob("*lapjv*/samples/nfe5.csv"):
        path.write_text("x,y\nnan,1\n0.5,inf\n0.25,0.5\n")
    assert plane.scatter(read(moons)[0]).samples["NFE 5"]["lapjv"] == [(0.25, 0.5)]


def test_images_have_none(study):
    assert plane.scatter(read(study)[0]) is None


def test_other_samplers_have_rows_of_their_own(moons):
    for path in moons.glob("*/samples"):
        (path / "euler-nfe100.csv").write_text("x,y\n0.25,0.75\n")
        (path / "pairs-nfe.csv").write_text("x,y\n0,0\n")
    found = plane.scatter(read(moons)[0])
    assert list(found.samples) == ["NFE 5", "NFE 13", "euler NFE 100"]
    assert found.samples["euler NFE 100"] == {"random": [(0.25, 0.75)], "lapjv": [(0.25, 0.75)]}
    assert "along the fixed schedule: NFE 5, NFE 13 and euler NFE 100." in found.caption

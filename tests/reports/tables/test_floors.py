"""Floors in reports: the line, the column, the excess and the mark."""

import math
import re

import pytest

from bench.record import Measurement
from bench.record.infos import Info, write_infos
from reports.files.terminal import terminal_table
from reports.overview.summary import summarise
from reports.page import render
from reports.sections.contract import sections
from reports.tables.floors import Floor, change
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.statistics import Cell
from reports.tables.tidy import results
from tests.reports.conftest import ARMS, make_run, measurements

# The shipped metrics describe the rows that no run describes.
FLOORS = [
    Measurement("fd_floor_classifier", 2.0, split="test", n=2000),
    Measurement("fd_floor_sd_classifier", 0.5, split="test", n=2000),
    # Of another number of images
    Measurement("fd_floor_classifier", 9.0, split="test", n=500),
]


@pytest.fixture
def study(tmp_path):
    """Some seeds of three arms: ``study(floors)`` gives their table, runs and comparison."""

    def make(floors, seeds=2):
        for coupling in ARMS:
            for seed in range(seeds):
                found = measurements(coupling, seed) + floors
                make_run(tmp_path, coupling, seed, found=found)
        runs, _ = read(tmp_path)
        table = results(runs)
        return table, runs, groups(table, runs)

    return make


def pages(study) -> str:
    table, runs, found = study
    return render(table, found, runs, [], sections())["report.html"]


def test_the_excess_and_the_reach_of_a_floor():
    floor = Floor(2.0, 0.5)
    cell = Cell({0: 5.0, 1: 5.0}, {0: 8.0, 1: 8.0})
    assert floor.excess(cell) == pytest.approx(0.5)
    assert (floor.is_near(6.0), floor.is_near(6.1)) == (True, False)
    # An unbiased distance: its deviation counts.
    assert Floor(-0.2, 2.5).is_near(7.2)
    assert not Floor(-0.2, 2.5).is_near(7.4)
    # Below the floor there is no excess.
    assert floor.excess(Cell({0: 1.0}, {0: 8.0})) is None
    assert floor.excess(Cell({0: 1.0}, {0: 2.0})) is None
    assert floor.excess(Cell({0: math.nan}, {0: 8.0})) is None
    assert floor.excess(Cell({0: 5.0}, {})) is None


def test_a_change_in_words():
    cell = Cell({0: 9.9}, {0: 16.0})
    assert change(cell, None) == cell.change == "−38 %"
    assert (
        change(cell, Floor(4.0 / 3))
        == "−38 % of the distance, −42 % of the excess over real images"
    )
    near = change(cell, Floor(4.0))
    assert near == "−38 % of the distance, −51 % of the excess over real images, near the floor"
    assert change(cell, Floor(12.0)) == "−38 % of the distance, near the floor"


def test_panels_know_the_floor_of_their_split_and_number_of_images(study):
    _, _, (group,) = study(FLOORS)
    found = {(panel.metric, panel.split): panel.floor for panel in group.plain.curves}
    assert found["fd_classifier", "test"] == Floor(2.0, 0.5)
    assert found["fd_classifier", "train"] is None
    assert found["fd_pixels", "test"] is None
    # They are no results of their own.
    assert not any("floor" in panel.metric for panel in group.panels)


def test_the_page_shows_the_line_the_column_the_excess_and_the_mark(study):
    page = pages(study(FLOORS))
    table = re.search(
        r'<table[^>]*data-metric="fd_classifier" data-split="test".*?</table>', page, re.S
    )[0]
    assert table.count('<td data-value="2.0">2.00<small>±0.5') == 4
    # NFE 35: 80 / 35 = 2.29 of random, within three floors; NFE 3 is far above.
    rows = dict(re.findall(r'<tr data-nfe="(\d+)">(.*?)</tr>', table, re.S))
    assert rows["35"].count("†") == 3
    assert "†" not in rows["3"]
    # lapjv has 0.6 of random at NFE 3: (16.24 - 2) / (27.07 - 2)
    assert "excess ×0.57" in rows["3"]
    assert "Dashed: as many real training images instead of samples." in page
    # First those of the first screen, of two metrics, of which the second has no floor.
    first, second, curve = re.findall(r"<svg.*?</svg>", page, re.S)[:3]
    assert "Grey: near the value of real images." in page.partition(first)[2].partition(second)[0]
    assert "Grey" not in page.partition(second)[2].partition(curve)[0]
    assert "real images" in curve
    train = re.search(
        r'<table[^>]*data-metric="fd_classifier" data-split="train".*?</table>', page, re.S
    )[0]
    assert "real images" not in train
    assert "†" not in train


def test_the_terminal_names_the_floor_and_marks_values(study):
    table, runs, _ = study(FLOORS)
    text = terminal_table(table, runs)
    assert "real images: 2.00 +- 0.50; ~ marks values near this floor" in text
    lines = [line for line in text.splitlines() if line.startswith(("    3 ", "   35 "))]
    assert lines[0].count("~") == 0
    assert lines[1].count("~") == 3
    assert max(map(len, text.splitlines())) < 110
    # The truncation error has none.
    assert text.count("real images:") == 1


def test_runs_without_floors_show_nothing_new(study):
    made = study([])
    page = pages(made)
    text = terminal_table(*made[:2])
    for word in ("real images", "Real images", "†", "excess", "of the distance"):
        assert word not in page
        assert word not in text


def test_a_users_own_distance_has_one_by_its_description(tmp_path):
    own = Info("gap_x", "Own.", "lower", family="gap", distance=True, floor=True)
    for seed in (0, 1):
        place = {"nfe": 5, "split": "test", "n": 50, "sampler": "heun", "rho": 7.0}
        found = [Measurement("gap_x", 9.0 + seed, **place)]
        found += [Measurement("gap_floor_x", 3.0, split="test", n=50)]
        folder = make_run(tmp_path, "random", seed, found=found)
        write_infos(folder.path, [own, *own.floors()])
    runs, _ = read(tmp_path)
    (group,) = groups(results(runs), runs)
    assert [panel.floor for panel in group.panels] == [Floor(3.0)]


def test_claims_give_the_change_of_the_excess_too(study):
    _, _, (group,) = study(FLOORS, seeds=3)
    (finding,) = [one for one in summarise(group).findings if "(fd_classifier), test" in one.title]
    claims = dict(finding.views[0].claims)
    # 0.6 of random, which is 26.7 to 28.3 at NFE 3; the floor is 2.
    assert re.search(
        r"most at NFE 3: −40 % \[.*\] of the distance, −4\d % of the excess over real images",
        claims["lapjv"],
    )

import re

import pytest

from bench.record import write_bytes
from reports.build import build
from reports.figures import style
from reports.sections import trajectories as section
from reports.tables.runs import read

PATHS = [[(1.0, 1.0), (0.5, 0.2), (0.1, 0.0)], [(-1.0, 0.0), (-0.2, 0.1)]]


def keep(folder, paths):
    lines = ["path,t,x,y"]
    for number, path in enumerate(paths):
        for step, (x, y) in enumerate(path):
            lines.append(f"{number},{1 - step / 10},{x},{y}")
    write_bytes(folder.path / "samples" / "trajectories.csv", "\n".join([*lines, ""]).encode())


@pytest.fixture
def moons(tmp_path, make):
    """Two arms of two seeds; the paths of seed 0 are ``PATHS``, those of seed 1 are others."""
    for seed in (1, 0):
        for arm in ("random", "lapjv"):
            folder = make(tmp_path, arm, seed, data="moons")
            keep(folder, PATHS if seed == 0 else PATHS[:1])
    return tmp_path


def test_the_paths_of_each_arm_are_of_its_first_seed(moons):
    found = section.trajectories(read(moons)[0])
    assert found.paths == {"random": PATHS, "lapjv": PATHS}


def test_the_page_shows_the_arms_side_by_side_with_words(moons):
    page = build(moons).html.read_text()
    assert page.count("<b>Trajectories.</b>") == 1
    words = "Sampling paths from noise to data in the plane: random; lapjv."
    (svg,) = re.findall(rf'<svg [^>]*aria-label="{words}".*?</svg>', page, re.DOTALL)
    assert [len(re.findall(rf">{arm}<", svg)) for arm in ("random", "lapjv")] == [1, 1]
    assert "Paths from 2 noise samples" in page


def test_each_panel_has_its_paths_starts_and_ends(moons):
    found = section.trajectories(read(moons)[0])
    figure = section.drawing(found, style.looks(["random", "lapjv"]))
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    for ax in figure.axes:
        lines, starts, ends = (patch.get_path().vertices.tolist() for patch in ax.patches)
        assert lines == [list(point) for path in PATHS for point in path]
        # A dot is a short stroke: its first vertex is the point.
        assert starts[::2] == [list(path[0]) for path in PATHS]
        assert ends[::2] == [list(path[-1]) for path in PATHS]


def test_one_path_far_away_does_not_compress_the_others():
    paths = [[(0.1 * i, -0.1 * i), (0.05 * i, 0.0)] for i in range(39)]
    near = section.Trajectories({"random": paths})
    far = section.Trajectories({"random": [*paths, [(0.0, 0.0), (1e6, 1e6)]]})
    assert far.frame.half < 2 * near.frame.half


def test_damaged_files_are_passed_over(moons):
    for path in moons.glob("*lapjv*/samples/trajectories.csv"):
        path.write_text("path,t,x\n0,1,2\n")
    assert list(section.trajectories(read(moons)[0]).paths) == ["random"]
    build(moons)


def test_images_have_none(study):
    assert section.trajectories(read(study)[0]) is None

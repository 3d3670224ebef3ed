"""The page in a real browser: what no parser of HTML can see."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.build import build
from reports.solver import build as build_solver
from tests.reports.test_solver import write

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
PROBE = Path(__file__).with_name("probe.js").read_text()
# Whatever the page may not do is then an error on the console.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
AROUND = """<!DOCTYPE html><meta name="color-scheme" content="light dark"><body><script>
addEventListener("message", (e) => {
  const answer = document.createElement("pre");
  answer.textContent = e.data;
  document.body.append(answer);
});
</script><iframe src="page.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""


class Visit:
    """A page seen at one width: what the probe found, and what the console says.

    In a frame, for a window of Chromium is never narrower than 500 pixels.
    """

    def __init__(self, page: str, place: Path, width: int, *options: str):
        (place / "page.html").write_text(
            page.replace(
                "<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            ).replace("</body>", f"<script>{PROBE}</script></body>")
        )
        (place / "around.html").write_text(AROUND.replace("WIDTH", str(width)))
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={place / 'profile'}",
            "--window-size=1500,1000",
            "--virtual-time-budget=20000",
            *options,
            "--dump-dom",
            (place / "around.html").as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        answer = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
        assert answer, f"the probe did not answer: {done.stdout[-500:]} {done.stderr[-2000:]}"
        self.found = json.loads(html.unescape(answer.group(1)))
        self.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(gallery, tmp_path_factory):
    """The page of one of two comparisons, which has every section."""
    report = build(gallery, tmp_path_factory.mktemp("gallery-report"))
    return report.html.with_name("comparison-2.html").read_text()


@pytest.fixture(scope="module")
def phone(page, tmp_path_factory):
    return Visit(page, tmp_path_factory.mktemp("phone"), 400)


@pytest.fixture(scope="module")
def desk(page, tmp_path_factory):
    return Visit(page, tmp_path_factory.mktemp("desk"), 1400)


@pytest.fixture(scope="module")
def dark(page, tmp_path_factory):
    return Visit(page, tmp_path_factory.mktemp("dark"), 1400, "--force-dark-mode")


def test_nothing_is_cut_or_overlaps_on_a_phone_and_on_a_desk(phone, desk):
    for visit, width in ((phone, 400), (desk, 1400)):
        assert visit.found["width"] == width
        assert visit.found["wide"] == []
        assert visit.found["cut"] == []
        assert visit.found["overlapping"] == []
        assert visit.found["tiny"] == []


def test_the_entry_of_several_comparisons_can_be_read_on_a_phone(gallery, tmp_path):
    visit = Visit(build(gallery, tmp_path / "out").html.read_text(), tmp_path, 400)
    assert visit.console == []
    for fault in ("wide", "cut", "overlapping", "tiny", "network"):
        assert visit.found[fault] == [], fault


def test_the_page_of_solvers_can_be_read_on_a_phone(tmp_path):
    visit = Visit(build_solver(write(tmp_path)).read_text(), tmp_path, 400)
    assert visit.console == []
    for fault in ("wide", "cut", "overlapping", "tiny", "network"):
        assert visit.found[fault] == [], fault


def test_the_answer_stands_on_the_first_screen(desk):
    first = desk.found["first"]
    assert 0 < first["words"] < 120
    assert first["bottom"] < 800


def test_switches_and_hover_of_the_first_screen(phone, desk):
    for visit in (phone, desk):
        first = visit.found["first"]
        marks, drawn, off, on = first["marks"]
        assert marks == drawn == on > 5
        assert off == 0
        at_point, left, at_cell = first["tips"]
        assert at_point == at_cell.replace("\n", " ")
        assert re.match(r"\S+ at 3 NFE: .* %.*, seeds 0, 1, 2; ", at_cell)
        assert left == ""
        # The menu goes round, with one view at a time.
        assert first["shown"] == 1
        assert len(set(first["views"])) == first["choices"] > 1
        assert first["views"][0] == first["views"][first["choices"]]


def test_it_loads_from_disk_without_errors_or_network(phone, desk, dark):
    for visit in (phone, desk, dark):
        assert visit.console == []
        assert visit.found["network"] == []


def test_all_tables_sort_both_ways(desk):
    tables = desk.found["sorted"]
    assert len(tables) > 10
    for table in tables:
        (up, rising), (down, falling) = table["up"], table["down"]
        assert (rising, falling) == ("ascending", "descending")
        assert sorted(up) == sorted(down) == sorted(table["before"])
        for values, sign in ((up, 1), (down, -1)):
            numbers = [sign * float(v) for v in values if re.fullmatch(r"-?[\d.]+(e-?\d+)?", v)]
            assert numbers == sorted(numbers)
    assert any(
        len(set(table["before"])) > 2 and table["up"][0] != table["before"] for table in tables
    )


def test_large_tables_are_filtered(desk):
    assert desk.found["filtered"]
    for table in desk.found["filtered"]:
        assert table["rows"] >= 10
        assert table["label"].startswith("Filter rows of ")
        assert 0 < len(table["lapjv"]) < table["rows"]
        assert all("lapjv" in row for row in table["lapjv"])
        assert table["none"] == []
        assert table["all"] == table["rows"]


def test_dark_mode_turns_paper_text_and_axes(desk, dark):
    assert (desk.found["dark"], dark.found["dark"]) == (False, True)
    for visit, dim in ((desk, False), (dark, True)):
        ink, paper = visit.found["body"]
        assert (_light(paper) < 0.2) == dim
        assert (_light(ink) > 0.8) == dim
        assert visit.found["axes"] == [ink]


def _light(colour):
    """Brightness of rgb(...), 0 to 1."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 765


def test_the_probe_sees_what_is_wrong(tmp_path):
    bad = """<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width"></head>
    <body>
    <p style="width: 900px">too wide</p>
    <p style="width: 2rem; overflow: hidden; white-space: nowrap">cut off here</p>
    <svg viewBox="0 0 100 20"><text x="10" y="15">one</text><text x="12" y="15">two</text>
    <text x="95" y="15">three</text></svg><svg viewBox="0 0 4000 80"><text y="40">small</text></svg>
    <img src="https://nowhere.invalid/picture.png">
    <script>console.error("oh"); nothing.at.all;</script></body></html>"""
    visit = Visit(bad, tmp_path, 400)
    assert any("too wide" in name for name in visit.found["wide"])
    assert any("cut off" in name for name in visit.found["cut"])
    assert any("three" in name for name in visit.found["cut"])
    assert visit.found["overlapping"] == ["text one / text two"]
    assert any("small" in name for name in visit.found["tiny"])
    said = " ".join(visit.console)
    assert "oh" in said
    assert "nothing is not defined" in said
    assert "Content Security Policy" in said

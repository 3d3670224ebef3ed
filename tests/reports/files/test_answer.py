"""The first screen as text; numbers against the values that the runs were made of."""

import math
import re

import pytest

from bench.record import Measurement
from reports.files.answer import answer_files, answer_text
from reports.overview.first_screen import first_screen
from reports.tables.groups import groups
from reports.tables.tidy import read_csv


@pytest.fixture(scope="module")
def found(tmp_path_factory, make, over_rho):
    """Three seeds of lapjv, a third lower at NFE 9 and even at 5."""
    from reports.build import build

    folder = tmp_path_factory.mktemp("answer")
    for seed, wobble in enumerate((0.0, 0.01, -0.01)):
        values = {5: {7: 90.0 + seed}, 9: {7: 30.0 + seed}}
        make(folder, "random", seed, found=over_rho(values))
        values = {5: {7: 90.0 * (1 + 9 * wobble)}, 9: {7: (30.0 + seed) * (2 / 3 + wobble)}}
        make(folder, "lapjv", seed, found=over_rho(values))
    built = build(folder)
    return groups(read_csv(built.csv))[0], folder


def test_the_terminal_says_the_claim_first_and_fits_its_width(found):
    group, _ = found
    lines = answer_text(first_screen(group), 80).splitlines()
    assert lines[0].endswith("which coupling at your NFE?")
    assert max(map(len, lines)) <= 80
    (said,) = [
        line for line in lines if "9 NFE" in line and "lapjv" in line and "winner" not in line
    ]
    ratios = [2 / 3 + wobble for wobble in (0.0, 0.01, -0.01)]
    mean = math.exp(sum(map(math.log, ratios)) / 3)
    assert int(re.search(r"-(\d+) %", said)[1]) == round(100 * (1 - mean))


def test_the_file_has_the_table_with_claims_in_bold(found):
    group, folder = found
    (text,) = answer_files([group]).values()
    assert (folder / "answer.md").read_text(encoding="utf-8").count("\n") == text.count("\n")
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    assert "**−33 % [" in rows["`lapjv`"]
    assert rows["`lapjv`"].count("**") == 2
    assert [float(cell) for cell in rows["random, distance"].split(" | ")[1:3]] == [91, 31]


def test_nothing_is_said_where_nothing_is_judged(tmp_path, make):
    from reports.build import build

    make(tmp_path, "random", 0, found=[Measurement("curvature_fm", 0.1, n=64)])
    group = groups(read_csv(build(tmp_path).csv))[0]
    assert answer_text(first_screen(group), 80) == ""
    (text,) = answer_files([group]).values()
    assert text.startswith("No run here measured a distance")


def test_random_pairing_has_its_own_work_too(found):
    """As the page has it, and not 0 by definition."""
    group, _ = found
    (text,) = answer_files([group]).values()
    (row,) = first_screen(group).default.table.baselines
    (line,) = [line for line in text.splitlines() if line.startswith("| random, distance")]
    assert line.endswith(f" {row.extra_work} |")

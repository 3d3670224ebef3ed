"""Published tables against our values: statistics by scipy, selection by hand."""

import csv
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from bench.record import Measurement
from reports.reproduction.__main__ import main, reproduce
from reports.reproduction.compare import _spread, compare, ratios
from reports.reproduction.records import Value, gather, merged, records_of
from reports.reproduction.table import Key, Published, load
from reports.tables.runs import ReportError
from tests.reports.conftest import COMMON, make_run

PUBLISHED = Path(__file__).parents[3] / "reports/published/published-tables"
TABLE = """
title = "A table"
source = "A paper."
values = "table.csv"
command = "python -m bench.run"
seeds = 5

[where]
nfe = 5
sampler = "heun"

[tasks.digits]
data = "digits"
command = "--data digits"

[arms.plain]
coupling = "random"

[arms.coupled]
coupling = "lapjv"
command = "--coupling lapjv"

[metrics.W2]
metric = "w2"
split = "test"

[metrics."W2^2"]
metric = "w2"
split = "test"
power = 2

[[ratios]]
metric = "W2"
of = "plain"
to = "coupled"
at_least = 1.5
"""
VALUES = """task,arm,metric,mean,sd
digits,plain,W2,3.0,0.2
digits,coupled,W2,2.0,0.1
digits,coupled,W2^2,,
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.csv").write_text(VALUES)
    path = tmp_path / "table.toml"
    path.write_text(TABLE)
    return path


@pytest.fixture
def runs(tmp_path):
    """Three seeds of both arms; rows of other settings are there too."""
    for seed in range(3):
        for coupling, base in (("random", 3.0), ("lapjv", 2.5)):
            right = Measurement("w2", base + 0.1 * seed, nfe=5, split="test", n=100, **COMMON)
            others = [
                replace(right, value=9.0, nfe=13),
                replace(right, value=9.0, split="train"),
                replace(right, value=9.0, sampler="euler"),
                replace(right, value=9.0, metric="w2_floor"),
            ]
            make_run(tmp_path / "runs", coupling, seed, found=[*others, right])
    return tmp_path / "runs"


def of(rows, arm, metric="W2"):
    return next(row for row in rows if (row.arm, row.metric) == (arm, metric))


def test_cells_are_the_measurements_that_the_table_names(table, runs):
    values = gather(load(table), records_of(runs))
    found = {}
    for value in values:
        found.setdefault(value.key, []).append(value.value)
    assert found == {
        Key("digits", "plain", "W2"): [3.0, 3.1, 3.2],
        Key("digits", "coupled", "W2"): [2.5, 2.6, 2.7],
        Key("digits", "coupled", "W2^2"): pytest.approx([6.25, 6.76, 7.29]),
    }


def test_a_verdict_is_that_of_students_test(table, runs):
    """With as many seeds on both sides it is scipy's, from the summaries of the samples."""
    loaded = replace(load(table), seeds=3)
    rows = compare(loaded, gather(loaded, records_of(runs)))
    for arm, verdict in (("plain", "agrees"), ("coupled", "differs")):
        row = of(rows, arm)
        published = loaded.cells[row.key]
        theirs = stats.ttest_ind_from_stats(
            row.ours, row.our_sd, 3, published.mean, published.sd, 3
        )
        assert row.our_sd == pytest.approx(0.1)
        assert row.difference / row.standard_error == pytest.approx(theirs.statistic)
        assert row.limit / row.standard_error == pytest.approx(stats.t.ppf(0.975, 4))
        assert row.verdict == verdict == ("agrees" if theirs.pvalue > 0.05 else "differs")
    assert of(rows, "coupled", "W2^2").verdict == "ours only"


def test_the_limit_of_five_seeds_against_five_is_that_of_eight_degrees_of_freedom(table):
    loaded = load(table)
    key = Key("digits", "plain", "W2")
    values = [Value(*key, seed=s, value=3.0 + 0.1 * s, run="r") for s in range(5)]
    row = of(compare(loaded, values), "plain")
    sd = 0.1 * math.sqrt(2.5)
    assert row.limit == pytest.approx(2.306 * math.sqrt(0.2**2 / 5 + sd**2 / 5), rel=1e-4)


def test_one_seed_gives_no_verdict_and_no_seed_is_not_run(table):
    loaded = load(table)
    value = Value("digits", "plain", "W2", seed=0, value=3.0, run="r")
    rows = compare(loaded, [value])
    assert of(rows, "plain").verdict == "no verdict"
    assert of(rows, "coupled").verdict == "not run"


def test_a_mean_that_is_not_finite_differs(table):
    loaded = replace(load(table), tolerance=0.01)
    values = [Value("digits", "plain", "W2", seed=0, value=math.nan, run="r")]
    assert of(compare(loaded, values), "plain").verdict == "differs"


def test_a_tolerance_is_relative(table):
    loaded = replace(load(table), tolerance=0.01)
    for value, verdict in ((3.029, "agrees"), (3.031, "differs")):
        values = [Value("digits", "plain", "W2", seed=0, value=value, run="r")]
        assert of(compare(loaded, values), "plain").verdict == verdict


def test_population_deviations_become_those_of_samples(table):
    table.write_text("population_sd = true\n" + TABLE)
    sd = load(table).cells[Key("digits", "plain", "W2")].sd
    assert sd == pytest.approx(0.2 * math.sqrt(5 / 4))


def test_ratios_are_of_means(table, runs):
    loaded = load(table)
    (row,) = ratios(loaded, gather(loaded, records_of(runs)))
    assert row.ours == pytest.approx(3.1 / 2.6)
    assert row.published == pytest.approx(1.5)
    assert row.verdict == "fails"
    assert ratios(loaded, [])[0].verdict == "not run"


def test_two_runs_of_one_seed_are_refused(table, runs, tmp_path):
    found = [Measurement("w2", 5.0, nfe=5, split="test", n=100, **COMMON)]
    make_run(tmp_path / "runs", "random", 0, pool=64, found=found)
    with pytest.raises(ReportError, match="digits, plain, W2: .* both have seed 0"):
        gather(load(table), records_of(runs))


def test_fields_that_runs_leave_out_have_their_default(table, runs):
    where = {"source": "gaussian"}
    loaded = replace(load(table), where=where, metrics={"W2": {"metric": "w2_floor"}})
    loaded = replace(loaded, cells={Key("digits", "plain", "W2"): Published()})
    assert not gather(loaded, records_of(runs))
    assert len(gather(replace(loaded, absent=where), records_of(runs))) == 3


def test_values_are_kept_and_replaced_by_new_ones(table):
    loaded = load(table)
    kept = [Value("digits", "plain", "W2", seed=s, value=1.0, run="old") for s in (1, 0)]
    kept.append(Value("gone", "plain", "W2", seed=0, value=1.0, run="old"))
    new = [replace(kept[0], value=2.0, run="new")]
    assert [(v.seed, v.run) for v in merged(loaded, kept, new)] == [(0, "old"), (1, "new")]


def test_the_comparison_is_made_again_from_what_was_kept(table, runs):
    page = reproduce(table, [runs])
    first = page.read_text()
    assert reproduce(table, []).read_text() == first
    assert "| digits | coupled | 2.60 ± 0.10 (3) | 2.00 ± 0.10 (5) | +0.600 |" in first
    assert "**differs**" in first
    rows = csv.DictReader((table.parent / "table.comparison.csv").read_text().splitlines())
    assert [row["verdict"] for row in rows] == ["agrees", "differs", "ours only"]


def test_what_was_not_run_is_listed_with_its_command(table, capsys):
    assert main([str(table)]) == 0
    page = capsys.readouterr().out
    assert "- digits, plain: `python -m bench.run --data digits`" in page
    assert page.count("--data digits --coupling lapjv`") == 1


def test_a_solver_benchmark_is_read_by_its_costs(table, tmp_path):
    solve = tmp_path / "solve.csv"
    solve.write_text("contender,data,n,seed,cost\nlapjv,digits,64,0,1.5\nlapjv,digits,8,0,\n")
    loaded = replace(load(table), where={"n": 64}, metrics={"W2": {}})
    loaded = replace(loaded, arms={"plain": {"contender": "lapjv"}})
    loaded = replace(loaded, cells={Key("digits", "plain", "W2"): Published(1.5)})
    (value,) = gather(loaded, records_of(solve))
    assert (value.value, value.run) == (1.5, "lapjv")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("arms.coupled", "arms.other"), "its values name 'coupled'"),
        (lambda text: text.replace("table.csv", "none.csv"), "No such file"),
        (lambda text: text.replace("title", "titel"), "unexpected keyword argument 'titel'"),
    ],
)
def test_broken_tables_are_one_line(table, capsys, edit, message):
    table.write_text(edit(TABLE))
    assert main([str(table)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.stem for path in PUBLISHED.glob("*.toml")))
def test_shipped_comparisons_are_those_of_the_shipped_values(name, tmp_path):
    kept = PUBLISHED / f"{name}.ours.csv"
    if kept.exists():
        (tmp_path / kept.name).write_bytes(kept.read_bytes())
    page = reproduce(PUBLISHED / f"{name}.toml", [], tmp_path)
    for made in (page, page.with_suffix(".csv")):
        assert made.read_bytes() == (PUBLISHED / made.name).read_bytes()


def test_values_that_differ_in_their_rounding_have_no_spread():
    assert _spread([0.1, 0.1 * (1 + 1e-15), 0.1]) == 0
    assert _spread([0.1, 0.1001]) == pytest.approx(statistics.stdev([0.1, 0.1001]))
    assert _spread([0.1]) is None

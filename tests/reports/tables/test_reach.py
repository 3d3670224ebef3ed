import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Measurement
from reports.tables.groups import groups
from reports.tables.panels import side_by_side
from reports.tables.reach import nfe_to_reach, reach
from reports.tables.tidy import read_runs


@given(st.floats(0.3, 3), st.floats(1, 100), st.floats(3.001, 34.9))
def test_a_power_law_is_inverted_exactly(power, scale, nfe):
    """Log-log interpolation is exact on value = scale * NFE^-power, whatever was measured."""
    curve = {n: scale * n**-power for n in (3, 7, 13, 35)}
    assert nfe_to_reach(curve, scale * nfe**-power) == pytest.approx(nfe, rel=1e-6)


@pytest.mark.parametrize(
    ("curve", "target", "nfe"),
    [
        ({3: 8.0, 5: 4.0}, 4.0, 5),
        ({3: 8.0, 5: 4.0}, 3.9, None),
        ({3: 8.0, 5: 4.0}, 9.0, 3),
        ({}, 1.0, None),
        ({4: 2.0, 16: 1.0, 64: 3.0}, math.sqrt(2), 8),
        ({5: 4.0, 3: 8.0}, 4.0, 5),
        ({4: 4.0, 8: 5.0, 16: 1.0}, 4.0, 4),
        ({3: math.nan, 5: 1.0}, 2.0, 5),
        ({4: 2.0, 8: math.inf, 16: 1.0}, math.sqrt(2), 8),
        ({3: 1.0, 5: -0.1}, 0.5, 5),
    ],
)
def test_edges(curve, target, nfe):
    assert nfe_to_reach(curve, target) == (None if nfe is None else pytest.approx(nfe))


def tables_of(runs):
    (group,) = groups(read_runs(runs))
    judged = [panel for panel in group.panels if panel.judged]
    tables = [reach(shared) for shared in side_by_side(judged)]
    return [table for table in tables if table]


def test_fixed_and_best_rho_have_the_same_targets(tmp_path, make, over_rho):
    for seed in range(3):
        make(
            tmp_path,
            "random",
            seed,
            found=over_rho({n: {7: 80 / n, 90: 64 / n} for n in (4, 8, 16)}),
        )
        make(
            tmp_path,
            "lapjv",
            seed,
            found=over_rho({n: {7: 90 / n, 90: 32 / n} for n in (4, 8, 16)}),
        )
    first, *_ = tables_of(tmp_path)
    assert first.title.endswith("(fd_classifier), test")
    assert first.targets == {2.0: 8.0, 1.25: 5.0, 1.1: pytest.approx(4.4)}  # random's best: 64 / 16
    found = {(schedule, arm): [r.cell.values for r in cells] for schedule, arm, cells in first.rows}
    assert found["rho 7", "random"][0] == pytest.approx(dict.fromkeys(range(3), 10.0))
    assert found["rho 7", "random"][2] == {}
    assert found["best rho", "random"][1] == pytest.approx(dict.fromkeys(range(3), 12.8))
    reached = {(schedule, arm): cells for schedule, arm, cells in first.rows}
    best = reached["best rho", "lapjv"]
    assert [r.bound for r in best] == [True, False, False]
    assert best[0].cell.ratio is None  # at NFE 4 already: nobody knows how many it needs
    assert best[1].cell.ratio == pytest.approx(0.5)
    assert best[1].cell.side == "lower"


def test_a_mean_needs_every_seed(tmp_path, make):
    for seed in range(3):
        for arm, last in (("random", 1.0), ("lapjv", (0.5, 1.0, 3.0)[seed])):
            values = {3: 9.0, 5: 4.0, 7: last}
            found = [
                Measurement("fd_classifier", v, nfe=n, split="test") for n, v in values.items()
            ]
            make(tmp_path, arm, seed, found=found)
    (table,) = tables_of(tmp_path)
    (_, _, random), (_, _, lapjv) = table.rows
    assert [r.everywhere for r in random] == [True] * 3
    assert [(r.everywhere, len(r.cell.values), r.seeds) for r in lapjv] == [(False, 2, 3)] * 3
    assert all(r.cell.ratio is None for r in lapjv)


def test_without_random_there_is_no_target(tmp_path, make):
    make(tmp_path, "lapjv")
    assert tables_of(tmp_path) == []

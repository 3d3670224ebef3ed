import math

import pytest

from bench.record import Measurement
from reports.sections._agreement import compare
from reports.sections._levels import Spec, is_hard, with_level
from reports.sections.starts import FULL, REAL, _looks, build, sweeps
from reports.tables.groups import groups
from reports.tables.tidy import read_runs
from tests.reports.pages import code


def section(runs):
    (group,) = groups(read_runs(runs))
    return build(group)


def drawn(runs):
    """Group and contents of the figures."""
    (group,) = groups(read_runs(runs))
    rows = with_level(group.rows)
    curves = rows[rows["nfe"].notna() & rows["level"].notna()]
    return group, sweeps(curves, group)


@pytest.fixture(scope="module")
def jumps(tmp_path_factory, make, started_rows):
    runs = tmp_path_factory.mktemp("jumps")
    for seed in range(3):
        make(runs, "random", seed, found=started_rows("random", seed))
    return runs


def test_specs_are_taken_apart():
    spec = Spec.of("ot-prior:sigma=2,tau=0.1,targets=test")
    assert str(spec.without("sigma")) == "ot-prior:tau=0.1,targets=test"
    assert [
        is_hard(Spec.of(s), None)
        for s in ("expressway:sigma=1", "ot-prior:tau=0", "ot-prior:tau=0.1", "random-index")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_four_panels_over_the_level(jumps):
    _, found = drawn(jumps)
    assert [sweep.title for sweep in found] == ["random, NFE 5", "random, NFE 9"]
    charts = found[0].charts
    assert [code(chart.title) for chart in charts] == [
        "fd_classifier, train",
        "fd_classifier, held-out",
        "copy_rate_classifier, train",
        "mode_mixture_0.2_classifier",
    ]
    assert [line.name for line in charts[0].lines] == [
        "expressway",
        "ot-prior",
        "ot-prior:tau=0.1",
        "random-index",
        "truncated",
    ]
    assert list(charts[0].lines[0].points) == [0.5, 2.0, 10.0]
    assert charts[1].levels == {FULL: pytest.approx(16 * 1.03)}
    assert charts[3].levels == {FULL: pytest.approx(0.03), REAL: pytest.approx(0.02)}
    kinds = {line.name for line in charts[0].lines}
    assert set(_looks(kinds)) >= kinds | {FULL, REAL}


def test_costs_of_the_starts(jumps):
    costs = section(jumps).costs
    names = [metric for metric, _ in costs.columns]
    assert set(names) >= {"start_sigma", "start_targets", "prior_error"}
    cells = {row.place: dict(zip(names, row.cells, strict=True)) for row in costs.rows}
    assert cells["expressway:sigma=0.5",]["start_fit_seconds"].mean == 13.0
    assert cells["truncated:sigma=0.5",]["start_chi2"] is None


def test_standard_errors_are_of_the_differences_seed_by_seed():
    alike = compare({0: 10.1, 1: 20.2, 2: 29.9}, {0: 10.0, 1: 20.0, 2: 30.0})
    error = math.sqrt(((0.1 - 0.2 / 3) ** 2 + (0.2 - 0.2 / 3) ** 2 + (-0.1 - 0.2 / 3) ** 2) / 2 / 3)
    assert alike.errors == pytest.approx(0.2 / 3 / error)
    assert alike.seeds == 3
    assert compare({0: 1.0}, {0: 2.0}).errors is None
    assert compare({0: 1.0}, {1: 1.0}) is None
    assert compare({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).errors == math.inf
    assert compare({0: 2.0, 1: 3.0}, {0: 2.0, 1: 3.0}).errors == 0


def test_agreement_in_words(jumps, tmp_path, make, started_rows):
    first, second = section(jumps).agreement
    assert first.startswith(
        "random: expressway and random-index agree in fd_classifier within three standard errors"
        " at all"
    )
    assert "12 settings (level, NFE, split; 3 seeds)" in first
    assert "ot-prior and" in second
    make(tmp_path, found=started_rows("random", 0))
    assert "share only one seed, so no error is known" in section(tmp_path).agreement[0]


def test_a_difference_is_named(tmp_path, make, started_rows):
    from dataclasses import replace

    for seed in range(3):
        rows = started_rows("random", seed, nfes=(5,))
        worse = [
            replace(m, value=1.5 * m.value) if m.start == "expressway:sigma=2" and m.nfe else m
            for m in rows
        ]
        make(tmp_path, "random", seed, found=worse)
    line = section(tmp_path).agreement[0]
    assert (
        "differ in fd_classifier by more than three standard errors at 2 of all 6 settings" in line
    )
    assert "sigma 2, NFE 5, test: 21.7 vs 14.4" in line


def test_the_stochastic_tail_is_a_setting_of_its_own(tmp_path, make, started_rows):
    rows = [*started_rows("random", 0, (5,)), *started_rows("random", 0, (5,), "euler-maruyama")]
    make(tmp_path, found=[*{m.key: m for m in rows}.values()])
    titles = [sweep.title for sweep in drawn(tmp_path)[1]]
    assert titles == ["random, sampler euler-maruyama", "random, sampler heun"]


def test_a_start_without_its_level_is_named_not_drawn(tmp_path, make, started_rows):
    rows = [
        m
        for m in started_rows("random", 0)
        if m.metric != "start_sigma" or "truncated" not in m.start
    ]
    make(tmp_path, found=rows)
    found = section(tmp_path)
    assert found.unplaced == [f"truncated:sigma={level}" for level in ("0.5", "10", "2")]
    assert "truncated" not in {line.name for line in drawn(tmp_path)[1][0].charts[0].lines}


def test_without_other_starts_there_is_no_section(study):
    assert section(study) is None


@pytest.mark.parametrize(
    ("spec", "recorded", "hard"),
    [
        ("my_project.nearest:sigma=1", 1.0, True),
        ("my_project.nearest:sigma=1", 0.0, False),
        ("my_project.nearest:sigma=1,tau=soft", None, False),
        ("expressway:sigma=1", 0.0, False),
        # The control takes whole targets too, but is compared with nothing.
        ("random-index:sigma=1", 1.0, False),
    ],
)
def test_a_start_is_hard_if_its_run_recorded_so(spec, recorded, hard):
    assert is_hard(Spec.of(spec), recorded) == hard


def test_a_hard_start_of_the_users_own_is_compared_with_random_jumps(tmp_path, make, started_rows):
    from dataclasses import replace

    for seed in range(3):
        rows = []
        for row in started_rows("random", seed):
            if row.start and row.start.startswith("truncated"):
                row = replace(row, start=row.start.replace("truncated", "my_project.nearest"))
            rows.append(row)
        starts = {row.start for row in rows if row.start and row.start.startswith("my_project")}
        rows += [Measurement("start_whole_targets", 1.0, start=start) for start in sorted(starts)]
        make(tmp_path, "random", seed, found=rows)
    lines = section(tmp_path).agreement
    assert any("my_project.nearest and random-index differ" in line for line in lines)

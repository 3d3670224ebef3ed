from bench.record import Measurement
from reports.sections.adaptive import build
from reports.tables.groups import groups
from reports.tables.tidy import read_runs

PLACE = {"sampler": "dopri5:tolerance=0.01", "start": "gaussian", "guidance": "none"}
TIGHT = {"sampler": "dopri5:tolerance=0.0001"}


def tables_of(runs):
    (group,) = groups(read_runs(runs))
    return build(group) or [], group


def found_at(nfe, value, **more):
    place = PLACE | more
    return [
        Measurement("fd_classifier", value, nfe=nfe, split="test", n=5000, **place),
        Measurement("truncation_error", value / 100, nfe=nfe, n=512, **place),
    ]


def test_runs_meet_at_equal_tolerances(tmp_path, make):
    """Each takes its own number of evaluations; the arm that needs more at one tolerance is still
    beside the other.
    """
    for seed in range(3):
        make(
            tmp_path,
            "random",
            seed,
            found=found_at(40 + seed, 5.0) + found_at(90 + seed, 2.0, **TIGHT),
        )
        make(tmp_path, "lapjv", seed, found=found_at(20 + seed, 6.0) + found_at(45, 3.0, **TIGHT))
    (table,), group = tables_of(tmp_path)
    assert table.metrics == [("fd_classifier", "test"), ("truncation_error", "")]
    assert [
        (row.coupling, row.tolerance, row.nfe.mean, row.cells[0].mean) for row in table.rows
    ] == [
        ("random", 0.01, 41.0, 5.0),
        ("lapjv", 0.01, 21.0, 6.0),
        ("random", 0.0001, 91.0, 2.0),
        ("lapjv", 0.0001, 45.0, 3.0),
    ]
    assert [row.nfe.side for row in table.rows] == ["unclear", "lower"] * 2
    assert group.panels == []  # nowhere else on the page


def test_each_guidance_has_its_own_table(tmp_path, make):
    make(tmp_path, found=found_at(40, 5.0) + found_at(30, 5.0, guidance="other"))
    found, _ = tables_of(tmp_path)
    assert [(table.settings, [row.nfe.mean for row in table.rows]) for table in found] == [
        ("guidance none", [40.0]),
        ("guidance other", [30.0]),
    ]


def test_without_the_adaptive_sampler_there_is_no_table(study):
    assert tables_of(study)[0] == []

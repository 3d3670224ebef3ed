from bench.record import Measurement
from reports.sections.adaptive import build
from reports.tables.groups import groups
from reports.tables.tidy import read_runs

LOOSE = "dopri5:tolerance=0.01"
PLACE = {"sampler": LOOSE, "start": "gaussian", "guidance": "none"}
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
    """Each takes its own number of evaluations; the coupling that needs more at one tolerance is
    still compared with the other.
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
    assert [(row.coupling, row.sampler, row.nfe.mean, row.cells[0].mean) for row in table.rows] == [
        ("random", LOOSE, 41.0, 5.0),
        ("lapjv", LOOSE, 21.0, 6.0),
        ("random", TIGHT["sampler"], 91.0, 2.0),
        ("lapjv", TIGHT["sampler"], 45.0, 3.0),
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


def test_a_sampler_of_the_users_own_that_chooses_its_steps_is_adaptive(tmp_path, make):
    """It has an NFE and no rho, whatever its name and options are."""
    place = {"sampler": "my_project.careful:effort=2"}
    make(tmp_path, found=found_at(40, 5.0) + found_at(30, 6.0, **place))
    (table,), group = tables_of(tmp_path)
    # The fewest evaluations first
    assert [row.sampler for row in table.rows] == [place["sampler"], LOOSE]
    assert [row.nfe.mean for row in table.rows] == [30.0, 40.0]
    assert group.panels == []


def test_a_value_per_run_without_rho_is_of_no_adaptive_sampler(tmp_path, make):
    path = Measurement("curvature_fm", 0.1, nfe=255, sampler="heun", n=64)
    make(tmp_path, found=[path, *found_at(40, 5.0)])
    (table,), group = tables_of(tmp_path)
    assert ("curvature_fm", "") not in table.metrics
    assert [panel.metric for panel in group.panels] == ["curvature_fm"]


def test_a_chosen_rho_is_of_no_adaptive_sampler(tmp_path, make):
    """Its row has an NFE and no rho, because rho is its value."""
    plain = {"sampler": "heun", "start": "gaussian", "guidance": "none"}
    chosen = Measurement("best_schedule_classifier", 9.0, nfe=5, split="train", n=128, **plain)
    make(tmp_path, "random", found=[chosen])
    assert tables_of(tmp_path)[0] == []

"""Flow matching against EDM: the numbers are those of the synthetic runs."""

import pytest

from reports.build import build
from reports.files.terminal import terminal_table
from reports.files.wide import wide_files
from reports.overview.summary import summarise
from reports.sections import objectives, schedules
from reports.sections.objectives import pairs
from reports.tables.arms import Arm
from reports.tables.groups import groups
from reports.tables.tidy import read_runs
from tests.reports.pages import code


@pytest.fixture(scope="module")
def group(both_objectives):
    (found,) = groups(read_runs(both_objectives))
    return found


def test_each_objective_is_shown_at_its_fixed_and_at_its_best_schedule(group):
    titles = {panel.title for panel in group.curves if panel.metric == "fd_classifier"}
    assert titles >= {
        "fd_classifier, test, fixed schedule",
        "fd_classifier, test, best schedule",
    }
    (fixed, best) = [p for p in group.curves if (p.metric, p.split) == ("fd_classifier", "test")]
    for arm in group.own_couplings:
        for nfe in fixed.cells:
            assert best.cells[nfe][arm].mean == pytest.approx(fixed.cells[nfe][arm].mean / 2)
    assert set(fixed.rows["schedule"]) == {"karras:rho=7", "flow:shift=1"}
    assert set(best.rows["schedule"]) == {"karras:rho=20", "flow:shift=3"}


def test_curvature_of_both_is_one_panel(group):
    (panel,) = [panel for panel in group.values if panel.metric == "curvature_fm"]
    assert list(panel.cells[None]) == ["random", "lapjv", "random, flow", "lapjv, flow"]


def test_flow_is_compared_with_edm_of_the_same_coupling(group):
    content = objectives.build(group)
    assert content.objectives == ["edm", "flow"]
    by_title = {code(table.title): table for table in content.tables}
    table = by_title["fd_classifier, test, best schedule"]
    assert [(row.arm, row.against) for row in table.rows] == [
        ("random, flow", "random"),
        ("lapjv, flow", "lapjv"),
    ]
    for row in table.rows:
        ratios = [cell.ratio for cell in row.cells]
        assert ratios == pytest.approx([0.8, 0.8, 1.25, 1.25])
        assert f"lower (better) than {row.against} at NFE 3 and 5" in row.words
        assert f"higher (worse) than {row.against} at NFE 13 and 35" in row.words
        assert "the mean changes sign between NFE 5 and 13" in row.words
    (row, _) = by_title["curvature_fm"].rows
    assert row.words.startswith("lower (better) than random: −20 %")


def test_one_objective_has_no_such_section(study):
    (group,) = groups(read_runs(study))
    assert objectives.build(group) is None


def test_the_reference_is_edm_under_its_own_law():
    arms = [
        Arm("lapjv", "lapjv", "edm", (-1.2, 1.2)),
        Arm("lapjv, P_mean 0, P_std 2", "lapjv", "edm", (0.0, 2.0)),
        Arm("knn, flow", "knn", "flow", None),
        Arm("lapjv, flow", "lapjv", "flow", None),
    ]
    assert pairs(arms) == [("lapjv, flow", "lapjv")]


def test_the_summary_speaks_of_schedules(group):
    summary = summarise(group)
    assert "Best schedule: chosen at each NFE" in summary.schedule
    labels = [view.label for view in summary.findings[0].views]
    assert labels == ["at fixed schedule", "each coupling at its own best schedule"]
    claims = dict(summary.findings[0].views[0].claims)
    assert list(claims) == ["lapjv", "lapjv, flow"]
    assert [headline.coupling for headline in summary.headlines] == ["lapjv", "lapjv, flow"]


def test_first_passes_have_the_words_of_their_schedules(group):
    content = schedules.build(group)
    nouns = {heat.coupling: heat.noun for heat in content.tables[0]}
    assert nouns == {
        "random": "rho", "lapjv": "rho", "random, flow": "shift", "lapjv, flow": "shift",
    }  # fmt: skip
    flow = content.tables[0][-1]
    assert [flow.short(schedule) for schedule in flow.means] == ["1", "3"]


def test_the_page_the_terminal_and_the_wide_files_have_all_arms(both_objectives, group, tmp_path):
    text = build(both_objectives, tmp_path).html.read_text()
    for words in ("Objectives compared", "best schedule", "shift \\ NFE", "rho \\ NFE"):
        assert words in text
    assert "lapjv, flow" in terminal_table(group.rows)
    header = wide_files([group])["fd_vs_nfe.csv"].splitlines()[0]
    assert '"lapjv, flow, best schedule mean"' in header


def test_flow_alone_speaks_of_shift(tmp_path, make, by_objective):
    for coupling in ("random", "lapjv"):
        found = by_objective(coupling, 0, "flow")
        make(tmp_path, coupling, training={"objective": "flow"}, found=found)
    (group,) = groups(read_runs(tmp_path))
    assert group.own_couplings == ["random", "lapjv"]
    titles = [panel.title for panel in group.curves if panel.metric == "fd_classifier"]
    assert "fd_classifier, test, shift 1" in titles
    assert "fd_classifier, test, best shift" in titles
    assert "Best shift: chosen" in summarise(group).schedule
    page = build(tmp_path).html.read_text()
    assert "Best shift for fd_classifier is at the upper end of the search" in page

"""Classifier-free guidance: the numbers are those of the synthetic runs."""

import pandas as pd
import pytest

from bench.record import Measurement
from bench.record.specs import cfg
from reports.build import build as build_page
from reports.files.wide import wide_files
from reports.sections import guidance
from reports.sections.classifier_free import LEAKAGE, build
from reports.tables.groups import groups
from reports.tables.tidy import read_csv, read_runs

PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "n": 2000}
# Of lapjv to random pairing, by weight: guidance takes the gain away.
RATIOS = {0.0: 0.8, 1.0: 0.9, 2.0: 1.0, 4.0: 1.5}
WORDS = {"conditional": True, "label_dropout": 0.1}


def rows_of(coupling, seed, weights=tuple(RATIOS), **more):
    """Distance and class agreement at two numbers of steps, and the leakage of the training."""
    found = [Measurement(LEAKAGE, 0.02 if coupling == "lapjv" else 0.0, n=20)]
    for weight in weights:
        evaluations = 1 if weight in (0, 1) else 2
        for steps in (5, 9):
            place = {"nfe": steps * evaluations, "guidance": cfg(weight), **PLACE, **more}
            ratio = RATIOS[weight] if coupling == "lapjv" else 1.0
            value = 100 / steps * (1 + weight) * ratio * (1 + 0.03 * seed)
            for split, factor in (("test", 1.0), ("train", 0.5)):
                found.append(Measurement("fd_classifier", value * factor, split=split, **place))
            agreement = 0.2 * (1 + weight) * ratio / 2
            found.append(Measurement("class_agreement_classifier", agreement, **place))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make):
    folder = tmp_path_factory.mktemp("runs")
    for coupling in ("random", "lapjv"):
        for seed in range(3):
            make(folder, coupling, seed, training=WORDS, found=rows_of(coupling, seed))
    return folder


@pytest.fixture(scope="module")
def group(runs):
    (found,) = groups(read_runs(runs))
    return found


def test_each_weight_and_nfe_is_compared_with_random_at_the_same(group):
    content = build(group)
    distance, agreement = content.tables
    assert distance.title == "fd_classifier, test"
    assert distance.couplings == ["random", "lapjv"]
    assert [(row.weight, row.nfe) for row in distance.rows] == [
        (0, 5), (0, 9), (1, 5), (1, 9), (2, 10), (2, 18), (4, 10), (4, 18),
    ]  # fmt: skip
    for table in (distance, agreement):
        for row in table.rows:
            assert row.cells["lapjv"].ratio == pytest.approx(RATIOS[row.weight])
    # Mean over seeds 0, 3 and 6 % above 100 / 9 (1 + 4) 1.5.
    assert distance.rows[-1].cells["lapjv"].mean == pytest.approx(100 / 9 * 5 * 1.5 * 1.03)
    assert content.others == []


def test_claims_are_adjusted_for_each_other(group):
    """Sixteen comparisons, of which those of weight 2 are equal to random pairing."""
    for table in build(group).tables:
        for row in table.rows:
            cell = row.cells["lapjv"]
            assert cell.role == "other"
            assert cell.adjusted >= cell.p
            assert (cell.side == "unclear") == (row.weight == 2)


def test_the_leakage_stands_beside(group):
    leakage = build(group).leakage
    assert {name: cell.mean for name, cell in leakage.items()} == {"random": 0.0, "lapjv": 0.02}
    assert "explains" in build(group).about


def test_a_wide_table_holds_each_weight(group, runs, tmp_path):
    build_page(runs, tmp_path)
    wide = pd.read_csv(tmp_path / "cfg_vs_nfe.csv").set_index(["metric", "weight", "nfe"])
    distance, agreement = build(group).tables
    for table in (distance, agreement):
        for row in table.rows:
            found = wide.loc[(table.info.name, row.weight, row.nfe)]
            assert found["lapjv mean"] == row.cells["lapjv"].mean
            assert found["random seeds"] == 3
    assert len(wide) == len(distance.rows) + len(agreement.rows)
    assert "fd\\_classifier, test, weight 2**" in (tmp_path / "cfg_vs_nfe.md").read_text()


def test_guided_rows_are_in_no_other_part_of_the_page(group, runs, tmp_path):
    assert set(group.plain.rows["guidance"].dropna()) == {"none"}
    assert guidance.build(group) is None
    page = build_page(runs, tmp_path)
    text = page.html.read_text()
    assert text.count('<th scope="row">4</th><td>18</td>') == 2
    # The table holds them, and is read as it was written.
    (again,) = groups(read_csv(page.csv))
    assert build(again).tables[0].rows == build(group).tables[0].rows


def test_settings_are_named_and_kept_apart(tmp_path, make):
    for coupling in ("random", "lapjv"):
        found = rows_of(coupling, 0) + rows_of(coupling, 0, sampler="euler")
        # The adaptive sampler has no NFE to compare at, and a start no part in this.
        found += rows_of(coupling, 0, sampler="dopri5:tolerance=0.0001", rho=None)
        found += rows_of(coupling, 0, start="truncated:sigma=0.5")
        unique = [*{row.key: row for row in found}.values()]
        make(tmp_path, coupling, training=WORDS, found=unique)
    (group,) = groups(read_runs(tmp_path))
    tables = build(group).tables
    assert [table.title for table in tables[:2]] == [
        "fd_classifier, test, sampler euler",
        "fd_classifier, test, sampler heun",
    ]
    assert all(len(table.rows) == 8 for table in tables)


def test_without_guided_rows_there_is_no_section(tmp_path, make, study):
    (group,) = groups(read_runs(study))
    assert build(group) is None
    assert "cfg_vs_nfe.csv" not in wide_files([group])
    make(tmp_path, training=WORDS, found=rows_of("random", 0, weights=(1.0,)))
    (group,) = groups(read_runs(tmp_path))
    assert build(group) is None

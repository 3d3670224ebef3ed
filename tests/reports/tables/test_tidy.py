import csv
import math
import re

import pandas as pd
import pytest

from bench.record import Measurement
from reports.build import build
from reports.files.terminal import terminal_table
from reports.tables import groups
from reports.tables import tidy as tables
from reports.tables.runs import flatten, read

NFES = (3, 5, 13, 35)
FACTORS = {
    "random": [1, 1, 1, 1],
    "lapjv": [0.6, 0.6, 1.25, 1.25],
    "sinkhorn:epsilon=0.05": [0.9] * 4,
}


@pytest.fixture(scope="module")
def table(study):
    return tables.read_runs(study)


def test_one_row_per_measurement(study, table):
    assert len(table) == sum(len(run.measurements) for run in read(study)[0])
    names = (
        "run_id data coupling pool seed metric value nfe rho schedule sampler start guidance split"
        " n sigma"
    )
    assert " ".join(table.columns[: len(tables.COLUMNS)]) == names
    row = table[
        table.coupling.eq("lapjv")
        & table.metric.eq("fd_classifier")
        & table.seed.eq(2)
        & table.nfe.eq(5)
    ]
    assert row[row.split.eq("test")].value.item() == 80 / 5 * 0.6 * 1.06
    assert row.rho.eq(7.0).all()
    assert row.schedule.eq("karras:rho=7").all()
    ms = table[table.metric == "coupling_ms"]
    assert ms[["nfe", "rho", "sampler", "split"]].isna().all(axis=None)


def test_the_configuration_follows_and_the_fields_that_vary_come_first(tmp_path, make):
    make(tmp_path)
    run = make(tmp_path, images=100_000, training={"weight_decay": 0.01, "lr": 3e-4})
    table = tables.read_runs(tmp_path)
    extra = list(table.columns)[len(tables.COLUMNS) :]
    varying = ["training.images", "training.lr", "training.weight_decay"]
    assert extra[:3] == varying
    assert extra[3:-1] == sorted(extra[3:-1])
    assert extra[-1] == "data_checksum"
    assert sorted(set(table["training.images"])) == [100_000, 200_000]
    # All of config.json, but for what has a column under another name and what is empty.
    config = {key: value for key, value in flatten(run.config()).items() if value is not None}
    own = ("data", "coupling", "seed", "training.pool")
    row = table[table.run_id.eq(run.run_id)].iloc[0]
    assert {name: row[name] for name in config if name not in own} == {
        name: value for name, value in config.items() if name not in own
    }
    # And what it leaves out because runs of earlier versions had no choice.
    assert row["training.objective"] == "edm"
    assert row["source"] == "gaussian"


def test_csv_round_trip(tmp_path, make):
    odd = [
        Measurement("fd_classifier", 0.1 + 0.2, nfe=5, split="test", n=10),
        Measurement("coupling_ms", math.nan),
    ]
    odd += [
        Measurement("loss_profile", 1e-300, sigma=0.002),
        Measurement("truncation_error", math.inf, nfe=3),
    ]
    make(tmp_path, 'a,"b"\nc', found=odd)
    make(tmp_path, images=100_000, data="nan")
    table = tables.read_runs(tmp_path)
    path = tmp_path / "results.csv"
    tables.write_csv(table, path)
    pd.testing.assert_frame_equal(tables.read_csv(path), table)
    with path.open(newline="") as file:
        read_by_hand = list(csv.DictReader(file))
    assert len(read_by_hand) == len(table)
    assert any(row["value"] == repr(0.1 + 0.2) for row in read_by_hand)
    assert [row["nfe"] for row in read_by_hand if row["metric"] == "coupling_ms"][0] == ""
    assert not list(tmp_path.glob(".results*"))


def test_the_order_does_not_depend_on_the_order_of_the_runs(study):
    runs, _ = read(study)
    pd.testing.assert_frame_equal(tables.results(runs[::-1]), tables.results(runs))
    assert tables.results(runs).coupling.iloc[0] == "random"


def test_no_runs_give_an_empty_table():
    empty = tables.results([])
    assert list(empty.columns) == list(tables.COLUMNS)
    assert groups.groups(empty) == []
    assert terminal_table(empty).strip() == ""


def test_groups_hold_what_may_be_compared(tmp_path, make):
    for coupling in ("random", "lapjv"):
        make(tmp_path, coupling)
        make(tmp_path, coupling, seed=1)
        make(tmp_path, coupling, pool=256)
        make(tmp_path, coupling, images=100_000)
    make(tmp_path, data="moons")
    titles = {group.title: group.seeds for group in groups.groups(tables.read_runs(tmp_path))}
    assert titles == {
        "digits, pool 256, training.images 200000": {"random": [0], "lapjv": [0]},
        "digits, pool 1024, training.images 100000": {"random": [0], "lapjv": [0]},
        "digits, pool 1024, training.images 200000": {"random": [0, 1], "lapjv": [0, 1]},
        "moons, pool 1024": {"random": [0]},
    }


def test_each_setting_has_its_own_panel(tmp_path, make):
    found = [Measurement("fd_classifier", rho, nfe=5, split="test", rho=rho) for rho in (7.0, 90.0)]
    found += [Measurement("loss_profile", 1.0, sigma=0.5)]
    make(tmp_path, found=found)
    (group,) = groups.groups(tables.read_runs(tmp_path))
    assert [(p.title, p.cells[5]["random"].mean) for p in group.panels] == [
        ("fd_classifier, test, rho 7", 7.0),
        ("fd_classifier, test, rho 90", 90.0),
    ]


def test_metrics_of_the_run_are_one_panel_whatever_their_n(tmp_path, make):
    make(tmp_path, found=[Measurement("coupling_ms", 0.0, n=200)])
    make(tmp_path, "lapjv", found=[Measurement("coupling_ms", 9.0, n=201)])
    (group,) = groups.groups(tables.read_runs(tmp_path))
    (panel,) = group.panels
    assert not panel.per_nfe
    assert {arm: cell.mean for arm, cell in panel.cells[None].items()} == {
        "random": 0.0,
        "lapjv": 9.0,
    }


def test_an_unknown_metric_is_shown_too(tmp_path, make):
    make(tmp_path, found=[Measurement("novelty", 1.0, nfe=5), Measurement("memory_gb", 2.0)])
    (group,) = groups.groups(tables.read_runs(tmp_path))
    assert [(p.metric, p.per_nfe) for p in group.panels] == [
        ("memory_gb", False),
        ("novelty", True),
    ]


def test_cost_cut(table):
    (group,) = groups.groups(table)
    assert group.cost_cut == pytest.approx(
        {"random": 0.0, "lapjv": 0.3, "sinkhorn:epsilon=0.05": 0.3}
    )


def test_a_setting_that_is_missing_is_said_in_words(tmp_path, make):
    """Rows without rho or sampler beside rows with them, as of a metric from another hand."""
    place = {"nfe": 5, "split": "test", "start": "gaussian", "guidance": "none"}
    for seed in range(2):
        found = [Measurement("fd_classifier", 2.0, rho=7.0, sampler="heun", n=9, **place)]
        found += [Measurement("fd_classifier", 3.0, rho=7.0, sampler="heun", **place)]
        found += [Measurement("fd_classifier", 4.0, **place), Measurement("probe", 1.0, rho=7.0)]
        found += [Measurement("probe", 2.0), Measurement("fd_classifier", 4.0, nfe=5, split="test")]
        found += [
            Measurement("profile", 2.0, sigma=1.0),
            Measurement("profile", 2.0, sigma=1.0, rho=3.0, n=4),
        ]
        found += [Measurement("grid_fd_classifier", 3.0, rho=7.0, split="train", nfe=5)]
        found += [
            Measurement("grid_fd_classifier", 3.0, rho=7.0, split="train", nfe=5, sampler="euler")
        ]
        make(tmp_path, "random", seed, found=found)
    (group,) = groups.groups(tables.read_runs(tmp_path))
    titles = [panel.title for panel in group.panels]
    assert {"without sampler", "without n"} <= {
        part for title in titles for part in title.split(", ")
    }
    written = build(tmp_path)
    for text in (written.html.read_text(), terminal_table(group.rows), *titles):
        text = text.replace("&lt;", "<").replace("&gt;", ">")
        assert not re.search(r"\b(rho|sampler|start|guidance|n|nfe) (nan|<NA>|None)", text)


def test_fewer_images_come_first(tmp_path, make):
    rows = [
        Measurement(
            "fd_classifier",
            1.0,
            nfe=5,
            rho=7.0,
            split="test",
            sampler="heun",
            start="gaussian",
            n=n,
        )
        for n in (2000, 50_000, 500)
    ]
    make(tmp_path, found=rows)
    (group,) = groups.groups(tables.read_runs(tmp_path))
    assert [panel.settings for panel in group.panels] == ["n 500", "n 2000", "n 50000"]

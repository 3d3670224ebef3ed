"""A results.csv is a study too: of today with its configuration, of earlier versions without."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import reports
from reports.build import build
from reports.overview.warnings import warnings
from reports.tables.groups import groups
from reports.tables.runs import ReportError
from reports.tables.studies import opened
from reports.tables.tidy import COLUMNS, read_csv, results
from slurm.sweep import read as read_sweep
from tests.reports.conftest import make_run, measurements

PUBLISHED = Path(__file__).parents[3] / "reports/published"
FEATURES = {"features": {"classifier": "weights-1"}, "feature_sizes": {"classifier": 64}}


@pytest.fixture
def halves(tmp_path):
    """Seeds 0 and 1 in a results.csv without their folders, and seed 2 in a folder."""

    def make(**origin):
        for seed in range(3):
            for arm in ("random", "lapjv", "sinkhorn:epsilon=0.05"):
                for folder in ("all", "early" if seed < 2 else "late"):
                    make_run(tmp_path / folder, arm, seed, **origin)
        shutil.copy(build(tmp_path / "early").csv, tmp_path / "early.csv")
        return tmp_path / "early.csv", tmp_path / "late", tmp_path / "all"

    return make


def test_a_table_and_later_seeds_give_the_table_of_all(halves, tmp_path):
    early, late, everything = halves(**FEATURES)
    report = build([early, late], tmp_path / "out")
    assert report.csv.read_bytes() == build(everything).csv.read_bytes()
    assert [note for note in report.notes if "no pictures" in note]
    # And again: what was written holds all that the next seeds need.
    again = build([report.csv, late], tmp_path / "again")
    assert again.csv.read_bytes() == report.csv.read_bytes()
    with opened([early, late]) as found:
        table = results(found.runs)
        said = " ".join(warnings(groups(table, found.runs), found.runs))
    assert "6 runs of 9 were read from a results.csv" in said
    assert "different hardware" not in said
    assert "different data" not in said


def test_a_row_says_its_configuration_and_origin(halves):
    early, *_ = halves(**FEATURES)
    table = read_csv(early)
    assert list(table.columns)[: len(COLUMNS)] == list(COLUMNS)
    row = table.iloc[0]
    for name, value in {
        "training.images": 200_000,
        "training.objective": "edm",
        "training.lr": 0.001,
        "network.channel_mult": "[1, 2]",
        "evaluation.sigma_max": 80,
        "source": "gaussian",
        "data_checksum": "digits",
        "features.classifier": "weights-1",
        "feature_sizes.classifier": 64,
    }.items():
        assert row[name] == value, name


def test_other_data_or_features_are_refused_as_of_folders(halves, tmp_path):
    early, late, _ = halves(**FEATURES)
    shutil.rmtree(late)
    for arm in ("random", "lapjv"):
        make_run(late, arm, 2, features={"classifier": "weights-2"})
    with pytest.raises(ReportError, match=r"features.classifier differs.*copy .cache/classifier"):
        build([early, late], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def old(table, path):
    """Write a table as versions before the schedules and the configuration did."""
    names = [name for name in COLUMNS if name != "schedule"]
    table[names].to_csv(path, index=False)
    return path


def test_the_hash_in_a_name_proves_the_configuration_of_an_old_table(halves, tmp_path):
    early, late, everything = halves()
    table = old(read_csv(early), tmp_path / "old.csv")
    report = build([table, late], tmp_path / "out")
    expected = read_csv(build(everything).csv)
    found = read_csv(report.csv)
    # All but the checksum, which nothing proves.
    same = [name for name in expected if name != "data_checksum"]
    pd.testing.assert_frame_equal(found[same], expected[same])
    assert found["data_checksum"][found["seed"] < 2].isna().all()
    assert any("taken to be those of the other runs" in note for note in report.notes)


def test_an_old_table_of_another_configuration_is_refused(tmp_path):
    make_run(tmp_path / "a", "random", images=100_000)
    make_run(tmp_path / "b", "random", 1, images=200_000)
    table = old(read_csv(build(tmp_path / "a").csv), tmp_path / "old.csv")
    with pytest.raises(ReportError, match="does not record the configuration") as caught:
        build([table, tmp_path / "b"], tmp_path / "out")
    assert "\n" not in str(caught.value)
    # Other data are never compared with it, so nothing needs to be known.
    make_run(tmp_path / "c", "random", data="moons")
    assert len(read_csv(build([table, tmp_path / "c"], tmp_path / "out").csv)) == 2 * len(
        measurements("random", 0)
    )


@pytest.mark.filterwarnings("ignore:.*holds no pictures")
@pytest.mark.parametrize("name", ["fashion-mnist-16", "pool-size"])
def test_published_tables_are_read_as_they_are(name):
    path = PUBLISHED / name / "results.csv"
    pd.testing.assert_frame_equal(reports.load(path), read_csv(path)[list(COLUMNS)])


@pytest.mark.parametrize("name", ["digits-pools", "fashion-mnist-16", "pool-size"])
def test_later_seeds_of_a_published_sweep_can_join_its_table(name):
    """The sweep gives the names of its runs today, by which a configuration is proven."""
    known = {entry.run_id for entry in read_sweep(PUBLISHED / name / "sweep.toml").entries()}
    published = set(pd.read_csv(PUBLISHED / name / "results.csv", usecols=["run_id"])["run_id"])
    assert published <= known


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,b\n1,2\n", "is no results.csv: it has no column"),
        ("", "is no results.csv"),
        (",".join(COLUMNS) + "\n" + ",".join(["x"] * len(COLUMNS)) + "\n", "is damaged"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, part):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(ReportError, match=part) as caught:
        reports.load(tmp_path / "results.csv")
    assert "\n" not in str(caught.value)


def test_rows_that_were_marked_as_not_comparable_are_no_source(tmp_path):
    make_run(tmp_path / "runs", "random")
    make_run(tmp_path / "runs", "lapjv", data_checksum="others")
    table = build(tmp_path / "runs", mixed=True).csv
    with pytest.raises(ReportError, match="marked as not comparable"):
        build([table], tmp_path / "out")


def test_a_network_from_a_file_is_the_same_in_its_folder_and_in_a_table(tmp_path):
    for digit in "12":
        make_run(tmp_path / "runs", "net", checkpoint=digit * 64)
    table = shutil.copy(build(tmp_path / "runs").csv, tmp_path / "results.csv")
    with opened([tmp_path / "runs", table]) as found:
        assert len(found.runs) == 2
        assert sorted(run.config["coupling"] for run in found.runs) == [
            "net (11111111)",
            "net (22222222)",
        ]

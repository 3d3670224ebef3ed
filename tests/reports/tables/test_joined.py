"""The same run in two studies, and runs that only look the same."""

import math
import shutil
from dataclasses import replace

import pytest

from bench.record import Measurement, RunFolder
from reports.tables.runs import ReportError
from reports.tables.studies import opened
from tests.reports.conftest import make_run

PLACE = {"nfe": 5, "split": "test", "n": 500, "sampler": "heun"}
ROWS = [
    Measurement("fd_classifier", 12.5, rho=7.0, **PLACE),
    Measurement("transport_cost", 90.0),
    Measurement("truncation_error", math.nan, nfe=5),
    Measurement("train_seconds", 60.0),
    Measurement("coupling_share", 0.25),
]
MORE = Measurement("fd_classifier", 10.0, rho=9.0, **PLACE)
OTHER = Measurement("fd_pixels", 3.0, rho=7.0, **PLACE)


def changed(rows, metric, value):
    return [replace(row, value=value) if row.metric == metric else row for row in rows]


@pytest.fixture
def joined(tmp_path):
    """The runs and notes of one run with these rows in two folders, a and b."""

    def join(ours, theirs):
        for name, rows in (("a", ours), ("b", theirs)):
            make_run(tmp_path / name, "lapjv", found=rows)
        with opened([tmp_path / "a", tmp_path / "b"]) as found:
            return found

    return join


def test_the_same_run_counts_once(joined, tmp_path):
    found = joined(ROWS, ROWS[::-1])
    (run,) = found.runs
    assert run.study == str(tmp_path / "a")
    (note,) = found.notes
    assert note.startswith(f"1 run of {tmp_path / 'a'} also in {tmp_path / 'b'}: counted once")
    assert "times" not in note


@pytest.mark.parametrize(("metric", "value"), [("train_seconds", 70.0), ("coupling_share", 0.5)])
def test_times_belong_to_the_machine_and_those_of_the_first_count(joined, metric, value):
    found = joined(ROWS, changed(ROWS, metric, value))
    assert set(found.runs[0].measurements) >= {row for row in ROWS if not math.isnan(row.value)}
    assert "their times differ" in found.notes[0]


def test_last_digits_are_no_difference(joined):
    found = joined(ROWS, changed(ROWS, "transport_cost", 90.0 * (1 + 1e-7)))
    assert [m.value for m in found.runs[0].measurements if m.metric == "transport_cost"] == [90.0]


@pytest.mark.parametrize(("ours", "theirs"), [(ROWS, [*ROWS, MORE]), ([*ROWS, MORE], ROWS)])
def test_the_one_with_more_rows_counts(joined, ours, theirs):
    (run,) = joined(ours, theirs).runs
    assert len(run.measurements) == len(ROWS) + 1


def test_other_numbers_are_refused_with_both_places(joined, tmp_path):
    with pytest.raises(ReportError) as caught:
        joined(ROWS, changed(ROWS, "fd_classifier", 12.6))
    text = str(caught.value)
    assert "\n" not in text
    for part in (str(tmp_path / "a"), str(tmp_path / "b"), "digits-lapjv", "12.5 and 12.6"):
        assert part in text
    assert "1 of 3 rows" in text


def test_rows_of_two_records_are_never_mixed(joined):
    with pytest.raises(ReportError, match="each have rows that the other lacks"):
        joined([*ROWS, MORE], [*ROWS, OTHER])


def test_a_configuration_counts_once_whatever_its_folder_is_called(tmp_path):
    run = make_run(tmp_path / "a", found=ROWS)
    shutil.copytree(run.path, tmp_path / "b/copied")
    with opened([tmp_path / "a", tmp_path / "b"]) as found:
        assert [each.run_id for each in found.runs] == [run.run_id]


def test_two_configurations_under_one_name_are_refused(tmp_path):
    run = make_run(tmp_path / "a", found=ROWS)
    other = make_run(tmp_path / "b", seed=1, found=ROWS)
    other.path.rename(tmp_path / "b" / run.run_id)
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ReportError, match="rename one of the two"), opened(folders):
        pass


def test_networks_from_files_that_share_a_name_are_told_apart_over_all_studies(tmp_path):
    for folder, digit in (("a", "1"), ("b", "2")):
        make_run(tmp_path / folder, "net", checkpoint=digit * 64, found=ROWS)
    with opened([tmp_path / "a", tmp_path / "b"]) as found:
        assert sorted(run.config["coupling"] for run in found.runs) == [
            "net (11111111)",
            "net (22222222)",
        ]


def test_a_run_that_broke_off_elsewhere_is_no_gap(tmp_path):
    run = make_run(tmp_path / "a", found=ROWS)
    shutil.copytree(run.path, tmp_path / "b" / run.run_id)
    RunFolder(tmp_path / "b" / run.run_id).set_status("running", stage="evaluation")
    broken = make_run(tmp_path / "b", "knn", found=ROWS)
    broken.set_status("failed", reason="loss is nan")
    with opened([tmp_path / "a", tmp_path / "b"]) as found:
        assert [item.folder for item in found.excluded] == [broken.run_id]
        (note,) = found.notes
    assert "not finished" in note
    assert str(tmp_path / "a") in note

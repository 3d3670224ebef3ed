import json
import shutil
import signal
import subprocess
import sys
import zipfile

import pytest

from bench.record import Measurement
from reports.build import build
from reports.build import main as build_main
from reports.bundle import bundle, main
from reports.diff import diff
from reports.tables.runs import ReportError
from tests.reports.conftest import PIXEL, make_run

SEARCH = "objective,coupling,pool,law,P_mean,P_std,seed,images,grid_fd,chosen\n"
PILOTS = [
    "edm,random,1024,own,-1.2,1.2,90,1000,4.5,True\n",
    "edm,lapjv,1024,own,-1.2,1.2,90,1000,4.0,False\n",
]
ARMS = ("random", "lapjv")
# What a kept sample of a run may look like; a bundle is no place for it.
KEPT = "samples/heun-nfe5/0000.npy"


def fill(folder, seeds, pilots):
    """Run folders with pictures, points, kept samples and a checkpoint."""
    for arm in ARMS:
        for seed in seeds:
            run = make_run(folder, arm, seed)
            (run.path / "samples/nfe5.png").write_bytes(PIXEL + str(seed).encode())
            (run.path / "samples/real.csv").write_text("x,y\n0,0\n1,1\n")
            (run.path / "samples/nfe5.csv").write_text(f"x,y\n{seed},0\n1,{seed}\n")
            (run.path / KEPT).parent.mkdir()
            (run.path / KEPT).write_bytes(bytes(10_000))
            (run.path / "checkpoint.pt").write_bytes(bytes(100_000))
    (folder / "noise-search.csv").write_text("".join([SEARCH, *pilots]))
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One folder, the same runs in two, and a bundle of each of these: read only."""
    place = tmp_path_factory.mktemp("bundles")
    whole = fill(place / "whole", (0, 1, 2), PILOTS)
    a = place / "a"
    b = place / "b"
    # Copied, because a run that is made again has another time in its status.
    for run in whole.glob("digits-*"):
        shutil.copytree(run, (b if "seed0" in run.name else a) / run.name)
    for part, rows in ((a, PILOTS[:1]), (b, PILOTS[1:])):
        (part / "noise-search.csv").write_text("".join([SEARCH, *rows]))
        bundle([part], place / f"{part.name}.zip")
    return whole, a, b


@pytest.mark.parametrize("endings", [("", ""), (".zip", ".zip"), ("", ".zip")])
def test_a_study_over_two_machines_gives_the_files_of_one_folder(study, tmp_path, endings):
    whole, *parts = study
    build(whole, tmp_path / "one")
    paths = [part.with_suffix(end) for part, end in zip(parts, endings, strict=True)]
    report = build(paths, tmp_path / "two")
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert report.notes == ()
    html = report.html.read_text()
    assert "Noise laws" in html
    assert "Generated points" in html


def test_a_bundle_is_small_and_the_same_again_from_what_it_holds(study, tmp_path):
    whole, a, b = study
    made = bundle([whole], tmp_path / "whole.zip")
    assert made.runs == 6
    assert made.size == made.path.stat().st_size < 6 * 10_000
    one, other = (bundle(each, tmp_path / f"{each[0].name}.zip") for each in ([a, b], [b, a]))
    assert one.path.read_bytes() == other.path.read_bytes()
    with zipfile.ZipFile(made.path) as file:
        assert file.testzip() is None
        names = file.namelist()
        file.extractall(tmp_path / "unpacked")
    assert names == sorted(names)
    records = {"config.json", "metrics.jsonl", "provenance.json", "status.json"}
    pictures = {f"samples/{name}" for name in ("nfe5.csv", "nfe5.png", "nfe13.png", "real.csv")}
    # Of each coupling, a page shows the pictures of its first seed.
    for seed, expected in ((0, records | pictures), (2, records)):
        run = [name.partition("/")[2] for name in names if f"lapjv-pool1024-seed{seed}" in name]
        assert set(run) == expected
    again = bundle([tmp_path / "unpacked"], tmp_path / "again.zip")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_neither_bundle_nor_page_names_a_folder_of_the_machine(tmp_path):
    run = make_run(tmp_path / "runs", "lapjv", 0)
    path = run.path / "provenance.json"
    origin = json.loads(path.read_text())
    origin["command"] = "python -m bench.run --runs /home/somebody/runs"
    path.write_text(json.dumps(origin))
    made = bundle([tmp_path / "runs"], tmp_path / "study.zip")
    with zipfile.ZipFile(made.path) as file:
        assert not any(b"somebody" in file.read(name) for name in file.namelist())
    page = build(tmp_path / "runs", tmp_path / "page").html.read_text()
    assert "--runs .../runs" in page
    assert "somebody" not in page
    assert json.loads(path.read_text()) == origin  # the run's own record stays


def test_bundles_merge(study, tmp_path):
    _, a, b = study
    merged = bundle([a.with_suffix(".zip"), b.with_suffix(".zip")], tmp_path / "both.zip")
    assert merged.runs == 6
    build([merged.path], tmp_path / "from-bundle")
    build([a, b], tmp_path / "from-folders")
    csv = "results.csv"
    assert (tmp_path / "from-bundle" / csv).read_bytes() == (
        tmp_path / "from-folders" / csv
    ).read_bytes()


def test_diff_finds_no_change_between_a_folder_and_its_bundle(study):
    _, a, _ = study
    found = diff(a, a.with_suffix(".zip"))
    assert not found.config
    assert not found.provenance
    assert len(found.rows) > 0
    assert found.rows["relative"].eq(0).all()
    assert (found.only_a, found.only_b) == (0, 0)


# The whole file is written, and only its name is missing, when the process is killed.
KILLED = """
import os, sys, time
def replace(*paths):
    print("written", flush=True)
    time.sleep(60)
os.replace = replace
from reports.bundle import main
main(sys.argv[1:])
"""


def test_a_kill_leaves_the_earlier_bundle_whole(study, tmp_path):
    whole, a, _ = study
    target = tmp_path / "study.zip"
    bundle([a], target)
    before = target.read_bytes()
    words = [sys.executable, "-c", KILLED, str(whole), "-o", str(target)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert target.read_bytes() == before
    assert bundle([whole], target).runs == 6
    assert target.read_bytes() != before


def test_the_command_says_what_it_took_and_what_it_left(study, tmp_path, capsys):
    make_run(tmp_path / "more", "knn").set_status("running", stage="training")
    made = make_run(tmp_path / "more", "stable")
    shutil.copytree(made.path, tmp_path / "again" / made.run_id)
    folders = [study[1], tmp_path / "more", tmp_path / "again"]
    assert main([*map(str, folders), "-o", str(tmp_path / "all.zip")]) == 0
    out, err = capsys.readouterr()
    size = (tmp_path / "all.zip").stat().st_size
    assert out == f"bundle: {tmp_path / 'all.zip'} (5 runs, {size / 1000:,.0f} kB)\n"
    left_out, note = err.splitlines()
    assert left_out.startswith("left out: digits-knn")
    assert "not finished" in left_out
    assert note == (
        f"note: 1 run of {folders[1]} also in {folders[2]}: counted once, from {folders[1]}"
        f" ({made.run_id})"
    )


def test_the_default_is_next_to_the_folder(study, tmp_path, monkeypatch):
    shutil.copytree(study[2], tmp_path / "my.runs")
    assert bundle([tmp_path / "my.runs"]).path == tmp_path / "my.runs.zip"
    monkeypatch.chdir(tmp_path / "my.runs")
    from pathlib import Path

    assert bundle([Path()]).path == tmp_path / "my.runs.zip"


def test_bad_input_is_one_line_and_writes_nothing(study, tmp_path, capsys):
    _, a, _ = study
    make_run(tmp_path / "unfinished").set_status("failed", reason="out of memory")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    build(a, tmp_path / "out")
    for words, part in (
        ([tmp_path / "unfinished", "-o", tmp_path / "x.zip"], "failed: out of memory"),
        ([tmp_path / "out/results.csv", "-o", tmp_path / "x.zip"], "holds no run folders"),
        ([tmp_path / "photos.zip", "-o", tmp_path / "x.zip"], "is not a bundle"),
        ([a, "-o", tmp_path / "photos.zip"], "exists and is not a bundle"),
        ([tmp_path / "nowhere", "-o", tmp_path / "x.zip"], "does not exist"),
        ([a.with_suffix(".zip")], "give --out FILE"),
    ):
        assert main([*map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert part in err
    assert not (tmp_path / "x.zip").exists()
    assert (tmp_path / "photos.zip").read_bytes() == b"PK"


def test_reports_go_to_the_first_folder_or_where_they_are_told(study, tmp_path, capsys):
    _, a, b = study
    folder = tmp_path / "b"
    shutil.copytree(b, folder)
    assert build([a.with_suffix(".zip"), folder]).csv == folder / "results.csv"
    with pytest.raises(ReportError, match="--out"):
        build([a.with_suffix(".zip")])
    assert build_main([str(a.with_suffix(".zip")), "-o", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out/results.csv") in capsys.readouterr().out


def test_a_run_that_one_machine_has_not_finished_is_taken_from_the_other(tmp_path):
    make_run(tmp_path / "a", "random")
    make_run(tmp_path / "a", "lapjv").set_status("running", stage="training")
    run = make_run(tmp_path / "b", "lapjv", found=[Measurement("coupling_ms", 1.0)])
    report = build([tmp_path / "a", tmp_path / "b"])
    assert report.excluded == ()
    (note,) = report.notes
    assert run.run_id in note
    assert str(tmp_path / "b") in note

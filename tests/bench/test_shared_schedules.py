"""Seeds of one coupling choose their best schedules together, from the command to the report."""

import csv
import shlex
import shutil
from dataclasses import replace

import pytest

from bench import evaluate
from bench.record import RunFolder
from bench.run import main
from bench.sampling.store import SampleStore

# Points in the plane, five steps, and pixels for features, which need no training.
FLAGS = shlex.split(
    "--data moons --images 320 --batch 64 --pool 64 --arch mlp --nfe 5 9 --samples 64"
    " --trajectories 8 --reference-steps 16 --rhos 3 20 --grid-samples 64 --metrics grid w2"
    " --features pixels --device cpu --no-baseline"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds, made one after the other as the tasks of a job array are, without a choice that
    they share.
    """
    folder = tmp_path_factory.mktemp("runs")
    for seed in ("0", "1"):
        assert main(["--runs", str(folder), *FLAGS, "--seed", seed]) == 0
    return folder


def folders(runs):
    return [RunFolder(path.parent) for path in sorted(runs.glob("*/config.json"))]


def choices(folder):
    rows = folder.measurements()
    best = {row.nfe: row.schedule for row in rows if row.metric == "best_schedule_pixels"}
    (seeds,) = [row.value for row in rows if row.metric == "search_seeds_pixels"]
    return best, seeds


def values(folder):
    skipped = ("evaluate_seconds", "best_schedule_pixels", "search_seeds_pixels")
    return {row.key: row.value for row in folder.measurements() if row.metric not in skipped}


def test_no_sample_of_the_search_is_one_of_the_evaluation(runs, tmp_path):
    flags = [*FLAGS, "--keep-samples", "--seed", "5"]
    assert main(["--runs", str(tmp_path), *flags]) == 0
    (folder,) = folders(tmp_path)
    stores = {path.name: SampleStore(path) for path in (folder.path / "samples").glob("*heun*")}
    search = {name: store for name, store in stores.items() if name.startswith("search-")}
    assert len(search) >= 6
    seen = set()
    for name, store in stores.items():
        if name not in search:
            for images in store.images(8):
                seen |= set(map(tuple, images.flatten(1).tolist()))
    for store in search.values():
        for images in store.images(64):
            assert not seen & set(map(tuple, images.flatten(1).tolist()))


def test_one_choice_for_both_seeds(runs, capsys):
    one, two = folders(runs)
    assert (choices(one)[1], choices(two)[1]) == (1.0, 1.0)
    before = [values(folder) for folder in (one, two)]
    capsys.readouterr()
    assert evaluate.main([str(one.path), str(two.path), "--device", "cpu"]) == 0
    (best, seeds), other = choices(one), choices(two)
    assert (best, seeds) == other
    assert seeds == 2.0
    for folder, old in zip((one, two), before, strict=True):
        new = values(folder)
        # Nothing is measured again, and everything is measured at the shared choice.
        assert old.items() <= new.items()
        at = {(row.nfe, row.schedule) for row in folder.measurements() if row.metric == "w2"}
        assert set(best.items()) <= at
    # The command that makes both has nothing left to do, and reports them.
    after = [values(folder) for folder in (one, two)]
    capsys.readouterr()
    assert main(["--runs", str(runs), *FLAGS, "--seeds", "2"]) == 0
    assert "measured again" not in capsys.readouterr().out
    assert [values(folder) for folder in (one, two)] == after
    with (runs / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "best_schedule_pixels"]
    assert {(int(row["nfe"]), row["schedule"]) for row in rows} == set(best.items())


def test_stopped_on_the_way_to_the_shared_choice_the_earlier_one_stays(runs, tmp_path, monkeypatch):
    """A gain of exponent 20 at NFE 9 that both seeds see, and that neither was measured at."""
    copy = shutil.copytree(runs, tmp_path / "runs")
    for folder in folders(copy):
        rows = {(row.metric, row.nfe, row.rho): row for row in folder.measurements()}
        fixed = rows["grid_fd_pixels", 9, 7.0].value
        gain = replace(rows["grid_fd_pixels", 9, 20.0], value=fixed / 100)
        noise = replace(rows["grid_gain_se_pixels", 9, 20.0], value=0.01)
        folder.add([gain, noise])
    before = [choices(folder) for folder in folders(copy)]

    def stop(*_, **__):
        raise OSError("no room")

    command = ["--runs", str(copy), *FLAGS, "--seeds", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "add", stop)
        assert main(command) == 1
    assert [choices(folder) for folder in folders(copy)] == before
    assert all(folder.is_done() for folder in folders(copy))
    assert main(command) == 0
    for folder in folders(copy):
        best, seeds = choices(folder)
        assert (best[9], seeds) == ("karras:rho=20", 2.0)
        # The exponent is the last of the grid, so that one beyond it was tried first.
        tried = {row.rho for row in folder.measurements() if row.metric == "grid_fd_pixels"}
        assert 34.0 in tried
        assert (9, "karras:rho=20") in {
            (row.nfe, row.schedule) for row in folder.measurements() if row.metric == "w2"
        }

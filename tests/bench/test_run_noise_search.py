"""Search for each coupling's law of training noise, through the command line."""

import csv
import json
import shlex

import pytest

from bench.record import RunFolder
from bench.run import main
from bench.training import loop

# Seconds a run: points in the plane, five steps, and pixels for features, which need no training.
FLAGS = shlex.split(
    "--data moons --images 320 --batch 64 --pool 64 --arch mlp --nfe 3 5 9"
    " --samples 64 --trajectories 8 --reference-steps 16 --rhos 5 --grid-samples 48"
    " --metrics grid --features pixels --device cpu --pilot-share 0.5 --search-noise"
)


@pytest.fixture
def command(tmp_path):
    return ["--runs", str(tmp_path), *FLAGS]


def laws(folder):
    """Coupling, objective and law of the runs in a folder."""
    found = []
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        training = config["training"]
        objective = training.get("objective", "edm")
        law = (training["P_mean"], training["P_std"]) if objective == "edm" else objective
        found.append((config["coupling"], objective, law))
    return sorted(found, key=str)


def rows_of(folder):
    with (folder / "noise-search.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_coupling_is_trained_at_the_shared_law_and_at_its_own(tmp_path, command, capsys):
    """Both objectives; the chosen law is that with the lowest distance in the table."""
    flags = ["--objective", "edm", "flow", "--shifts", "3", "--noise-laws=-6,0.1", "uniform"]
    assert main([*command, *flags]) == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 2 * (2 + 2)
    shared = {"edm": "-1.2,1.2", "flow": "uniform"}
    expected = set()
    for coupling in ("random", "lapjv"):
        for objective in ("edm", "flow"):
            mine = [
                row for row in rows if (row["coupling"], row["objective"]) == (coupling, objective)
            ]
            tried = {"edm": ["-1.2,1.2", "-6,0.1"], "flow": ["uniform", "-6,0.1"]}
            assert [row["law"] for row in mine] == tried[objective]
            best = min(mine, key=lambda row: float(row["grid_fd"]))
            assert [row for row in mine if row["chosen"] == "True"] == [best]
            expected |= {
                (coupling, objective, shared[objective]),
                (coupling, objective, best["law"]),
            }
    assert len(laws(tmp_path)) == len(expected)
    assert len(laws(tmp_path / "pilots")) == len(rows)
    for path in (tmp_path / "pilots").glob("*/config.json"):
        names = {row.metric for row in RunFolder(path.parent).measurements()}
        assert "grid_fd_pixels" in names
        assert not [name for name in names if name.startswith(("fd_", "curvature", "truncation"))]
    printed = capsys.readouterr().out
    assert "[pilot 8/8]" in printed
    assert "edm        lapjv" in printed
    assert (tmp_path / "report.html").exists()


def test_a_stopped_search_resumes_and_a_finished_one_is_reused(tmp_path, command, monkeypatch):
    flags = [*command, "--noise-laws", "0,2", "--no-baseline"]
    train = loop.train
    trained = []

    def stopped(config, *args, **options):
        trained.append(config)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(config, *args, **options)

    monkeypatch.setattr(loop, "train", stopped)
    assert main(flags) == 130
    assert not (tmp_path / "noise-search.csv").exists()
    # The second pilot, then the runs: the first pilot is not trained again.
    first = trained[0]
    trained.clear()
    trained.extend([None, None])
    assert main(flags) == 0
    seeds = [config.seed for config in trained[2:]]
    assert seeds[:1] == [1_000_000]
    assert set(seeds[1:]) == {0}
    assert first not in trained
    before = rows_of(tmp_path)
    trained.clear()
    assert main(flags) == 0
    assert trained == []
    assert rows_of(tmp_path) == before
    # Another seed needs no new pilots.
    trained.extend([None, None])
    assert main([*flags, "--seed", "1"]) == 0
    assert {config.seed for config in trained[2:]} == {1}


def test_a_pilot_that_fails_is_a_line_and_its_law_is_not_chosen(
    tmp_path, command, monkeypatch, capsys
):
    train = loop.train

    def diverges(config, *args, **options):
        if config.training.P_std == 2 and config.coupling == "lapjv":
            raise loop.TrainingError("the loss is not finite")
        return train(config, *args, **options)

    monkeypatch.setattr(loop, "train", diverges)
    assert main([*command, "--noise-laws", "0,2"]) == 1
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error")]
    assert "the loss is not finite" in line
    failed = [row for row in rows_of(tmp_path) if row["grid_fd"] == ""]
    assert [(row["coupling"], row["law"], row["chosen"]) for row in failed] == [
        ("lapjv", "0,2", "False")
    ]
    assert ("lapjv", "edm", (-1.2, 1.2)) in laws(tmp_path)
    assert ("lapjv", "edm", (0.0, 2.0)) not in laws(tmp_path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--coupling", "lapjv", "greedy:cost=l3"], "cost"),
        (["--noise-laws", "0,2", "1"], "--noise-laws"),
        # More than there are images
        (["--pool", "1000000000"], "--pool"),
        (["--pilot-seed", "0"], "--pilot-seed"),
    ],
)
def test_what_is_refused_is_refused_before_the_first_pilot(tmp_path, capsys, flags, words):
    runs = tmp_path / "runs"
    assert main(["--runs", str(runs), *FLAGS, *flags]) == 2
    assert words in capsys.readouterr().err
    assert not runs.exists()

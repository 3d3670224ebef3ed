"""What is recorded counts only while it comes from the same weights and features."""

import json
from dataclasses import asdict

import pytest

from bench.config import EvaluationConfig, RunConfig
from bench.evaluation.ledger import (
    Ledger,
    Task,
    is_finished,
    is_whole,
    last_asked,
    record_best,
    search_name,
    searched,
)
from bench.record import Measurement, RunFolder, RunFolderError
from bench.record.best_schedule import choose
from bench.record.infos import Info, read_infos, write_infos

FD = Task("frechet", "heun-nfe5-rho7", 100, "classifier", "one")
ERROR = Task("truncation", "heun-nfe5-rho7", 20)
ROWS = [
    (FD, [Measurement("fd_classifier", 2.0, nfe=5, n=100)]),
    (ERROR, [Measurement("truncation_error", 1.0, nfe=5)]),
]


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.add([Measurement("train_seconds", 3.0)])
    Ledger(folder, {"weights": "a"}, {"classifier": "one"}).add(ROWS)
    return folder


def metrics(folder):
    return {m.metric for m in folder.measurements()} - {"evaluate_seconds"}


def test_what_is_recorded_is_held(folder):
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    assert ledger.holds(FD)
    assert ledger.rows([ERROR, FD]) == [ROWS[1][1][0], ROWS[0][1][0]]
    assert not ledger.holds(Task("frechet", "heun-nfe5-rho7", 200, "classifier", "one"))


def test_other_features_of_that_name_drop_their_rows_alone(folder):
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "two"})
    assert (ledger.holds(FD), ledger.holds(ERROR)) == (False, True)
    assert metrics(folder) == {"train_seconds", "truncation_error"}


def grid_row(rho, value, n=50):
    return Measurement("grid_fd_classifier", value, nfe=5, rho=rho, split="train", n=n)


KARRAS = "karras:rho=7"


def grid_task(rho, n=50, fixed=KARRAS):
    return Task("grid", search_name(f"search-rho{rho}", fixed), n, "classifier", "one")


def test_only_rows_of_the_same_fixed_schedule_are_of_one_search(folder):
    """Their noise is relative to it; samples of earlier versions were those of the evaluation."""
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    earlier = Task("grid", "heun-nfe5-rho3", 60, "classifier", "one")
    ledger.add([(earlier, [grid_row(3.0, 1.0, 60)])])
    ledger.add([(grid_task(9), [grid_row(9.0, 2.0)])])
    ledger.add([(grid_task(5, fixed="karras:rho=5"), [grid_row(5.0, 3.0)])])
    assert [row.rho for row in ledger.searched(KARRAS)] == [9.0]
    assert [row.rho for row in searched(folder, "karras:rho=5")] == [5.0]


def test_the_search_for_the_best_schedule_is_dropped_with_its_features(folder):
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    ledger.add([(grid_task(9), [grid_row(9.0, 2.0)])])
    record_best(folder, choose(ledger.searched(KARRAS)), seeds=1)
    assert {"best_schedule_classifier", "search_seeds_classifier"} <= metrics(folder)
    assert Ledger(folder, {"weights": "a"}, {"pixels": "p"}).holds(grid_task(9))
    assert not Ledger(folder, {"weights": "a"}, {"classifier": "two"}).holds(grid_task(9))
    assert metrics(folder) == {"train_seconds", "truncation_error"}


def best_schedules(folder):
    rows = [row for row in folder.measurements() if row.metric == "best_schedule_classifier"]
    return [(row.nfe, row.n, row.value) for row in rows]


def test_a_first_pass_with_more_images_replaces_the_choice_and_one_with_fewer_does_not(folder):
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    for n, best in ((50, 9.0), (200, 3.0), (4, 9.0)):
        for rho in (3.0, 9.0):
            value = 1.0 if rho == best else 2.0
            ledger.add([(grid_task(rho, n), [grid_row(rho, value, n)])])
        chosen = record_best(folder, choose(ledger.searched(KARRAS)), seeds=2)
        expected = (5, max(n, 200), 3.0) if n != 50 else (5, 50, 9.0)
        assert best_schedules(folder) == [expected]
        assert [row.value for row in chosen] == [expected[-1], 2.0]


def test_entries_of_earlier_versions_are_not_measured_again(folder):
    """One task held all metrics of samples in some features, and parts had other names."""
    rows = [
        Measurement("fd_classifier", 2.0, nfe=5, split="train", n=100),
        Measurement("kid_classifier", 0.1, nfe=5, split="train", n=100),
        Measurement("w2", 0.1, nfe=5, split="train", n=100),
        grid_row(9.0, 2.0),
        Measurement("mode_mixture_0.2_classifier", 0.1, nfe=5, n=100),
    ]
    folder.add(rows)
    setting = {"setting": "heun-nfe5-rho7", "n": 100}

    def entry(part, fingerprint, *of_part):
        keys = [list(row.key) for row in of_part]
        return {"part": part, **setting, "fingerprint": fingerprint, "rows": keys}

    done = [
        entry("classifier", "one", *rows[:2]),
        entry("w2", None, rows[2]),
        entry("grid_fd_classifier", "one", rows[3]),
        entry("mode_mixture_classifier", "one", rows[4]),
    ]
    content = {"origin": {"weights": "a"}, "done": done, "finished": ["x"], "seconds": 1.0}
    (folder.path / "evaluation.json").write_text(json.dumps(content))
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    for metric in ("frechet", "kid", "grid", "mode-mixture"):
        assert ledger.holds(Task(metric, "heun-nfe5-rho7", 100, "classifier", "one"))
    assert ledger.holds(Task("w2", "heun-nfe5-rho7", 100))
    assert is_whole(folder)
    assert {row.metric for row in rows} < metrics(folder)


def test_what_the_run_holds_is_described(folder):
    infos = read_infos(folder.path)
    assert list(infos) == ["fd_classifier", "truncation_error", "evaluate_seconds", "train_seconds"]
    assert infos["fd_classifier"].better == "lower"
    # A metric that only its user knows keeps its description when others are measured.
    mine = Info("mine_classifier", "Mine.", "higher", title="Mine")
    write_infos(folder.path, [*infos.values(), mine])
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    task = Task("my_project.mine", "heun-nfe5-rho7", 100, "classifier", "one")
    ledger.add([(task, [Measurement("mine_classifier", 2.0, nfe=5)])])
    assert list(read_infos(folder.path).values()) == [*infos.values(), mine]


def test_features_that_are_not_asked_for_keep_their_rows(folder):
    assert Ledger(folder, {"weights": "a"}, {"pixels": "p"}).holds(FD)


def test_other_weights_drop_all_but_what_training_measured(folder):
    ledger = Ledger(folder, {"weights": "b"}, {"classifier": "one"})
    assert not ledger.holds(ERROR)
    assert metrics(folder) == {"train_seconds"}


def test_finished_is_what_was_asked_for(folder):
    asked, other = (RunConfig(evaluation=EvaluationConfig(nfe=(nfe,))) for nfe in (5, 7))
    assert not is_finished(folder, asked)
    assert last_asked(folder) is None
    Ledger(folder, {"weights": "a"}, {"classifier": "one"}).finish(asked)
    assert (is_finished(folder, asked), is_finished(folder, other)) == (True, False)
    assert last_asked(folder)["evaluation"]["nfe"] == [5]
    Ledger(folder, {"weights": "b"}, {})
    assert not is_finished(folder, asked)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"done": [{}], "finished": []}'])
def test_a_damaged_record_is_named_with_the_way_out(content, tmp_path):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"evaluation\.json is damaged: delete it"):
        is_whole(RunFolder(tmp_path))


def test_a_record_from_before_schedules_is_not_measured_again_and_its_choice_is_replaced(folder):
    """Keys of rows had one field less, and the choice another name."""
    row = grid_row(9.0, 2.0)
    folder.add([row, Measurement("best_rho_classifier", 9.0, nfe=5, split="train", n=50)])
    earlier = Task("grid", "heun-nfe5-rho9", 50, "classifier", "one")
    entry = {**asdict(earlier), "rows": [list(row.key[:-1])]}
    content = {"origin": {"weights": "a"}, "done": [entry], "finished": ["x"], "seconds": 1.0}
    (folder.path / "evaluation.json").write_text(json.dumps(content))
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "one"})
    assert ledger.holds(earlier)
    assert ledger.rows([earlier]) == [row]
    # It was chosen on the latents of the evaluation, so it stays only until the next search.
    assert ledger.searched(KARRAS) == []
    assert record_best(folder, [], seeds=1) == []
    assert "best_rho_classifier" in metrics(folder)
    chosen, _ = record_best(folder, choose([grid_row(9.0, 2.0)]), seeds=1)
    assert (chosen.metric, chosen.schedule) == ("best_schedule_classifier", "karras:rho=9")
    assert {"best_rho_classifier", "best_schedule_classifier"} & metrics(folder) == {chosen.metric}

"""What is recorded counts only while it comes from the same weights and features."""

import pytest

from bench.config import EvaluationConfig, RunConfig
from bench.evaluation.ledger import Ledger, Task, is_finished, last_asked
from bench.record import Measurement, RunFolder

FD = Task("classifier", "heun-nfe5-rho7", 100, "one")
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
    assert not ledger.holds(Task("classifier", "heun-nfe5-rho7", 200, "one"))


def test_other_features_of_that_name_drop_their_rows_alone(folder):
    ledger = Ledger(folder, {"weights": "a"}, {"classifier": "two"})
    assert (ledger.holds(FD), ledger.holds(ERROR)) == (False, True)
    assert metrics(folder) == {"train_seconds", "truncation_error"}


def test_the_search_for_the_best_rho_is_dropped_with_its_features(folder):
    task = Task("grid_fd_classifier", "heun-nfe5-rho9", 50, "one")
    row = Measurement("grid_fd_classifier", 2.0, nfe=5, rho=9.0, n=50)
    known = {"classifier": "one", "grid_fd_classifier": "one"}
    Ledger(folder, {"weights": "a"}, known).add([(task, [row])])
    assert Ledger(folder, {"weights": "a"}, {"pixels": "p", "grid_fd_pixels": "p"}).holds(task)
    assert not Ledger(folder, {"weights": "a"}, dict.fromkeys(known, "two")).holds(task)
    assert metrics(folder) == {"train_seconds", "truncation_error"}


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

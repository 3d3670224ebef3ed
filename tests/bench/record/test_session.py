"""The life of a run folder, from its first session to its last."""

import json

import pytest

from bench.record import (
    Measurement,
    OtherRunError,
    RunFolder,
    RunFolderError,
    UserError,
    write_json,
)

IDENTITY = {"data": "digits"}
ORIGIN = {"started": "now", "git_sha": "abc", "data_checksum": "1", "features": {"pixels": "p"}}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def begin_and_raise(folder, error):
    with folder.session() as session:
        session.begin(IDENTITY, ORIGIN)
        raise error


def test_a_session_runs_through_its_stages(folder):
    with folder.session() as session:
        session.begin(IDENTITY, ORIGIN)
        assert folder.status()["stage"] == "training"
        session.enter("evaluation")
        assert folder.status()["stage"] == "evaluation"
        session.add([Measurement("fd_pixels", 1.0)])
        session.finish()
    assert folder.is_done()
    assert folder.config() == IDENTITY
    assert folder.provenance() == {**ORIGIN, "earlier_sessions": []}
    assert len(folder.measurements()) == 1


def test_the_primary_question_is_that_of_the_first_session(folder):
    for asked in ("fd_pixels@9", "fd_pixels@13"):
        with folder.session() as session:
            session.begin(IDENTITY, {**ORIGIN, "primary": asked})
        assert folder.provenance()["primary"] == "fd_pixels@9"


def test_a_run_that_was_begun_without_a_question_gets_none_later(folder):
    for more in ({}, {"primary": "fd_pixels@9"}):
        with folder.session() as session:
            session.begin(IDENTITY, {**ORIGIN, **more})
        assert "primary" not in folder.provenance()


def test_only_the_first_process_writes(folder):
    with folder.session(first=False) as session:
        session.begin(IDENTITY, ORIGIN)
        session.enter("evaluation")
        session.add([Measurement("fd_pixels", 1.0)])
        session.finish()
    assert not folder.path.exists()


def test_a_second_session_at_the_same_time_is_refused(folder):
    with folder.session(), pytest.raises(RunFolderError, match="in use"), folder.session():
        pass


def test_a_failure_is_recorded_and_a_later_session_forgets_it(folder):
    with pytest.raises(ZeroDivisionError):
        begin_and_raise(folder, ZeroDivisionError("by zero"))
    status = folder.status()
    assert (status["state"], status["reason"]) == ("failed", "by zero")
    assert "ZeroDivisionError" in (folder.path / "traceback.txt").read_text()
    line = folder.failure_line(ZeroDivisionError("by zero"))
    assert line == (
        f"error: run: ZeroDivisionError: by zero (traceback: {folder.path / 'traceback.txt'})"
    )
    with folder.session() as session:
        session.finish()
    assert not (folder.path / "traceback.txt").exists()


def test_an_error_of_ours_leaves_no_traceback(folder):
    with pytest.raises(UserError), folder.session():
        raise UserError("take a smaller --lr")
    assert folder.status()["reason"] == "take a smaller --lr"
    assert not (folder.path / "traceback.txt").exists()
    assert folder.failure_line(UserError("take less")) == "error: run: take less"


def test_ctrl_c_is_no_failure(folder):
    with pytest.raises(KeyboardInterrupt):
        begin_and_raise(folder, KeyboardInterrupt())
    assert folder.status()["state"] == "stopped"


@pytest.mark.parametrize(("whole", "state"), [(True, "done"), (False, "failed")])
def test_a_finished_run_stays_finished_if_measuring_more_fails(folder, whole, state):
    folder.set_status("done")
    with pytest.raises(ValueError, match="more"), folder.session(is_whole=lambda _: whole):
        raise ValueError("more")
    assert folder.status()["state"] == state


def test_a_finished_run_stays_finished_while_more_is_measured(folder):
    folder.set_status("done")
    with folder.session() as session:
        session.begin(IDENTITY, ORIGIN)
        assert folder.is_done()


def test_a_resumed_run_names_all_of_its_sessions_and_features(folder):
    for number, features in enumerate(({"pixels": "p"}, {"inception": "i"}, {})):
        with folder.session() as session:
            session.begin(IDENTITY, {**ORIGIN, "started": str(number), "features": features})
    origin = folder.provenance()
    assert [earlier["started"] for earlier in origin["earlier_sessions"]] == ["0", "1"]
    assert origin["features"] == {"pixels": "p", "inception": "i"}


def test_a_reused_training_is_named_with_its_sessions(folder, tmp_path, capsys):
    trainer = RunFolder(tmp_path / "trainer")
    with trainer.session() as session:
        session.begin(IDENTITY, {**ORIGIN, "started": "first"})
    with folder.session() as session:
        session.begin(IDENTITY, {**ORIGIN, "started": "second"}, trainer)
    assert folder.provenance()["trained_in"] == "trainer"
    assert folder.provenance()["earlier_sessions"][0]["started"] == "first"
    assert "training reused from trainer" in capsys.readouterr().out
    third = RunFolder(tmp_path / "third")
    with third.session() as session:
        session.begin(IDENTITY, ORIGIN, folder)
    # The one that trained it, not the one that it was copied from
    assert third.provenance()["trained_in"] == "trainer"


def test_a_folder_of_another_run_is_refused(folder):
    folder.check_identity(IDENTITY)
    folder.check_data("1")
    with folder.session() as session:
        session.begin(IDENTITY, ORIGIN)
    folder.check_identity(json.loads(json.dumps(IDENTITY)))
    folder.check_data("1")
    with pytest.raises(OtherRunError, match="another configuration"):
        folder.check_identity({"data": "moons"})
    with pytest.raises(OtherRunError, match="other data of the same name"):
        folder.check_data("2")
    (folder.path / "config.json").write_text("{")
    with pytest.raises(OtherRunError, match="cannot be read"):
        folder.check_identity(IDENTITY)


def test_a_config_of_another_program_is_no_session(folder):
    write_json(folder.path / "config.json", IDENTITY)
    assert folder.exists()
    assert folder.status() == {"state": "pending"}

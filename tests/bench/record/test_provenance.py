import os
import subprocess
from importlib import import_module

import pytest

from bench.record import COMMAND, provenance, shareable

module = import_module("bench.record.provenance")  # the package has a function of the same name


def git(folder, *args):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_provenance_of_code_that_is_no_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    found = provenance("cpu")
    assert found["git_sha"] is None
    assert found["git_dirty"] is None


@pytest.fixture
def code(monkeypatch, tmp_path):
    """A checkout with a commit that holds provenance.py."""
    root = tmp_path / "checkout"
    (root / "bench/record").mkdir(parents=True)
    (root / "bench/record/provenance.py").touch()
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(root / "bench/record/provenance.py"))
    return root


def test_provenance_notices_changes_to_the_code(code):
    clean = provenance("cpu")
    assert (clean["git_sha"], clean["git_dirty"]) == (git(code, "rev-parse", "HEAD"), False)
    (code / "results.csv").write_text("a run's")
    assert provenance("cpu")["git_dirty"] is False
    (code / "new.py").write_text("a coupling of one's own")
    assert provenance("cpu")["git_dirty"] is True
    (code / "new.py").unlink()
    (code / "bench/record/provenance.py").write_text("changed")
    assert provenance("cpu")["git_dirty"] is True


@pytest.mark.parametrize("ignored", [True, False])
def test_a_repository_that_only_surrounds_the_code_is_not_named(code, monkeypatch, ignored):
    """An environment, ``.venv/``, inside the repository of somebody who uses this."""
    installed = code / ".venv/lib/site-packages/bench/record"
    installed.mkdir(parents=True)
    (installed / "provenance.py").touch()
    if ignored:
        (code / ".gitignore").write_text(".venv\n")
    monkeypatch.setattr(module, "__file__", str(installed / "provenance.py"))
    assert module._git_state() == {"git_sha": None, "git_dirty": None}


def test_a_repository_without_a_commit_is_not_named(code, monkeypatch):
    git(code, "checkout", "--orphan", "empty")
    assert module._git_state() == {"git_sha": None, "git_dirty": None}


def test_code_kept_inside_a_larger_repository_is_named_by_its_commit(code, monkeypatch):
    nested = code / "tools/harness/bench/record"
    nested.mkdir(parents=True)
    (nested / "provenance.py").touch()
    git(code, "add", ".")
    git(code, "commit", "-m", "second")
    monkeypatch.setattr(module, "__file__", str(nested / "provenance.py"))
    assert module._git_state() == {"git_sha": git(code, "rev-parse", "HEAD"), "git_dirty": False}


def test_a_hooks_variables_do_not_lead_to_another_repository(code, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    git(other, "commit", "--allow-empty", "-m", "theirs")
    head = git(code, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert module._git_state() == {"git_sha": head, "git_dirty": False}


def test_a_checkout_of_another_owner_is_named(code):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    head = git(code, "rev-parse", "HEAD")
    for path in (code, *code.rglob("*")):
        os.chown(path, 12345, 12345)
    assert module._git_state() == {"git_sha": head, "git_dirty": False}


def test_a_job_records_the_command_of_its_sweep(monkeypatch):
    monkeypatch.setenv(COMMAND, "python -m slurm.submit sweep.toml")
    assert provenance("cpu")["command"] == "python -m slurm.submit sweep.toml"


@pytest.mark.parametrize(
    ("command", "shared"),
    [
        ("python -m bench.run --runs /home/me/runs", "python -m bench.run --runs .../runs"),
        ("ot-couplings run --runs=/srv/a/b/", "ot-couplings run --runs=.../b"),
        (
            "python -m bench.run --data-dir '/home/me/my photos'",
            "python -m bench.run --data-dir '.../my photos'",
        ),
        ("python -m bench.run --coupling 'sinkhorn:epsilon=0.1' --runs runs/a", None),
        (
            "python -m bench.evaluate /home/me/runs/digits-random_draw=1-seed0",
            "python -m bench.evaluate .../digits-random_draw=1-seed0",
        ),
        (
            "python -m bench.run --features torchscript:path=/home/me/net.pt,size=8",
            "python -m bench.run --features torchscript:path=.../net.pt,size=8",
        ),
        ("python -m bench.run --coupling 'unclosed", ""),
    ],
)
def test_what_is_passed_on_names_no_folder_of_the_machine(command, shared):
    origin = {"git_sha": "abc", "command": command}
    expected = {"git_sha": "abc", "command": command if shared is None else shared}
    if shared is None:
        # Quoted only where a shell needs it.
        expected["command"] = command.replace("'", "")
    assert shareable(origin) == expected
    # A page of a bundle is the page of its folder.
    assert shareable(shareable(origin)) == shareable(origin)
    resumed = {**origin, "earlier_sessions": [dict(origin)]}
    assert shareable(resumed)["earlier_sessions"] == [expected]

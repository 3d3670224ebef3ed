import subprocess
import sys

import pytest

from slurm.resources import SweepError
from slurm.snapshot import Snapshot, plan, take


def git(root, *args):
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", "-C", root, *who, *args], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    (root / "bench").mkdir(parents=True)
    git(root, "init", "--quiet")
    (root / "bench/__init__.py").touch()
    (root / "bench/train.py").write_text("before = 1\n")
    (root / ".gitignore").write_text("*.pyc\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "one")
    return root


def status_of(path):
    return git(path, "rev-parse", "HEAD"), git(path, "status", "--porcelain")


def test_a_clean_tree_is_copied_at_its_commit(checkout, tmp_path):
    head = git(checkout, "rev-parse", "HEAD")
    code = take(tmp_path / "code", checkout)
    assert code == Snapshot(tmp_path / "code" / head[:12], head, None)
    (checkout / "bench/train.py").write_text("edited = 2\n")  # between submission and start
    assert (code.path / "bench/train.py").read_text() == "before = 1\n"
    assert status_of(code.path) == (head, "")


def test_a_changed_tree_is_copied_with_its_changes_and_its_copy_knows_that(checkout, tmp_path):
    (checkout / "bench/train.py").write_text("changed = 1\n")
    (checkout / "bench/new.py").write_text("new = 1\n")
    (checkout / "bench/cache.pyc").write_text("no")
    (checkout / "runs").mkdir()
    (checkout / "runs/large.bin").write_text("not code")
    code = take(tmp_path / "code", checkout)
    assert (code.path / "bench/train.py").read_text() == "changed = 1\n"
    assert (code.path / "bench/new.py").read_text() == "new = 1\n"
    assert not (code.path / "bench/cache.pyc").exists()
    assert not (code.path / "runs").exists()
    head, status = status_of(code.path)
    assert head == code.git_sha
    assert status.splitlines() == ["M bench/train.py", "?? bench/new.py"]
    assert "changed = 1" in (tmp_path / "code" / code.changes).read_text()


def test_each_state_has_one_copy(checkout, tmp_path):
    folder = tmp_path / "code"
    clean = take(folder, checkout)
    (checkout / "bench/train.py").write_text("changed = 1\n")
    assert plan(folder, checkout).path not in (None, clean.path)
    first = take(folder, checkout)
    assert take(folder, checkout) == first == plan(folder, checkout)
    (checkout / "bench/train.py").write_text("changed = 2\n")
    assert take(folder, checkout).path != first.path
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 3


def test_jobs_import_the_copy_and_not_where_they_start(checkout, tmp_path):
    code = take(tmp_path / "code with 'quotes'", checkout)
    script = "\n".join([*code.setup(), f"{sys.executable} -c 'import bench.train as t; print(t.before)'"])
    (checkout / "bench/train.py").write_text("raise SystemExit\n")
    done = subprocess.run(["bash", "-c", script], cwd=checkout, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_installed_code_has_no_copy(tmp_path):
    code = take(tmp_path / "code", tmp_path)
    assert code == Snapshot(None, None, None)
    assert code.setup() == []


def test_what_cannot_be_copied_is_told(checkout, tmp_path):
    (tmp_path / "code").write_text("in the way")
    with pytest.raises(SweepError, match="cannot copy the code to"):
        take(tmp_path / "code", checkout)

import os
import subprocess
import sys

import pytest

from slurm.resources import SweepError
from slurm.snapshot import ROOT, Snapshot, plan, take


def git(root, *args):
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", root, *who, *args], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    (root / "bench").mkdir(parents=True)
    git(root, "init", "--quiet")
    (root / "bench/__init__.py").touch()
    (root / "bench/arm.py").write_text("before = 1\n")
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
    (checkout / "bench/arm.py").write_text("edited = 2\n")  # between submission and start
    assert (code.path / "bench/arm.py").read_text() == "before = 1\n"
    assert status_of(code.path) == (head, "")


def test_a_changed_tree_is_copied_with_its_changes_and_its_copy_knows_that(checkout, tmp_path):
    (checkout / "bench/arm.py").write_text("changed = 1\n")
    (checkout / "bench/new.py").write_text("new = 1\n")
    (checkout / "bench/cache.pyc").write_text("no")
    (checkout / "runs").mkdir()
    (checkout / "runs/large.bin").write_text("not code")
    code = take(tmp_path / "code", checkout)
    assert (code.path / "bench/arm.py").read_text() == "changed = 1\n"
    assert (code.path / "bench/new.py").read_text() == "new = 1\n"
    assert not (code.path / "bench/cache.pyc").exists()
    assert not (code.path / "runs").exists()
    head, status = status_of(code.path)
    assert head == code.git_sha
    assert status.splitlines() == ["M bench/arm.py", "?? bench/new.py"]
    assert "changed = 1" in (tmp_path / "code" / code.changes).read_text()


def test_each_state_has_one_copy(checkout, tmp_path):
    folder = tmp_path / "code"
    clean = take(folder, checkout)
    (checkout / "bench/arm.py").write_text("changed = 1\n")
    assert plan(folder, checkout).path not in (None, clean.path)
    first = take(folder, checkout)
    assert take(folder, checkout) == first == plan(folder, checkout)
    (checkout / "bench/arm.py").write_text("changed = 2\n")
    assert take(folder, checkout).path != first.path
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 3


def test_jobs_import_the_copy_and_not_where_they_start(checkout, tmp_path):
    code = take(tmp_path / "code with 'quotes'", checkout)
    script = "\n".join(
        [*code.setup(), f"{sys.executable} -c 'import bench.arm as t; print(t.before)'"]
    )
    (checkout / "bench/arm.py").write_text("raise SystemExit\n")
    done = subprocess.run(["bash", "-c", script], cwd=checkout, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_installed_code_has_no_copy(tmp_path):
    code = take(tmp_path / "code", tmp_path)
    assert code == Snapshot(None, None, None)
    # Jobs start in the folder of the submission, which may hold a slurm.py of the user's own.
    assert code.setup() == [
        "export PYTHONSAFEPATH=1",
        f"export PYTHONPATH={ROOT}${{PYTHONPATH:+:$PYTHONPATH}}",
    ]


def test_what_pip_installed_does_not_come_before_the_standard_library(tmp_path, monkeypatch):
    monkeypatch.setattr("slurm.snapshot.ROOT", tmp_path / "site-packages")
    assert Snapshot(None, None, None).setup() == ["export PYTHONSAFEPATH=1"]


def test_what_cannot_be_copied_is_told(checkout, tmp_path):
    (tmp_path / "code").write_text("in the way")
    with pytest.raises(SweepError, match="cannot copy the code to"):
        take(tmp_path / "code", checkout)


SETTINGS = {
    "external": "[diff]\nexternal = true\n",
    "external that prints": "[diff]\nexternal = echo\n",
    "no prefix": "[diff]\nnoprefix = true\n",
    "mnemonic": "[diff]\nmnemonicPrefix = true\n",
    "order": "[diff]\norderFile = /nowhere\n",
    "context": "[diff]\ncontext = 0\n",
    "stale index": "[diff]\nautoRefreshIndex = false\n",
    "colour": "[color]\nui = always\ndiff = always\n",
    "protocol": '[protocol "file"]\nallow = never\n[protocol]\nallow = never\n',
    "instead": '[url "https://nowhere.invalid/"]\ninsteadOf = /\n',
    "monitor": "[core]\nfsmonitor = false | touch {spy}\n",
    "hooks": "[core]\nhooksPath = {hooks}\n",
    "ignored": "[core]\nexcludesFile = {ignored}\n",
    "template": "[init]\ntemplateDir = {template}\n",
    "textconv": '[diff "py"]\ntextconv = touch {spy}; cat\n[core]\nattributesFile = {attributes}\n',
    "driver": '[diff "py"]\ncommand = touch {spy}\n[core]\nattributesFile = {attributes}\n',
    "signed": "[commit]\ngpgsign = true\n[apply]\nwhitespace = error\n",
    "damaged": "[diff\n",
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A function that writes a user's settings of git and returns the file that hooks make."""
    home = tmp_path / "home"
    spy = tmp_path / "spy"
    (home / "hooks").mkdir(parents=True)
    (home / "template/hooks").mkdir(parents=True)
    for hook in (home / "hooks/post-checkout", home / "template/hooks/post-checkout"):
        hook.write_text(f"#!/bin/sh\ntouch {spy}\n")
        hook.chmod(0o755)
    (home / "attributes").write_text("*.py diff=py\n")
    (home / "ignored").write_text("new.py\n")

    def write(text):
        places = {name: home / name for name in ("hooks", "template", "attributes", "ignored")}
        for name, place in {"spy": spy, **places}.items():
            text = text.replace(f"{{{name}}}", str(place))
        (home / ".gitconfig").write_text(text)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
        return spy

    return write


def change(checkout):
    (checkout / "bench/arm.py").write_text("changed = 1  \n")
    (checkout / "bench/new.py").write_text("new = 1\n")


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("place", ["user", "repository"])
def test_settings_of_git_neither_change_nor_break_the_copy(
    checkout, tmp_path, settings, name, place
):
    if place == "repository" and name in ("damaged", "ignored", "instead", "protocol", "signed"):
        pytest.skip("no repository with that works, or it says what its code is")
    change(checkout)
    os.utime(checkout / ".gitignore", (1, 1))  # touched, not changed
    plain = plan(tmp_path / "code", checkout)
    spy = settings(SETTINGS[name])
    if place == "repository":
        text = (tmp_path / "home/.gitconfig").read_text()
        settings("")
        with (checkout / ".git/config").open("a") as file:
            file.write(text)
    code = take(tmp_path / "code", checkout)
    assert code == plain
    assert code.recorded()["git_dirty"] is True
    assert (code.path / "bench/arm.py").read_text() == "changed = 1  \n"
    assert (code.path / "bench/new.py").exists()
    assert not spy.exists()


VARIABLES = {
    "GIT_EXTERNAL_DIFF": "true",
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/",
    "GIT_INDEX_FILE": "/nowhere/index",
    "GIT_DIFF_OPTS": "--unified=0",
    "GIT_ALLOW_PROTOCOL": "https",
    "GIT_CONFIG_PARAMETERS": "'diff.noprefix=true'",
    "GIT_OBJECT_DIRECTORY": "/nowhere",
    "GIT_LITERAL_PATHSPECS": "1",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_of_git_neither_change_nor_break_the_copy(checkout, tmp_path, monkeypatch, name):
    change(checkout)
    plain = plan(tmp_path / "code", checkout)
    monkeypatch.setenv(name, VARIABLES[name])
    code = take(tmp_path / "code", checkout)
    assert code == plain
    assert (code.path / "bench/arm.py").read_text() == "changed = 1  \n"


@pytest.mark.parametrize(
    "name", ["a%41b", "a%20b", "50%", "a b", 'it\'s "so"', "für", "a#b?c", "co:lon", "-dash"]
)
def test_a_checkout_is_copied_whatever_its_folder_is_called(checkout, tmp_path, name):
    (tmp_path / "aAb").mkdir()
    change(checkout)
    moved = checkout.rename(tmp_path / name)
    code = take(tmp_path / "code", moved)
    assert (code.path / "bench/arm.py").read_text() == "changed = 1  \n"


def test_a_work_tree_of_another_checkout_is_copied(checkout, tmp_path):
    git(checkout, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    change(tmp_path / "tree")
    code = take(tmp_path / "code", tmp_path / "tree")
    assert (code.path / "bench/arm.py").read_text() == "changed = 1  \n"


def test_a_checkout_of_another_owner_is_copied(checkout, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    change(checkout)
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 12345, 12345)
    code = take(tmp_path / "code", checkout)
    assert (code.path / "bench/arm.py").read_text() == "changed = 1  \n"


def test_a_repository_inside_a_room_is_no_code_of_ours(checkout, tmp_path):
    (checkout / "bench/theirs").mkdir()
    git(checkout / "bench/theirs", "init", "--quiet")
    git(checkout / "bench/theirs", "commit", "--allow-empty", "-m", "one")
    assert take(tmp_path / "code", checkout).changes is None


def test_a_folder_that_would_be_two_on_the_path_is_refused(checkout, tmp_path):
    for copy in (take, plan):
        with pytest.raises(SweepError, match="choose --runs without it"):
            copy(tmp_path / "10:30", checkout)

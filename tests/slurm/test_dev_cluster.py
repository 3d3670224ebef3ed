import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm/dev_cluster.sh"


def call(*args, **env):
    done = subprocess.run(
        [SCRIPT, *args], env={**os.environ, **env}, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_an_unknown_word_shows_the_known_ones():
    assert call("restart") == (2, f"error: usage: {SCRIPT} start|stop|status\n")


def test_it_stops_nothing_that_it_did_not_start(tmp_path):
    (tmp_path / "file").touch()
    code, said = call("stop", OT_DEV_CLUSTER=str(tmp_path))
    assert (code, "there is none of mine" in said) == (2, True)
    assert (tmp_path / "file").exists()


def test_it_does_not_start_beside_another_cluster(tmp_path):
    running = (
        shutil.which("pgrep")
        and subprocess.run(["pgrep", "-x", "slurmctld"], capture_output=True).returncode == 0
    )
    if not running or os.getuid():
        pytest.skip("no SLURM runs here, or not as root")
    code, said = call("start", OT_DEV_CLUSTER=str(tmp_path / "second"))
    assert (code, "is running here: use that cluster" in said) == (2, True)
    assert not (tmp_path / "second").exists()


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("slurmctld"), reason="needs root and slurm-wlm"
)
def test_it_takes_no_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "file").touch()
    code, _ = call("start", OT_DEV_CLUSTER=str(tmp_path))
    assert code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""A signal while a pool is being coupled: the process ends at once, and the run resumes to the same
weights.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.check import make
from bench.record import RunFolder
from tests.bench.conftest import TINY

ROOT = Path(__file__).parents[2]

# The second pool, once its turn comes in a first process, is never done: as of a solver that works
# for hours.
CHILD = """
import ctypes, signal, sys
from pathlib import Path
from bench.pairs import stream as pairs
from bench.training.checkpoints import Keeper
from bench.arm import run_arm
from bench.process.background import end_process
from bench.check import make
from bench.config import Execution

said = []

def draw(split, pool, seed, rank, number, draw=pairs.draw_pool):
    if sys.argv[2] == "stuck" and number == 2:
        ctypes.CDLL(None).sleep(600)
    return draw(split, pool, seed, rank, number)

def look(self, look=Keeper.leave_if_asked):
    if self.state.step == 5 and not said:
        said.append(print("waiting", flush=True))
    look(self)

if __name__ == "__main__":
    # A shell that starts a job in the background has it ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Keeper.leave_if_asked = look
    pairs.draw_pool = draw
    try:
        config = make(None, {overrides!r})
        run_arm(config, Path(sys.argv[1]), Execution(device="cpu"), progress=False)
    except KeyboardInterrupt:
        end_process(130)
"""


def start(runs, overrides, how):
    code = CHILD.replace("{overrides!r}", repr(overrides))
    command = [sys.executable, "-c", code, str(runs), how]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def overrides():
    return {
        **TINY,
        "coupling": "lapjv",
        "images": 512,
        "pool": 160,
        "metrics": ["truncation"],
        "rhos": [],
        "features": ["pixels"],
    }


def checkpoint(runs, overrides):
    path = runs / make(None, overrides).run_id / "checkpoint.pt"
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, overrides):
    """The checkpoint of a run that nobody stopped."""
    runs = tmp_path_factory.mktemp("whole")
    with start(runs, overrides, "free") as process:
        assert process.wait(120) == 0
    return checkpoint(runs, overrides)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_during_a_pool_ends_the_run_with_its_steps_saved(
    tmp_path, overrides, undisturbed, sent
):
    with start(tmp_path, overrides, "stuck") as process:
        try:
            assert "waiting\n" in process.stdout  # after five steps, which two pools are enough for
            os.kill(process.pid, sent)
            code = process.wait(60)
        finally:
            process.kill()
    assert code == (130 if sent == signal.SIGINT else -sent)
    if sent != signal.SIGINT:
        assert checkpoint(tmp_path, overrides)["step"] == 5
    folder = RunFolder(tmp_path / make(None, overrides).run_id)
    assert folder.status()["state"] == "stopped"
    with start(tmp_path, overrides, "free") as process:
        assert process.wait(120) == 0
    stopped = checkpoint(tmp_path, overrides)
    for part in ("net", "ema"):
        for name, tensor in undisturbed[part].items():
            assert torch.equal(tensor, stopped[part][name]), name
    assert stopped["cost"]["pools"] == undisturbed["cost"]["pools"] == 4
    cost = undisturbed["cost"]["cost_after"]
    assert stopped["cost"]["cost_after"] == pytest.approx(cost, rel=1e-12)

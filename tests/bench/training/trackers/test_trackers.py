"""Trackers see the training as it runs and change none of its numbers."""

import json
import sys

import pytest

from bench.arm import run_arm
from bench.check import make
from bench.config import ConfigError, Execution
from bench.record import Measurement, RunFolder
from bench.training.trackers import Log, refuse_unknown

OPTIONS = {"coupling": "lapjv", "images": 256, "pool": 64, "batch": 64, "nfe": [3], "rhos": [7.0]}
OPTIONS |= {"model_channels": 8, "channel_mult": [1], "metrics": ["truncation"]}
OPTIONS |= {"trajectories": 8, "reference_steps": 8, "features": ["pixels"]}
# Everything that it is told, as lines of JSON.
TRACKER = """
import json
from bench.training.trackers.contract import Tracker

class Lines(Tracker):
    def __init__(self, folder, run_id, options, images):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{run_id}.jsonl"
        self.tell(begun=images, lr=options["training.lr"])

    def tell(self, **found):
        with self.file.open("a") as file:
            file.write(json.dumps(found) + "\\n")

    def values(self, values, images):
        self.tell(images=images, **values)

    def picture(self, name, path, images):
        self.tell(picture=name)

    def close(self):
        self.tell(closed=True)
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """A tracker of the user's own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/lines.py").write_text(TRACKER)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine.lines"
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


def numbers(runs):
    """Metric to value of the only run, without times."""
    (file,) = runs.glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    timed = ("seconds", "_ms", "_s", "share")
    return {row["metric"]: row["value"] for row in rows if not row["metric"].endswith(timed)}


def test_a_tracker_sees_loss_gain_and_measurements_and_changes_no_number(lines, tmp_path):
    config = make(None, OPTIONS)
    run_arm(config, tmp_path / "a", progress=False)
    run_arm(config, tmp_path / "b", Execution(log=(lines,)), progress=False)
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    (file,) = (tmp_path / "b/lines").glob("*.jsonl")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert told[0] == {"begun": 0, "lr": config.training.lr}
    (checked,) = [values for values in told if "loss" in values]
    assert checked["images"] == 256
    assert 0 < checked["coupling/saved"] < 1
    assert checked["coupling/wait_seconds"] >= 0
    found = numbers(tmp_path / "b")
    saved = 1 - found["transport_cost"] / found["transport_cost_independent"]
    assert checked["coupling/saved"] == pytest.approx(saved)
    (measured,) = [values for values in told if "truncation_error/nfe3" in values]
    assert measured["truncation_error/nfe3"] == found["truncation_error"]
    assert told[-1] == {"closed": True}


def test_a_tracker_that_fails_is_left_out_with_a_line(lines, tmp_path, capsys):
    config = make(None, {"images": 256})
    with Log([lines], config, RunFolder(tmp_path / "runs/r")) as log:
        log.begin(128)
        log.begin(0)  # of the evaluation, whose training has begun it
        log.values({"loss": object()}, 64)
        log.values({"loss": 1.0}, 128)
    assert "warning: --log mine.lines stops: TypeError: Object of" in capsys.readouterr().err
    told = (tmp_path / "runs/lines/r.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in told] == [{"begun": 128, "lr": config.training.lr}]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_refused_before_anything_runs(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"--log {name}: .*\.\[{name}\]'"):
        refuse_unknown([name])
    with pytest.raises(ConfigError, match="did you mean tensorboard"):
        refuse_unknown(["tensorbord"])


def test_tensorboard_holds_the_values_and_drops_those_after_the_checkpoint(tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = RunFolder(tmp_path / "r")
    config = make(None, {"images": 256})
    rows = [Measurement("fd_pixels", 3.0, nfe=9, rho=7.0, sampler="heun", split="test", n=8)]
    for begun, steps in ((0, (64, 128, 192)), (128, (192, 256))):
        with Log(["tensorboard"], config, folder) as log:
            log.begin(begun)
            for images in steps:
                log.values({"loss": images + begun}, images)
            log.measured(rows, 256)
    events = loading.EventAccumulator(str(tmp_path / "tensorboard/r")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(64, 64.0), (128, 128.0), (192, 320.0), (256, 384.0)]
    assert events.Scalars("fd_pixels/test/nfe9")[-1].value == 3.0

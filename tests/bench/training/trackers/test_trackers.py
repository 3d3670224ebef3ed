"""Trackers see the training as it runs and change none of its numbers."""

import json
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from bench.arm import run_arm
from bench.check import make
from bench.config import ConfigError, Execution
from bench.process.signals import EndSignals
from bench.record import Measurement, RunFolder
from bench.training.checkpoints import Keeper
from bench.training.trackers import Log, refuse_unknown
from bench.training.trackers.mlflow import MLflow
from bench.training.trackers.wandb import WeightsAndBiases

OPTIONS = {"coupling": "lapjv", "images": 250, "pool": 64, "batch": 64, "nfe": [3], "rhos": [7.0]}
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

    def close(self, failed):
        self.tell(failed=failed)
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
    # Not the 250 of the budget: W&B ignores values at fewer images than before.
    assert measured["images"] == 256
    assert told[-1] == {"failed": False}


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


def test_a_tracker_is_told_if_the_run_failed(lines, tmp_path):
    log = Log([lines], make(None, {"images": 256}), RunFolder(tmp_path / "runs/r"))
    log.begin(0)
    with pytest.raises(KeyboardInterrupt), log:
        raise KeyboardInterrupt
    told = (tmp_path / "runs/lines/r.jsonl").read_text().splitlines()
    assert json.loads(told[-1]) == {"failed": True}


def test_the_log_is_closed_before_a_signal_ends_the_process(lines, tmp_path):
    """It is opened again if a handler of the calling program returns."""
    file = tmp_path / "runs/lines/r.jsonl"
    log = Log([lines], make(None, {"images": 256}), RunFolder(tmp_path / "runs/r"))
    at_the_end = []
    end = EndSignals()
    end.noted = signal.SIGUSR1
    end.deliver = lambda: at_the_end.extend(file.read_text().splitlines())
    log.begin(0)
    Keeper(SimpleNamespace(step=2), None, None, end, log, 64).leave()
    assert json.loads(at_the_end[-1]) == {"failed": True}
    assert json.loads(file.read_text().splitlines()[-1])["begun"] == 128


@pytest.fixture
def server(monkeypatch):
    """An MLflow of one server, where another run makes the experiment at the same moment."""

    class MlflowException(Exception):
        pass

    class Client:
        experiments = None
        ended = []

        def __init__(self, uri):
            pass

        def get_experiment_by_name(self, name):
            return self.experiments

        def create_experiment(self, name):
            Client.experiments = SimpleNamespace(experiment_id="7")
            raise MlflowException("exists")

        def create_run(self, experiment, run_name):
            return SimpleNamespace(info=SimpleNamespace(run_id=f"run of {experiment}"))

        def set_terminated(self, run_id, status):
            self.ended.append((run_id, status))

    modules = {"exceptions": {"MlflowException": MlflowException}}
    modules["tracking"] = {"MlflowClient": Client}
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    for name, content in modules.items():
        module = ModuleType(f"mlflow.{name}")
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, f"mlflow.{name}", module)
    return Client


def test_two_runs_at_once_share_an_mlflow_experiment_and_say_how_they_ended(server, tmp_path):
    for failed in (False, True):
        MLflow(tmp_path, "r", {}, 0).close(failed)
    assert server.ended == [("run of 7", "FINISHED"), ("run of 7", "FAILED")]


def test_wandb_is_told_if_the_run_failed(tmp_path, monkeypatch):
    codes = []
    run = SimpleNamespace(finish=lambda exit_code: codes.append(exit_code))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: run))
    for failed in (False, True):
        WeightsAndBiases(tmp_path, "r", {}, 0).close(failed)
    assert codes == [0, 1]


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


def filled(name, folder):
    """Log a run, stop it, resume it and finish it, as a training does."""
    rows = [Measurement("fd_pixels", 3.0, nfe=9, rho=7.0, sampler="heun", split="test", n=8)]
    pixels = Image.new("RGB", (4, 4))
    (folder.path / "samples").mkdir(parents=True)
    pixels.save(folder.path / "samples/nfe9.png")
    for begun, steps in ((0, (64, 128)), (128, (192, 256))):
        with Log([name], make(None, {"images": 256}), folder) as log:
            log.begin(begun)
            for images in steps:
                log.values({"loss": float(images), "coupling/a=b,c": 2.0}, images)
            log.measured(rows, 256)
            # One that failed would have been left out.
            assert log.is_open


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_mlflow_holds_values_options_and_pictures(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    filled("mlflow", RunFolder(tmp_path / "runs/r"))
    client = tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("ot-couplings")
    found = client.search_runs([experiment.experiment_id], order_by=["start_time"])
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]
    assert found[0].data.params["coupling"] == "random"
    losses = client.get_metric_history(found[1].info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in losses] == [(192, 192.0), (256, 256.0)]
    assert found[1].data.metrics["fd_pixels/test/nfe9"] == 3.0
    assert found[1].data.metrics["coupling/a_b_c"] == 2.0
    assert [file.path for file in client.list_artifacts(found[1].info.run_id)] == ["nfe9.png"]


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_wandb_writes_an_offline_run_and_resumes_it(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    filled("wandb", RunFolder(tmp_path / "runs/r"))
    logs = list((tmp_path / "runs/wandb").glob("wandb/offline-run-*/run-r.wandb"))
    assert len(logs) == 2
    assert all(b"fd_pixels/test/nfe9" in file.read_bytes() for file in logs)
    assert list((tmp_path / "runs/wandb").glob("wandb/offline-run-*/files/media/images/*.png"))


def test_mlflow_gets_names_that_every_server_takes(server, tmp_path, monkeypatch):
    names = []
    log = lambda self, run_id, name, value, step: names.append(name)  # noqa: E731
    monkeypatch.setattr(server, "log_metric", log, raising=False)
    MLflow(tmp_path, "r", {}, 0).values({"w2/test/nfe9": 1.0, "mine:k=3,\u03c3": 2.0}, 64)
    assert names == ["w2/test/nfe9", "mine:k_3__"]

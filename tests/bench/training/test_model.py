"""The network of a finished run as the model of a coupling."""

from dataclasses import replace

import pytest
import torch

from bench import data
from bench.config import ConfigError
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.record.files import write_json
from bench.sampling.latents import Latents
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.suitable import refuse_model
from bench.training.checkpoints import TrainingError
from bench.training.loop import train
from bench.training.model import open_model
from couplings import get

ALONE = Ranks(0, 1, "cpu")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def finished(tiny, digits, tmp_path):
    """Train a run in the folder ``teacher``, with what a run records."""

    def run(**changes):
        config = replace(tiny, training=replace(tiny.training, **changes))
        folder = RunFolder(tmp_path / "teacher")
        state = train(config, digits, folder, ALONE, progress=False)
        write_json(folder.path / "config.json", config.identity)
        write_json(folder.path / "provenance.json", {"data_checksum": digits.checksum})
        return config, state

    return run


def test_its_images_are_the_samples_of_the_run(finished, digits, tmp_path):
    config, state = finished(conditional=True, label_blind=True)
    model = open_model(get("reflow:run=teacher,nfe=5,per_class=true"), tmp_path, digits, "cpu")
    noise = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    latents = Latents(noise, labels)
    expected = sample(state.ema.net, latents, Setting(nfe=5, rho=7.0), config.evaluation, "cpu")
    torch.testing.assert_close(model(noise, labels), expected.images)


def test_a_run_trains_on_the_pairs_of_another(finished, digits, tmp_path):
    config, _ = finished()
    second = replace(config, coupling="reflow:run=teacher,nfe=3,pairs=1,batch=1024")
    state = train(second, digits, RunFolder(tmp_path / "second"), ALONE, progress=False)
    assert state.cost.fit["evaluations"] == 3 * len(digits.train)
    assert state.cost.pools > 0
    # Pairs that are made need no model, so its run may be gone.
    (tmp_path / "teacher").rename(tmp_path / "gone")
    refuse_model(second, RunFolder(tmp_path / "third"), digits)
    again = train(second, digits, RunFolder(tmp_path / "third"), ALONE, progress=False)
    assert again.history[-1]["loss"] == state.history[-1]["loss"]


def test_a_pilot_finds_the_run_among_those_above_it(finished, digits, tmp_path):
    finished()
    coupling = get("reflow:run=teacher,nfe=3")
    model = open_model(coupling, tmp_path / "pilots", digits, "cpu")
    noise = torch.ones(1, 1, 8, 8)
    expected = open_model(coupling, tmp_path, digits, "cpu")(noise, None)
    assert torch.equal(model(noise, None), expected)


def test_a_missing_run_is_refused_beforehand_unless_it_is_to_be_made(tiny, digits, tmp_path):
    config = replace(tiny, coupling="reflow:run=teacher")
    folder = RunFolder(tmp_path / "second")
    with pytest.raises(ConfigError, match="no run teacher"):
        refuse_model(config, folder, digits)
    refuse_model(config, folder, digits, coming={"teacher"})
    refuse_model(tiny, folder, digits)


def test_a_run_that_cannot_be_the_model_is_refused(finished, digits, tmp_path):
    def refused(words, dataset=digits, spec="reflow:run=teacher"):
        with pytest.raises(TrainingError, match=words):
            open_model(get(spec), tmp_path, dataset, "cpu")

    refused("no run teacher")
    finished()
    refused("without labels: leave per_class out", spec="reflow:run=teacher,per_class=true")
    refused("other data", dataset=data.load("moons"))
    (tmp_path / "teacher" / "checkpoint.pt").unlink()
    refused("has not finished training")

"""Weights of least validation loss: the checks find the same weights as shorter trainings do."""

from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import check
from bench.config import ConfigError
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.suitable import refuse_unfit
from bench.training import loop
from bench.training.checkpoints import load_checkpoint
from bench.training.selection import CHUNK, Selection
from bench.training.step import Stepper

ALONE = Ranks(0, 1, "cpu")
EVERY = 2  # steps


@pytest.fixture(scope="module")
def moons():
    return data.load("sf2m-moons")


@pytest.fixture
def config(tiny):
    """A training whose loss goes up and down between checks."""
    training = replace(
        tiny.training, objective="flow:path_sigma=0.1", images=20 * 64, lr=0.03, lr_ramp=0
    )
    training = replace(training, pool=128, batch=64, ema_halflife=1, select_every=EVERY * 64)
    network = replace(tiny.network, arch="mlp", arch_options=("width=16",))
    return check(replace(tiny, data="sf2m-moons", network=network, training=training))


def run(config, dataset, path, **often):
    return loop.train(config, dataset, RunFolder(path), ALONE, progress=False, **often)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_measured_weights_are_those_of_least_validation_loss(config, moons, tmp_path):
    """Oracle: trainings that end at each check, measured by themselves."""
    chosen = run(config, moons, tmp_path / "whole")
    plain = replace(config, training=replace(config.training, select_every=0))
    ends = []
    for step in range(EVERY, 21, EVERY):
        shorter = replace(plain, training=replace(plain.training, images=step * 64))
        ends.append(run(shorter, moons, tmp_path / str(step)))
    selection = Selection(config, moons.validation, chosen.net)
    losses = [selection.loss(end.ema.net) for end in ends]
    best = min(range(len(losses)), key=losses.__getitem__)
    # The last weights would be found without any selection.
    assert best < len(losses) - 1
    assert torch.equal(weights(chosen.ema.net), weights(ends[best].ema.net))
    assert chosen.selected.images == (best + 1) * EVERY * 64
    assert chosen.selected.loss == pytest.approx(losses[best], rel=1e-6)
    rows = loop.training_measurements(chosen.cost, chosen.seconds, 1280, chosen.selected)
    assert {row.metric: row.value for row in rows}["selected_images"] == chosen.selected.images
    # Later evaluations read them from the final checkpoint.
    saved = load_checkpoint(RunFolder(tmp_path / "whole"), "cpu")["ema"]
    assert all(torch.equal(saved[k], v) for k, v in ends[best].ema.net.state_dict().items())


def test_a_stopped_selection_resumes_to_the_same_weights(config, moons, tmp_path, monkeypatch):
    whole = run(config, moons, tmp_path / "whole")

    class Stop(Exception):
        pass

    step = Stepper.__call__

    def stopping(self, pairs):
        if self.state.step == 15:
            raise Stop
        return step(self, pairs)

    often = {"check_every": 3, "checkpoint_seconds": 0.0}
    monkeypatch.setattr(Stepper, "__call__", stopping)
    with pytest.raises(Stop):
        run(config, moons, tmp_path / "stopped", **often)
    monkeypatch.setattr(Stepper, "__call__", step)
    resumed = run(config, moons, tmp_path / "stopped", **often)
    assert torch.equal(weights(resumed.ema.net), weights(whole.ema.net))
    assert resumed.selected.images == whole.selected.images


def test_the_pairs_are_those_of_the_coupling_and_of_a_source(config):
    """Each pool is as close as an assignment makes it, and no pair is of the test split."""
    moons = data.load("dsb-8gaussians", source="dsb-moons")
    selection = Selection(config, moons.validation, loop.new_state(config, moons, "cpu").net)
    assert len(selection.pairs) == len(moons.validation)
    sources = {tuple(point) for point in moons.validation.source.flatten(1).tolist()}
    assert {tuple(point) for point in selection.pairs.noise.flatten(1).tolist()} <= sources
    test = {tuple(point) for point in moons.test.images.flatten(1).tolist()}
    assert not test & {tuple(point) for point in selection.pairs.images.flatten(1).tolist()}
    random = Selection(
        replace(config, coupling="random"),
        moons.validation,
        loop.new_state(config, moons, "cpu").net,
    )
    apart = [(s.pairs.images - s.pairs.noise).square().mean() for s in (selection, random)]
    assert apart[0] < 0.7 * apart[1]


def test_weights_of_pairs_are_those_of_their_losses(config, moons):
    """With weights 2 and 0 the loss is that of the pairs of weight 2 alone."""
    net = loop.new_state(config, moons, "cpu").net
    selection = Selection(replace(config, coupling="w-cfm"), moons.validation, net)
    assert selection.pairs.weights.std() > 0
    weights = 2.0 * (torch.arange(2 * CHUNK) < CHUNK)
    selection.pairs = replace(selection.pairs[: 2 * CHUNK], weights=weights)
    found = selection.loss(net)
    selection.pairs = replace(selection.pairs[:CHUNK], weights=None)
    assert found == pytest.approx(selection.loss(net), rel=1e-5)


def test_data_without_a_validation_split_are_refused(tiny):
    config = check(replace(tiny, training=replace(tiny.training, select_every=64)))
    with pytest.raises(ConfigError, match="digits has no validation split"):
        refuse_unfit(config, data.load("digits"))


def test_couplings_of_the_training_set_are_refused(config, moons):
    with pytest.raises(ConfigError, match="semidiscrete pairs no images but those of training"):
        refuse_unfit(replace(config, coupling="semidiscrete"), moons)


def test_a_negative_number_of_images_is_refused(tiny):
    with pytest.raises(ConfigError, match="--select-every -1: 0 or more"):
        check(replace(tiny, training=replace(tiny.training, select_every=-1)))

from dataclasses import replace

import pytest
import torch

from bench import data, train
from bench.record import RunFolder
from bench.train import TrainingError, build_network, load_checkpoint, new_state, save_checkpoint


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def with_training(config, **changes):
    return replace(config, training=replace(config.training, **changes))


def test_all_couplings_begin_with_the_same_weights_and_seeds_do_not(digits, tiny):
    nets = [build_network(tiny.network, digits, False, seed) for seed in (0, 0, 1)]
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_building_a_network_leaves_the_global_generator_alone(digits, tiny):
    before = torch.get_rng_state()
    build_network(tiny.network, digits, False, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_training_lowers_the_loss(digits, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECK_EVERY", 10)
    config = with_training(tiny, images=6_400, lr=3e-3, lr_ramp=0)
    state = train.train(config, digits, RunFolder(tmp_path), "cpu", progress=False)
    assert state.step == 100
    assert state.history[-1]["loss"] < 0.7 * state.history[0]["loss"]


@pytest.mark.parametrize(
    ("coupling", "dropout"),
    [("lapjv", 0.0), ("lapjv", 0.2), ("cached:epochs=1", 0.0), ("semidiscrete:max_chi2=1", 0.0)],
)
def test_a_stopped_run_resumes_to_the_same_weights(digits, tiny, tmp_path, monkeypatch, coupling, dropout):
    config = replace(tiny, coupling=coupling, network=replace(tiny.network, dropout=dropout))
    whole = train.train(config, digits, RunFolder(tmp_path / "whole"), "cpu", progress=False)

    class Stop(Exception):
        pass

    step = train.train_step

    def stopping(config, state, pairs):
        if state.step == 7:
            raise Stop
        return step(config, state, pairs)

    folder = RunFolder(tmp_path / "stopped")
    monkeypatch.setattr(train, "CHECK_EVERY", 3)
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(train, "train_step", stopping)
    with pytest.raises(Stop):
        train.train(config, digits, folder, "cpu", progress=False)
    assert load_checkpoint(folder, "cpu")["step"] == 6
    monkeypatch.setattr(train, "train_step", step)
    resumed = train.train(config, digits, folder, "cpu", progress=False)
    assert torch.equal(weights(resumed.net), weights(whole.net))
    assert torch.equal(weights(resumed.ema.net), weights(whole.ema.net))


def test_arms_see_the_same_sigmas(digits, tiny, monkeypatch):
    seen = []
    loss = train.edm_loss
    monkeypatch.setattr(train, "edm_loss", lambda net, y, n, s, labels: seen.append(s) or loss(net, y, n, s, labels))
    for coupling in ("random", "lapjv"):
        config = replace(tiny, coupling=coupling)
        with_stream = train.PairStream(digits.train, train.get(coupling), pool=128, batch=64, seed=0)
        state = new_state(config, digits, "cpu")
        with with_stream as stream:
            for _, pairs in zip(range(3), stream, strict=False):
                train.train_step(config, state, pairs)
    for a, b in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(a, b)
        assert len(a.unique()) == len(a)  # one for every sample


def test_the_learning_rate_rises_and_stays(digits, tiny):
    config = with_training(tiny, lr=1.0e-3, lr_ramp=256)
    state = new_state(config, digits, "cpu")
    rates = []
    with train.PairStream(digits.train, train.get("random"), pool=128, batch=64, seed=0) as stream:
        for _, pairs in zip(range(6), stream, strict=False):
            train.train_step(config, state, pairs)
            rates.append(state.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_checkpoint(digits, tiny, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    good = new_state(tiny, digits, "cpu")
    save_checkpoint(folder, good)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(train, "edm_loss", lambda net, *rest: next(net.parameters()).sum() * float("nan"))
    with pytest.raises(TrainingError, match="--lr"):
        train.train(tiny, digits, folder, "cpu", progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_truncated_checkpoint_gives_way_to_the_previous_one_and_says_so(digits, tiny, tmp_path, capsys):
    folder = RunFolder(tmp_path)
    state = new_state(tiny, digits, "cpu")
    for state.step in (1, 2):
        save_checkpoint(folder, state)
    newest = tmp_path / "checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert load_checkpoint(folder, "cpu")["step"] == 1
    assert "checkpoint.pt" in capsys.readouterr().out
    (tmp_path / "checkpoint-previous.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="checkpoint-previous.pt"):
        load_checkpoint(folder, "cpu")
    assert newest.exists()


def test_a_conditional_network_gets_one_hot_labels(digits, tiny, monkeypatch):
    config = with_training(tiny, conditional=True)
    state = new_state(config, digits, "cpu")
    seen = []
    loss = train.edm_loss
    monkeypatch.setattr(
        train, "edm_loss", lambda net, y, n, s, labels: seen.append(labels) or loss(net, y, n, s, labels)
    )
    with train.PairStream(digits.train, train.get("random"), pool=128, batch=64, seed=0) as stream:
        pairs = next(iter(stream))
        train.train_step(config, state, pairs)
    assert seen[0].shape == (64, 10)
    assert torch.equal(seen[0].argmax(1), pairs.labels)

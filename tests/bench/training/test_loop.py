import signal
from dataclasses import replace

import pytest
import torch

from bench import data
from bench.config import Execution
from bench.pairs.cost import CouplingCost
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.training import loop as train
from bench.training.checkpoints import TrainingError, load_checkpoint, save_checkpoint
from bench.training.state import new_state
from bench.training.step import Stepper
from models.objectives.edm import EDM

ALONE = Ranks(0, 1, "cpu")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def with_training(config, **changes):
    return replace(config, training=replace(config.training, **changes))


def test_training_lowers_the_loss(digits, tiny, tmp_path):
    config = with_training(tiny, images=6_400, lr=3e-3, lr_ramp=0)
    state = train.train(config, digits, RunFolder(tmp_path), ALONE, progress=False, check_every=10)
    assert state.step == 100
    assert state.history[-1]["loss"] < 0.7 * state.history[0]["loss"]


@pytest.mark.parametrize(
    ("coupling", "dropout", "augment"),
    [
        ("lapjv", 0.0, 0.0),
        ("lapjv", 0.2, 0.3),
        ("cached:epochs=1", 0.0, 0.3),
        ("semidiscrete:max_chi2=1", 0.0, 0.0),
        ("model-aligned:warmup=0.3", 0.2, 0.3),
    ],
)
def test_a_stopped_run_resumes_to_the_same_weights(
    digits, tiny, tmp_path, monkeypatch, coupling, dropout, augment
):
    config = replace(tiny, coupling=coupling, network=replace(tiny.network, dropout=dropout))
    config, parts = with_training(config, augment=augment), Execution(micro_batch=24)
    whole = train.train(config, digits, RunFolder(tmp_path / "whole"), ALONE, parts, progress=False)

    class Stop(Exception):
        pass

    step = Stepper.__call__

    def stopping(self, pairs):
        if self.state.step == 7:
            raise Stop
        return step(self, pairs)

    folder = RunFolder(tmp_path / "stopped")
    often = {"progress": False, "check_every": 3, "checkpoint_seconds": 0.0}
    monkeypatch.setattr(Stepper, "__call__", stopping)
    with pytest.raises(Stop):
        train.train(config, digits, folder, ALONE, parts, **often)
    assert load_checkpoint(folder, "cpu")["step"] == 6
    monkeypatch.setattr(Stepper, "__call__", step)
    resumed = train.train(config, digits, folder, ALONE, parts, **often)
    assert torch.equal(weights(resumed.net), weights(whole.net))
    assert torch.equal(weights(resumed.ema.net), weights(whole.ema.net))


def test_another_number_of_processes_does_not_go_on_with_pools_of_their_own(digits, tiny, tmp_path):
    folder = RunFolder(tmp_path)
    begun = new_state(tiny, digits, "cpu")
    begun.step, begun.processes = 2, 4
    save_checkpoint(folder, begun)
    with pytest.raises(TrainingError, match="4 processes"):
        train.train(tiny, digits, folder, ALONE, progress=False)
    shared = with_training(tiny, pool_scope="global")
    assert train.train(shared, digits, folder, ALONE, progress=False).processes == 1


def test_a_coupling_that_follows_the_model_asks_several_processes_for_common_pools(
    digits, tiny, tmp_path
):
    class OneOfTwo(Ranks):
        def share(self, value=None):
            return value

        def wait(self):
            """Wait for nobody."""

    config = replace(tiny, coupling="model-aligned")
    with pytest.raises(TrainingError, match="--pool-scope global"):
        train.train(config, digits, RunFolder(tmp_path), OneOfTwo(0, 2, "cpu"), progress=False)


def test_processes_that_found_other_checkpoints_are_told_to_share_the_folder(digits, tiny):
    class Second(Ranks):
        def share(self, value=None):
            return 6

    with pytest.raises(TrainingError, match="share"):
        train._check_ranks_agree(new_state(tiny, digits, "cpu"), Second(1, 2, "cpu"))


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_checkpoint(
    digits, tiny, tmp_path, monkeypatch
):
    folder = RunFolder(tmp_path)
    good = new_state(tiny, digits, "cpu")
    save_checkpoint(folder, good)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(
        EDM, "loss", lambda self, net, *rest: next(net.parameters()).sum() * float("nan")
    )
    with pytest.raises(TrainingError, match="--lr"):
        train.train(tiny, digits, folder, ALONE, progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_truncated_checkpoint_gives_way_to_the_previous_one_and_says_so(
    digits, tiny, tmp_path, capsys
):
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


def test_a_few_overflows_are_left_out_of_the_loss_and_said(digits, tiny, tmp_path, capsys):
    losses = [torch.tensor(value) for value in (1.0, 3.0, float("inf"))]
    state = new_state(tiny, digits, "cpu")
    state.losses = losses
    assert train.checked_loss(state, ALONE, RunFolder(tmp_path)) == 2.0
    assert state.losses == []
    assert "1 of the last 3" in capsys.readouterr().out


def test_an_augmented_network_gets_the_labels_of_its_images(digits, tiny, monkeypatch, tmp_path):
    config = with_training(tiny, augment=0.5)
    seen = []
    loss = EDM.loss
    monkeypatch.setattr(EDM, "loss", lambda *args: seen.append(args[1:]) or loss(*args))
    train.train(config, digits, RunFolder(tmp_path), ALONE, progress=False)
    images, labels = torch.cat([args[1] for args in seen]), torch.cat([args[5] for args in seen])
    assert labels.shape == (640, 9)
    plain = {tuple(image.flatten().tolist()) for image in digits.train.images}
    for image, label in zip(images, labels, strict=True):
        assert (
            (tuple(image.flatten().tolist()) in plain) == (not label.any()) or label[0] or label[1]
        )


def test_bfloat16_trains_the_network_and_leaves_weights_and_average_in_float32(
    digits, tiny, tmp_path
):
    config = with_training(tiny, precision="bfloat16")
    state = train.train(config, digits, RunFolder(tmp_path), ALONE, progress=False)
    exact = train.train(tiny, digits, RunFolder(tmp_path / "exact"), ALONE, progress=False)
    assert weights(state.net).dtype == weights(state.ema.net).dtype == torch.float32
    assert state.ema.net.dtype == torch.float32
    difference = (weights(state.ema.net) - weights(exact.ema.net)).norm() / weights(
        exact.ema.net
    ).norm()
    assert 0 < difference < 0.05


@pytest.mark.parametrize("coupling", ["lapjv", "cached:epochs=1"])
def test_a_signal_leaves_a_checkpoint_of_the_very_step_and_the_same_run(
    digits, tiny, tmp_path, monkeypatch, coupling
):
    config = replace(tiny, coupling=coupling)
    often = {"progress": False, "check_every": 4}
    whole = train.train(config, digits, RunFolder(tmp_path / "whole"), ALONE, **often)

    class Stop(BaseException):
        pass

    def stop(number, frame):
        raise Stop

    step = Stepper.__call__

    def interrupted(self, pairs):
        if self.state.step == 6:  # in the middle of the seventh
            signal.raise_signal(signal.SIGUSR1)
        return step(self, pairs)

    before = signal.signal(signal.SIGUSR1, stop)
    folder = RunFolder(tmp_path / "stopped")
    try:
        monkeypatch.setattr(Stepper, "__call__", interrupted)
        with pytest.raises(Stop):
            train.train(config, digits, folder, ALONE, **often)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert load_checkpoint(folder, "cpu")["step"] == 7
    monkeypatch.setattr(Stepper, "__call__", step)
    resumed = train.train(config, digits, folder, ALONE, **often)
    assert torch.equal(weights(whole.net), weights(resumed.net))
    assert torch.equal(weights(whole.ema.net), weights(resumed.ema.net))
    assert whole.history == resumed.history
    assert any("sigma 0.3 to 1" in entry for entry in whole.history)


def test_pairs_without_a_cost_save_nothing(digits, tiny):
    """Such as noise samples drawn from a source that is the data themselves."""
    state = new_state(tiny, digits, "cpu")
    state.cost = CouplingCost(pools=1)
    values = train.live_values(state, 2.0, {"sigma < 0.1": 0.5})
    assert values["loss"] == 2.0
    assert values["loss_by_level/sigma below 0.1"] == 0.5
    assert "coupling/saved" not in values


def test_slow_steps_do_not_put_checkpoints_far_apart(digits, tiny, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    step = Stepper.__call__

    def stopping(self, pairs):
        if self.state.step == 3:
            raise Stop
        return step(self, pairs)

    monkeypatch.setattr(Stepper, "__call__", stopping)
    folder = RunFolder(tmp_path)
    with pytest.raises(Stop):
        train.train(tiny, digits, folder, ALONE, progress=False, checkpoint_seconds=1e-9)
    assert load_checkpoint(folder, "cpu")["step"] == 3

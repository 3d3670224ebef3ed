"""Classifier-free guidance in a configuration and in sampling."""

import pytest
import torch

from bench.check import make
from bench.config import ConfigError, RunConfig
from bench.data import load
from bench.record.specs import cfg, cfg_weight
from bench.sampling.latents import draw_latents
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from models.denoiser import Denoiser
from models.networks import mlp
from models.objectives.edm import EDM
from models.ode import SigmaODE

TRAINED = {"conditional": True, "label_dropout": 0.1}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def net():
    """A denoiser of digits that is told the class; its values depend on it without training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Denoiser(mlp.build(8, 1, 10), EDM(), 10)


@pytest.fixture(scope="module")
def sampled(digits, net):
    """Images and NFE at a setting, and their latents."""
    latents = draw_latents(6, digits, seed=0)
    evaluation = make(None, {}).evaluation

    def run(setting):
        return sample(net, latents, setting, evaluation, "cpu"), latents

    return run


@pytest.mark.parametrize("sampler", ["heun", "euler"])
def test_weight_1_is_plain_conditional_sampling_bit_for_bit(sampled, net, sampler):
    setting = Setting(sampler, 9, 7.0, guidance=cfg(1))
    found, latents = sampled(setting)
    assert (setting.guidance, found.nfe) == ("none", 9)
    ode = SigmaODE(net, net.one_hot(latents.labels))
    with torch.no_grad():
        expected = setting.solver(
            ode, latents.noise, setting.plan.times(setting.solver.steps(9), 0.002, 80)
        )
    assert torch.equal(found.images, expected.float())


@pytest.mark.parametrize(("weight", "nfe"), [(0, 9), (2, 18), (0.5, 18)])
def test_both_evaluations_of_the_network_count(sampled, net, weight, nfe):
    """By hand: the same five steps of Heun, of D + w (D_c - D)."""
    setting = Setting("heun", nfe, 7.0, guidance=cfg(weight))
    found, latents = sampled(setting)
    assert found.nfe == nfe
    labels = net.one_hot(latents.labels)

    def guided(x, sigma, _):
        return (1 - weight) * net(x, sigma) + weight * net(x, sigma, labels)

    with torch.no_grad():
        times = setting.plan.times(5, 0.002, 80)
        expected = setting.solver(SigmaODE(guided), latents.noise, times)
    assert torch.allclose(found.images, expected.float(), atol=1e-4)
    plain, _ = sampled(Setting("heun", 9, 7.0))
    assert (found.images - plain.images).abs().max() > 1e-2


def test_an_adaptive_sampler_counts_both_too(sampled):
    spec = "dopri5:tolerance=0.01"
    plain = sampled(Setting(spec))[0].nfe
    assert sampled(Setting(spec, guidance=cfg(2)))[0].nfe > 1.5 * plain


def test_weights_have_one_spelling():
    assert [cfg(weight) for weight in (0.0, 1.0, 2, 1.25)] == [
        "cfg:weight=0", "none", "cfg:weight=2", "cfg:weight=1.25",
    ]  # fmt: skip
    assert [cfg_weight(cfg(weight)) for weight in (0.0, 1.0, 1.25)] == [0.0, 1.0, 1.25]
    assert cfg_weight("dg-lapjv:weight=2") is None
    assert Setting("heun", 18, guidance=cfg(2)).name == "heun-nfe18-cfg-weight=2"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"label_dropout": 0.1}, ["--label-dropout 0.1", "add --conditional"]),
        ({"label_dropout": 1.5, "conditional": True}, ["below 1"]),
        ({"cfg": [1, 2]}, ["--cfg 2", "--conditional --label-dropout 0.1"]),
        ({"cfg": [0], "conditional": True}, ["--cfg 0", "--label-dropout 0.1"]),
        ({**TRAINED, "cfg": [-1, 2]}, ["--cfg -1", "at least 0"]),
        ({**TRAINED, "cfg": [2], "checkpoint": "0" * 64}, ["--cfg 2", "released networks"]),
    ],
)
def test_what_the_network_cannot_do_is_refused_with_the_way_out(overrides, words):
    with pytest.raises(ConfigError) as caught:
        make(None, overrides)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_label_dropout_is_another_run_and_weights_are_not():
    plain = make(None, {"conditional": True})
    assert "label_dropout" not in plain.identity["training"]
    assert plain.digest != make(None, TRAINED).digest
    guided = make(None, {**TRAINED, "cfg": [1, 2, 4, 2]})
    assert guided.evaluation.cfg == (2.0, 4.0)
    assert guided.digest == make(None, TRAINED).digest
    assert guided.measured != make(None, TRAINED).measured
    # What earlier versions have finished stays finished.
    assert "cfg" not in RunConfig().measured["evaluation"]
    assert make(None, {"conditional": True, "cfg": [1]}).measured == plain.measured


def test_weights_of_the_users_own_may_be_trained_with_label_dropout():
    own = {"checkpoint": "0" * 64, "own_weights": True, "cfg": [2]}
    assert make(None, {**TRAINED, **own}).evaluation.cfg == (2.0,)
    with pytest.raises(ConfigError, match="without label dropout"):
        make(None, {"conditional": True, **own})

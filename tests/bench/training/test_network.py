"""The network and the objective of a run: ours by name, or a user's own module."""

import sys
from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import check, make
from bench.config import ConfigError, NetworkConfig, RunConfig
from bench.config.read import from_dict
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.suitable import refuse_unfit
from bench.training import loop
from bench.training.network import build_network, find_builder, find_objective
from models.objectives.edm import EDM

OWN_NETWORK = '''
import torch
from torch import nn

class Affine(nn.Module):
    """A pixel-wise line with dropout, which needs no square images."""

    def __init__(
        self, size, channels, label_dim, augment_dim, *, width: int = 1, rate: float = 0.5
    ):
        super().__init__()
        self.given = (size, channels, label_dim, augment_dim, width)
        self.scale = nn.Parameter(torch.randn(channels, size, size))
        self.shift = nn.Linear(1 + label_dim, channels)
        self.rate = rate

    def forward(self, x, c_noise, labels, augment_labels):
        told = c_noise[:, None]
        if labels is not None:
            told = torch.cat([told, labels.expand(len(x), -1)], dim=1)
        kept = nn.functional.dropout(x, self.rate, self.training)
        return self.scale * kept + self.shift(told)[:, :, None, None]

build = Affine

def broken(*args):
    raise KeyError("no such layer")
'''
OWN_OBJECTIVE = """
from dataclasses import dataclass
import torch
from models.objectives.contract import Coefficients, Objective

@dataclass(frozen=True, kw_only=True)
class Clean(Objective):
    '''D = F: the network predicts the clean image itself.'''

    P_mean: float = 0.0
    spread: float = 1.0

    def coefficients(self, sigma):
        return Coefficients(0 * sigma, torch.ones_like(sigma), torch.ones_like(sigma), sigma)

    def weight(self, sigma):
        return 1 / sigma

    def draw_sigma(self, n, generator, device="cpu"):
        return (self.P_mean + self.spread * torch.randn(n, generator=generator)).exp().to(device)
"""


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The package ``my_project`` of a user."""
    package = tmp_path / "my_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "net.py").write_text(OWN_NETWORK)
    (package / "objective.py").write_text(OWN_OBJECTIVE)
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def train(config, dataset, folder):
    return loop.train(config, dataset, RunFolder(folder), Ranks(0, 1, "cpu"), progress=False)


def test_all_couplings_begin_with_the_same_weights_and_seeds_do_not(digits, tiny):
    nets = [build_network(tiny.network, digits, False, seed) for seed in (0, 0, 1)]
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_building_a_network_leaves_the_global_generator_alone(digits, tiny):
    before = torch.get_rng_state()
    build_network(tiny.network, digits, False, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("width", [18, 2])
def test_widths_that_group_norm_cannot_divide_are_refused_before_training(digits, width):
    config = make(None, {"model_channels": width})
    with pytest.raises(ConfigError, match=f"{width} channels cannot be group-normed"):
        refuse_unfit(config, digits)


def test_the_defaults_are_left_out_of_the_identity_and_others_are_not(own):
    identity = RunConfig().identity
    assert "objective" not in identity["training"]
    assert "arch_options" not in identity["network"]
    other = make(None, {"objective": "my_project.objective", "arch": "my_project.net"})
    assert other.identity["training"]["objective"] == "my_project.objective"
    assert other.identity["network"]["arch"] == "my_project.net"
    assert other.digest != RunConfig().digest


def test_a_network_of_the_users_is_called_with_sizes_and_options(own, digits):
    options = ["width=3", "rate=0.25"]
    config = make(None, {"arch": "my_project.net:Affine", "arch_options": options})
    net = build_network(config.network, digits, True, seed=0, augmented=True)
    assert net.model.given == (8, 1, 10, 9, 3)
    assert net.model.rate == 0.25
    assert net.label_dim == 10
    assert find_builder("my_project.net") is find_builder("my_project.net:Affine")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"arch": "smal"}, ["--arch", "did you mean small"]),
        ({"arch": "my_project.nothing"}, ["--arch", "my_project.nothing"]),
        ({"arch": "my_project.net:Missing"}, ["Missing"]),
        ({"arch_options": ["width=3"]}, ["--arch-options", "small"]),
        ({"arch": "my_project.net", "arch_options": ["widht=3"]}, ["widht", "width"]),
        ({"arch": "my_project.net", "arch_options": ["width=a"]}, ["whole number"]),
        ({"arch": "my_project.net", "arch_options": ["width"]}, ["key=value"]),
        ({"objective": "edn"}, ["--objective", "edm"]),
        ({"objective": "edm:P_mean=0"}, ["--P-mean"]),
        ({"objective": "edm:sigma=0"}, ["sigma_data"]),
    ],
)
def test_unknown_networks_and_objectives_are_refused_at_once(own, overrides, words):
    with pytest.raises(ConfigError) as caught:
        make(None, overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_network_of_the_users_that_fails_is_refused_before_training(own, digits):
    config = make(None, {"arch": "my_project.net:broken"})
    with pytest.raises(ConfigError, match="KeyError: 'no such layer'"):
        refuse_unfit(config, digits)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_network_of_the_users_trains_and_resumes_bit_for_bit(
    own, digits, tiny, tmp_path, monkeypatch, conditional
):
    """Its dropout draws from torch's global generator, which no checkpoint holds."""
    training = replace(tiny.training, conditional=conditional)
    network = replace(tiny.network, arch="my_project.net")
    config = check(replace(tiny, network=network, training=training, coupling="random"))
    whole = train(config, digits, tmp_path / "whole")
    assert whole.step == 10
    part = replace(config, training=replace(training, images=tiny.training.images // 2))
    train(part, digits, tmp_path / "part")
    resumed = train(config, digits, tmp_path / "part")
    assert torch.equal(weights(resumed.ema.net), weights(whole.ema.net))
    assert not torch.equal(
        weights(whole.net), weights(build_network(network, digits, conditional, 0))
    )


def test_an_objective_of_the_users_trains_and_samples(own, digits, tiny, tmp_path):
    """Its denoiser D = F starts near 0 and learns the mean image."""
    spec = "my_project.objective:spread=0.5"
    training = replace(tiny.training, objective=spec, images=6_400, lr=3e-3, lr_ramp=0)
    config = check(replace(tiny, training=training))
    assert config.training.objective == spec
    state = train(config, digits, tmp_path)
    assert state.net.objective.spread == 0.5
    assert state.net.objective.P_mean == tiny.training.P_mean
    images = digits.train.images[:50]
    error = (state.ema.net(images, 0.1) - images).square().mean()
    assert error < 0.5 * images.square().mean()


def test_the_default_objective_has_the_configured_noise_levels(tiny):
    training = replace(tiny.training, P_mean=-0.4, P_std=1.7)
    assert find_objective(training) == EDM(P_mean=-0.4, P_std=1.7)


def test_sigma_data_is_measured_on_the_training_images(tiny, digits):
    training = replace(tiny.training, sigma_data="data")
    pixels = digits.train.images.double().numpy()
    assert find_objective(training, digits).sigma_data == pytest.approx(pixels.std(), rel=1e-4)
    assert find_objective(replace(training, sigma_data=0.8)) == EDM(sigma_data=0.8)


@pytest.mark.parametrize(("name", "value"), [("P_mean", 0.0), ("P_std", 1.0), ("sigma_data", 0.7)])
def test_options_that_flow_matching_lacks_are_refused(tiny, name, value):
    """They would make another run of the same numbers."""
    training = replace(tiny.training, **{"objective": "flow", name: value})
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigError, match=f"flow has no {name}, leave {option} out"):
        check(replace(tiny, training=training))


def test_a_run_of_before_keeps_its_name(tiny):
    """Options that came later are no part of a run's identity at their defaults."""
    later = ("objective", "sigma_data", "weight_decay", "select_every")
    assert not set(later) & set(tiny.identity["training"])
    decayed = replace(tiny, training=replace(tiny.training, weight_decay=1e-5))
    assert decayed.identity["training"]["weight_decay"] == 1e-5
    assert decayed.run_id != tiny.run_id
    assert from_dict(decayed.identity).training == decayed.training


def test_flow_matching_trains_on_paths_with_noise(tiny, digits, tmp_path):
    spec = "flow:path_sigma=0.1"
    training = replace(
        tiny.training, objective=spec, weight_decay=1e-5, images=6_400, lr=3e-3, lr_ramp=0
    )
    config = check(replace(tiny, training=training))
    state = train(config, digits, tmp_path)
    images = digits.test.images
    error = (state.ema.net(images, 0.1) - images).square().mean()
    assert error < 0.5 * images.square().mean()


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ([], ()),
        (["depth=3", "width=64", "activation=selu"], ()),
        (["activation=silu", "depth=3", "width=8"], ("width=8", "activation=silu")),
    ],
)
def test_a_perceptron_has_one_spelling_and_ignores_the_sizes_of_u_nets(options, written):
    overrides = {"data": "moons", "arch": "mlp", "arch_options": options}
    config = make(None, overrides)
    assert config.network.arch_options == written
    # The preset of moons sets the base width of U-Nets.
    plain = NetworkConfig(arch="mlp", arch_options=written)
    assert config.network == plain
    assert make(None, overrides | {"model_channels": 16}).digest == config.digest


def test_options_of_a_perceptron_reach_it():
    config = make(None, {"data": "moons", "arch": "mlp", "arch_options": ["width=8", "depth=1"]})
    net = build_network(config.network, data.load("moons"), conditional=True, seed=0)
    shapes = [tuple(p.shape) for p in net.model.parameters()]
    assert shapes == [(8, 1 + 2 + 2), (8,), (2, 8), (2,)]
    other = build_network(config.network, data.load("moons"), conditional=True, seed=0)
    assert torch.equal(weights(net), weights(other))


@pytest.mark.parametrize(
    ("arch", "option", "words"),
    [
        ("mlp", "widht=3", ["widht", "did you mean width"]),
        ("mlp", "activation=sine", ["activation", "selu"]),
        ("residual-mlp", "depth=a", ["depth", "whole number"]),
    ],
)
def test_options_that_a_perceptron_does_not_have_are_refused(arch, option, words):
    with pytest.raises(ConfigError) as caught:
        make(None, {"arch": arch, "arch_options": [option]})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("arch", ["mlp", "residual-mlp"])
def test_a_perceptron_without_layers_is_refused_before_training(arch, digits):
    config = make(None, {"arch": arch, "arch_options": ["depth=0"]})
    with pytest.raises(ConfigError, match=f"--arch: {arch}"):
        refuse_unfit(config, digits)


@pytest.mark.parametrize("arch", ["mlp", "residual-mlp"])
def test_a_perceptron_trains_on_images(arch, digits, tiny, tmp_path):
    config = check(replace(tiny, network=NetworkConfig(arch=arch, arch_options=("width=8",))))
    state = train(config, digits, tmp_path)
    before = build_network(config.network, digits, False, config.seed)
    assert not torch.equal(weights(state.net), weights(before))

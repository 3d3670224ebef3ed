"""Weights of a user's own network, in a file and in a folder outside the repository."""

import dataclasses
import re

import pytest
import torch
from safetensors.torch import save_file

from bench.check import check, make
from bench.config import ConfigError
from bench.data import load
from bench.record import RunFolder
from bench.run import main
from bench.suitable import network_of, of_file

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, size, channels, label_dim, augment_dim, *, width: int = 16):
        super().__init__()
        pixels = channels * size * size
        self.hidden = nn.Linear(pixels + 1 + label_dim, width)
        self.last = nn.Linear(width, pixels)

    def forward(self, x, c_noise, labels, augment_labels):
        given = [x.flatten(1), c_noise[:, None]]
        if labels is not None:
            given.append(labels.expand(len(x), -1))
        return self.last(torch.relu(self.hidden(torch.cat(given, 1)))).reshape(x.shape)


class Velocity(Net):
    def forward(self, x, t):
        return x
"""
DIGITS = {"data": "digits", "arch": "own_net.net:Net"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder on the path with the network, and its class."""
    package = tmp_path / "own_net"
    package.mkdir()
    (package / "net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    import own_net.net

    return own_net.net


def weights(project, label_dim=0, **options):
    torch.manual_seed(1)
    return project.Net(8, 1, label_dim, 0, **options)


def loaded(path, overrides):
    """The denoiser that a run of the file measures."""
    config = check(of_file(make(None, DIGITS | overrides), path))
    return network_of(config, path, load("digits"))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_velocity_becomes_the_denoiser_of_its_objective(project, tmp_path, suffix, prefix):
    net = weights(project)
    tensors = {prefix + name: value for name, value in net.state_dict().items()}
    path = tmp_path / f"net{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    denoiser = loaded(path, {"objective": "flow"})
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 1.0, 30.0])
    # By hand: z and t of the straight path, and D = z - t F.
    t = sigma / (1 + sigma)
    z = x / (1 + sigma)[:, None, None, None]
    expected = z - t[:, None, None, None] * net(z, t, None, None)
    assert torch.allclose(denoiser(x, sigma), expected, atol=1e-5)


def test_edm_weights_take_the_labels_of_a_conditional_network(project, tmp_path):
    net = weights(project, label_dim=10, width=4)
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path)
    given = {"conditional": True, "arch_options": ["width=4"], "coupling": "random"}
    denoiser = loaded(path, given)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(10)[[3, 7]]
    # Karras et al. 2022, Table 1, at sigma 2 with sigma_data 0.5.
    total = 2**2 + 0.5**2
    raw = net(x / total**0.5, torch.full((2,), torch.tensor(2.0).log().item() / 4), labels, None)
    expected = 0.25 / total * x + 2 * 0.5 / total**0.5 * raw
    assert torch.allclose(denoiser(x, 2.0, labels), expected, atol=1e-5)
    assert denoiser.label_dim == 10


def test_a_run_measures_them_and_names_them_by_content(project, tmp_path, tiny_flags, capsys):
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        torch.save(project.Net(8, 1, 0, 0).state_dict(), tmp_path / f"{name}.pt")
    files = [str(tmp_path / f"{name}.pt") for name in ("first", "second")]
    args = ["--from-checkpoint", *files, "--arch", "own_net.net:Net", "--objective", "flow"]
    args += [*tiny_flags, "--metrics", "samples", "--features", "pixels"]
    args += ["--runs", str(tmp_path / "runs")]
    assert main(args) == 0
    folders = [RunFolder(path.parent) for path in (tmp_path / "runs").glob("*/config.json")]
    assert {folder.config()["coupling"] for folder in folders} == {"first", "second"}
    for folder in folders:
        assert folder.config()["own_weights"]
        assert folder.config()["training"]["objective"] == "flow"
        rows = [row for row in folder.measurements() if row.metric == "fd_pixels"]
        # The objective's own schedule, though nothing was said of it.
        assert {row.schedule for row in rows} == {"flow:shift=1"}
        assert not (folder.path / "checkpoint.pt").exists()
    assert main([*args, "--objective", "edm", "flow"]) == 2
    assert "name the one" in capsys.readouterr().err
    # A file of the same name with other weights is another run.
    torch.save(project.Net(8, 1, 0, 0).state_dict(), files[0])
    assert main(args) == 0
    assert len(list((tmp_path / "runs").glob("*/config.json"))) == 3


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "overrides", "words"),
    [
        (lambda s: without(s, "last.bias"), {}, "last.bias is missing (1 such)"),
        (lambda s: s | {"extra": torch.zeros(1)}, {}, "extra is not in the network (1 such)"),
        (lambda s: s, {"arch_options": ["width=8"]}, "is [16], the network has [8]"),
        (lambda s: s, {"conditional": True, "coupling": "random"}, "hidden.weight is [16, 65]"),
        (lambda s: s, {"arch": "small"}, "give the --arch"),
        (lambda s: s, {"arch": "own_net.net:Velocity"}, "cannot be called: TypeError"),
        (lambda s: s | {"last.bias": torch.full((64,), torch.nan)}, {}, "last.bias holds NaN"),
        (lambda s: {"net": s, "step": 3}, {}, "torch.save(checkpoint['net'], FILE)"),
        (lambda s: {}, {}, "it holds nothing"),
        (lambda s: [s], {}, "it holds a list"),
        (lambda s: Exception(), {}, "could run code"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    project, tmp_path, change, overrides, words
):
    path = tmp_path / "net.pt"
    torch.save(change(weights(project).state_dict()), path)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        loaded(path, overrides)
    assert "\n" not in str(caught.value)


def test_runs_of_earlier_versions_keep_their_names():
    config = make(None, {"data": "digits"})
    assert "own_weights" not in config.identity
    own = dataclasses.replace(config, checkpoint="0" * 64, own_weights=True)
    assert own.identity["own_weights"]

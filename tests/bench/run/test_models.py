"""``bench.evaluate_models`` measures what another program trained, as runs side by side."""

import re

import pytest
import torch
from torch import nn

import bench
from bench.config import ConfigError
from bench.evaluate import main
from bench.record import RunFolder
from bench.run.models import _evaluating

TINY = {"data": "moons", "nfe": [3], "samples": 50, "trajectories": 8, "reference_steps": 8}
TINY |= {"shifts": [], "rhos": [], "features": ["pixels"], "metrics": ["w2"]}


class Gaussian(nn.Module):
    """The denoiser of data N(0, s^2), which is trained no further than its s."""

    def __init__(self, deviation):
        super().__init__()
        self.deviation = nn.Parameter(torch.tensor(deviation))

    def forward(self, x, sigma):
        spread = self.deviation**2
        return x * (spread / (spread + sigma**2))[:, None, None, None]


def velocity(z, t):
    """The same of s = 1/2, as a function without weights."""
    t = t[:, None, None, None]
    return z * (t - (1 - t) / 4) / ((1 - t) ** 2 / 4 + t**2)


def distances(results, coupling, seed=0):
    """The W2 distances of a run, in the order of the table."""
    table = results.table()
    its = table["coupling"].eq(coupling) & table["seed"].eq(seed) & table["metric"].eq("w2")
    return table[its]["value"].tolist()


def test_networks_are_runs_of_a_report_without_a_training(tmp_path, capsys):
    net = Gaussian(0.5).train()
    nets = {"random": [net, Gaussian(0.4)], "lapjv": [Gaussian(0.45), Gaussian(0.55)]}
    results = bench.evaluate_models(nets, "denoiser", name="mine", runs=tmp_path, **TINY)
    table = results.table()
    runs = table[["coupling", "seed"]].drop_duplicates()
    assert sorted(runs.itertuples(index=False, name=None)) == [
        ("lapjv", 0), ("lapjv", 1), ("random", 0), ("random", 1)
    ]  # fmt: skip
    # Nothing is made up about a training that nobody saw.
    assert table["pool"].isna().all()
    assert not [name for name in table if name.startswith(("training.", "network."))]
    assert not set(table["metric"]) & {"train_seconds", "transport_cost", "images_per_s"}
    page = results.page.read_text()
    assert "The networks of mine were trained by another program" in page
    assert "networks from files" not in page
    assert results.figure().axes
    assert net.training  # lent, and given back as it was
    capsys.readouterr()
    # Once more: nothing is missing, and a network that was trained further is measured again.
    kept = distances(results, "random", 0)
    before = distances(results, "random", 1)
    nets["random"][1] = Gaussian(2.0)
    again = bench.evaluate_models(nets, "denoiser", name="mine", runs=tmp_path, **TINY)
    said = capsys.readouterr().out
    assert said.count("note: random seed 1 is another network than before") == 1
    assert said.count("Added 0 rows") == 4  # its rows are replaced
    assert distances(again, "random", 0) == kept
    # In three evaluations all of them are far from the data, and each is where its own path ends.
    assert not {*distances(again, "random", 1)} & {*before}


def test_a_function_and_a_module_that_are_one_denoiser_measure_alike(tmp_path, capsys):
    options = TINY | {"schedule": ["karras"]}
    of_module = bench.evaluate_models(
        {"a label": Gaussian(0.5)}, "denoiser", name="net", runs=tmp_path, **options
    )
    of_function = bench.evaluate_models(
        {"a label": velocity}, "velocity", name="function", runs=tmp_path, **options
    )
    expected = distances(of_module, "a label")
    assert distances(of_function, "a label") == pytest.approx(expected, rel=1e-3)
    (run,) = of_function.run_ids
    folder = RunFolder(tmp_path / run)
    assert folder.config()["training"]["objective"] == "flow"
    # The command has no network to measure, and says who has.
    assert main([str(folder.path), "--nfe", "5"]) == 2
    assert "bench.evaluate_models" in capsys.readouterr().err


def test_a_velocity_of_the_opposite_sign_is_noticed(tmp_path, capsys):
    bench.evaluate_models(
        {"turned": lambda z, t: -velocity(z, t)}, "velocity", runs=tmp_path, **TINY
    )
    out = capsys.readouterr().out
    assert "note: turned seed 0 removes high noise worse" in out
    assert "note: no couplings of this project, only labels: turned" in out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": {}}, "give a dictionary"),
        ({"models": velocity}, "give a dictionary"),
        ({"models": {"a": []}}, "the list of a is empty"),
        ({"predicts": "speed"}, "unknown predicts 'speed': "),
        ({"models": {"a": Gaussian}}, "no function or network"),
        ({"models": {"a": lambda x: x}}, "cannot be called with (x, level)"),
        ({"models": {"a": lambda x, t: x.flatten(1)}}, "returns the shape of x"),
        ({"models": {"a": lambda x, t: x * torch.nan}}, "NaN or infinity"),
        ({"predicts": "velocty"}, "velocty"),
        ({"name": ""}, "name must be a text"),
        ({"seed": -1}, "0 or more"),
        ({"nfes": [3]}, "nfes"),
        ({"data": "no-such-data"}, "no-such-data"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, changes, words):
    given = {"models": {"a": velocity}, "predicts": "velocity", "runs": tmp_path} | TINY
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        bench.evaluate_models(**given | changes)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*/config.json"))


def test_a_conditional_network_gets_the_classes_of_its_images(tmp_path):
    seen = []

    def conditional(z, t, labels):
        seen.append(labels)
        return velocity(z, t)

    bench.evaluate_models({"a": conditional}, "velocity", runs=tmp_path, conditional=True, **TINY)
    assert all(labels.dtype == torch.int64 and labels.ndim == 1 for labels in seen)
    assert set(torch.cat(seen).tolist()) == {0, 1}


def test_one_name_cannot_mean_two_predictions(tmp_path):
    bench.evaluate_models({"a": velocity}, "velocity", runs=tmp_path, **TINY)
    with pytest.raises(ConfigError, match="were measured as flow, not as denoise: take another"):
        bench.evaluate_models({"a": velocity}, "denoiser", runs=tmp_path, **TINY)


def test_networks_return_to_the_device_that_they_came_from():
    net = nn.Linear(1, 1, device="meta")
    with _evaluating([net, lambda x, level: x]):
        net.to_empty(device="cpu")
    assert net.weight.is_meta

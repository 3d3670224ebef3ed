"""Labels that are numbers: conditions ``[n, k]`` in place of classes."""

from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import make
from bench.config import ConfigError, TrainingConfig
from bench.data.contract import DataError, Dataset, Split
from bench.pairs.pool import draw_pool
from bench.record import RunFolder
from bench.run import main
from bench.sampling.latents import draw_latents
from bench.suitable import refuse_unfit
from bench.training.network import build_network

CONDITIONED = {"data": "c2ot-moons-x", "conditional": True}


@pytest.fixture(scope="module")
def moons():
    return data.load("c2ot-moons-x")


def made(labels, classes=1):
    images = torch.zeros(len(labels), 2, 1, 1)
    split = Split(images, labels)
    return Dataset("toy", split, split, classes, bounded=False)


def test_the_condition_of_a_moon_is_its_x_coordinate(moons):
    assert torch.equal(moons.train.labels[:, 0], moons.train.images[:, 0, 0, 0])
    assert torch.equal(moons.train.images, data.load("c2ot-moons").train.images)
    assert moons.label_dim == 1
    assert moons.has_conditions
    assert not data.load("moons").has_conditions
    assert data.load("moons").label_dim == 2
    assert "; conditions of 1 number" in data.describe(moons)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (torch.tensor([[0.5], [float("nan")]]), 1, "conditions hold NaN"),
        (torch.ones(2, 0), 1, r"conditions must be \[2, k\] float32, not \[2, 0\]"),
        (torch.ones(2, 3), 2, "take num_classes=1, not 2"),
        (torch.ones(2, 3).double(), 1, r"or conditions \[2, k\] float32, not \[2, 3\] float64"),
    ],
)
def test_conditions_that_cannot_be_used_are_refused(
    labels, classes, message, tmp_path, monkeypatch
):
    package = tmp_path / "toy_conditions"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "set.py").write_text(
        f"SHAPE = (2, 1, 1)\nCLASSES = {classes}\nmade = None\n"
        "def load(data_dir=None):\n    return made\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data.find("toy_conditions.set").made = made(labels, classes)
    with pytest.raises(DataError, match=message):
        data.load("toy_conditions.set")


def test_pools_and_latents_carry_the_conditions(moons):
    drawn = draw_pool(moons.train, 32, 0, 0, 0).pairs
    assert torch.equal(drawn.labels[:, 0], drawn.images[:, 0, 0, 0])
    assert torch.equal(drawn[3:5].labels, drawn.labels[3:5])
    assert drawn.joined(drawn).labels.shape == (64, 1)
    latents = draw_latents(500, moons, seed=0)
    assert latents.labels.shape == (500, 1)
    # They are conditions of training points: the mean is theirs within its standard error.
    x = moons.train.labels
    assert abs(latents.labels.mean() - x.mean()) < 4.5 * x.std() / 500**0.5


def test_a_network_takes_as_many_numbers_as_the_condition_has(moons):
    config = make(None, CONDITIONED)
    net = build_network(config.network, moons, True, seed=0)
    assert net.label_dim == 1
    labels = moons.train.labels[:4]
    assert torch.equal(net.one_hot(labels), labels)
    x = moons.train.images[:4]
    assert not torch.allclose(net(x, 1.0, labels), net(x, 1.0, labels + 1))


def test_an_absent_condition_is_not_the_condition_0(moons):
    config = make(None, CONDITIONED)
    net = build_network(config.network, moons, True, seed=0, drops_labels=True)
    assert net.label_dim == 2
    labels = torch.tensor([[0.0], [0.7]])
    assert torch.equal(net.one_hot(labels), torch.tensor([[0.0, 1.0], [0.7, 1.0]]))
    x = moons.train.images[:2]
    assert not torch.allclose(net(x, 1.0, None), net(x, 1.0, net.one_hot(0 * labels)))
    # Zeros are no class already, so classes get no such number.
    classes = data.load("moons")
    assert build_network(config.network, classes, True, seed=0, drops_labels=True).label_dim == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"coupling": "lapjv:within_class=true"}, ["conditional-cost:distance=squared"]),
        ({"start": ["truncated:sigma=0.5"]}, ["--start", "leave it out"]),
        ({"class_law": "uniform"}, ["--class-law uniform", "leave it out"]),
    ],
)
def test_what_needs_classes_refuses_conditions(moons, overrides, words):
    config = make(None, CONDITIONED | {"start_nfe": [3]} | overrides)
    with pytest.raises(ConfigError) as caught:
        refuse_unfit(config, moons)
    for word in words:
        assert word in str(caught.value)
    refuse_unfit(make(None, CONDITIONED), moons)


@pytest.mark.parametrize("conditional", [True, False])
def test_no_class_of_a_condition_is_coupled_by_itself(moons, conditional):
    """Each would be a single point: the pairs would be as drawn, without a word."""
    coupling = "lapjv:within_class=true"
    given = {"data": "c2ot-moons-x", "conditional": conditional}
    config = make("c2ot-moons-x", given | {"coupling": coupling})
    with pytest.raises(ConfigError, match="conditions in place of classes"):
        refuse_unfit(config, moons)
    refuse_unfit(make("c2ot-moons-x", given | {"coupling": "random"}), moons)


def test_a_coupling_that_ignores_the_labels_needs_a_word():
    given = {"data": "moons", "conditional": True, "coupling": "lapjv"}
    with pytest.raises(ConfigError, match="within_class=true.*or pass --label-blind"):
        make(None, given)
    # Independent pairs reveal nothing.
    make(None, given | {"coupling": "permuted:of=lapjv"})
    config = make(None, given | {"label_blind": True})
    assert config.training.label_blind
    # The way out of the message, and its twin without labels, are runs of their own.
    assert config.digest != make(None, {"data": "moons", "coupling": "lapjv"}).digest
    plain = make(None, {"data": "moons", "coupling": "lapjv", "label_blind": True})
    assert not plain.training.label_blind
    assert "label_blind" not in plain.identity["training"]
    assert TrainingConfig().label_blind is False


def test_runs_with_conditions_from_the_command_line(tiny_flags, tmp_path, capsys):
    words = ["--data", "c2ot-moons-x", "--source", "c2ot-8gaussians", "--conditional"]
    words += ["--coupling", "conditional-cost:distance=squared,ratio=0.05", "lapjv"]
    words += ["--label-blind", "--metrics", "learning", "paths"]
    assert main([*tiny_flags, *words, "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "c2ot-moons-x from c2ot-8gaussians, pool 128" in out
    folders = sorted(tmp_path.glob("c2ot-moons-x-from-*"))
    assert len(folders) == 3
    # All three are arms of one comparison, so their table is one.
    assert out.count("seed 0. Mean") == 1
    for path in folders:
        names = {m.metric for m in RunFolder(path).measurements()}
        assert "validation_loss_independent" in names
        assert not [name for name in names if name.startswith("class_")]


def test_a_source_keeps_the_conditions(moons):
    both = moons.from_source(data.load("c2ot-8gaussians"))
    assert torch.equal(both.train.labels, moons.train.labels)
    assert both.has_conditions
    assert replace(both, source=None).label_dim == 1

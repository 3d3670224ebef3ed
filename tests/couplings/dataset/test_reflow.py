"""Pairs of a model: what the model makes of each noise sample, and nothing else."""

import math

import pytest
import torch
from scipy.spatial import KDTree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from couplings import CouplingError, get
from couplings.dataset import reflow
from couplings.dataset.contract import TrainingSet
from couplings.dataset.reflow import BLOCK, copy_rate
from tests.elsewhere import DEVICE, elsewhere

N = 24


def model(noise, labels):
    """A map that says which noise sample and class it got."""
    return noise.tanh() + (0 if labels is None else 10 * labels[:, None, None, None])


class Counting:
    """The model, with a count of 5 network evaluations an image and the sizes of its batches."""

    def __init__(self):
        self.evaluations = 0
        self.batches = []

    def __call__(self, noise, labels):
        self.batches.append(len(noise))
        self.evaluations += 5 * len(noise)
        return model(noise, labels)


@pytest.fixture
def images(pool):
    return pool(N)[0]


def couple(fitted, images, seeded, index):
    noise = torch.randn(len(index), *images.shape[1:], generator=seeded(3))
    pairing = fitted.couple(index, noise)
    return pairing, fitted.take(images, pairing.index)


def test_every_pair_is_one_of_the_model_and_has_the_label_of_its_image(images, seeded):
    labels = torch.arange(N) % 3
    coupling = get("reflow:per_class=true,pairs=2,batch=7")
    fitted = coupling.fit(images, labels, seeded(0), model=model)
    index = torch.randperm(N, generator=seeded(1))
    pairing, made = couple(fitted, images, seeded, index)
    assert torch.equal(pairing.index % N, index)
    torch.testing.assert_close(made, model(pairing.noise, labels[index]))
    # This model does not count them.
    assert "evaluations" not in fitted.report


def test_rounds_are_equally_frequent_and_the_same_in_every_call(images, seeded):
    fitted = get("reflow:pairs=4").fit(images, generator=seeded(0), model=model)
    index = torch.arange(N).repeat(100)
    pairing, _ = couple(fitted, images, seeded, index)
    share = torch.bincount(pairing.index // N, minlength=4) / len(index)
    # Four standard deviations of a share of 2,400 draws
    assert (share - 0.25).abs().max() < 4 * (0.25 * 0.75 / len(index)) ** 0.5
    assert torch.equal(couple(fitted, images, seeded, index)[0].index, pairing.index)


def test_a_stopped_fit_makes_what_is_missing_only(images, seeded, monkeypatch):
    coupling = get("reflow:pairs=1,batch=8")
    whole = coupling.fit(images, generator=seeded(0), model=Counting())
    begun = coupling.fit(images, generator=seeded(0), model=model)
    begun.images = begun.images[:16]
    begun.evaluations = 5.0 * 16
    begun.model = Counting()
    bars = []
    bar = reflow.progress_bar
    monkeypatch.setattr(reflow, "progress_bar", lambda *words: bars.append(words) or bar(*words))
    begun.run(lambda: None)
    # Four images tell that the model is the one before.
    assert begun.model.batches == [4, 8]
    assert bars == [("reflow pairs", N, 16)]
    assert torch.equal(begun.images, whole.images)
    assert begun.report["evaluations"] == whole.report["evaluations"] == 5 * N


def test_another_model_is_refused(images, seeded, tmp_path):
    path = tmp_path / "state.safetensors"
    coupling = get("reflow:pairs=1")
    coupling.fit(images, generator=seeded(0), checkpoint=path, model=model)
    with pytest.raises(CouplingError, match="of another model"):
        coupling.fit(images, checkpoint=path, model=lambda noise, _: 1.02 * noise.tanh())
    # The same model on another device
    coupling.fit(images, checkpoint=path, model=lambda noise, _: 1.001 * noise.tanh())


def test_a_failure_of_the_copy_rate_costs_no_images(images, seeded, tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    path = tmp_path / "state.safetensors"
    monkeypatch.setattr(reflow, "copy_rate", fail)
    with pytest.raises(MemoryError):
        get("reflow").fit(images, generator=seeded(0), checkpoint=path, model=model)
    monkeypatch.undo()
    # Without a model nothing can be made again.
    again = get("reflow").fit(images, checkpoint=path)
    assert again.report["copy_rate"] == copy_rate(again.images, images)
    assert get("reflow").load(path, images).report == again.report


class NoFloat64(TorchDispatchMode):
    """The simulated device has no float64, as Apple's has none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            away = isinstance(value, torch.Tensor) and value.device.type == DEVICE
            assert not (away and value.dtype == torch.float64), func
        return out


def test_an_accelerator_needs_no_float64(images, seeded):
    expected = get("reflow").fit(images, generator=seeded(0), model=model)
    index = torch.arange(N)
    noise = torch.randn(images.shape, generator=seeded(1))
    with elsewhere(), NoFloat64():
        data = TrainingSet(images.to(DEVICE), None, (), b"")
        fitted = get("reflow").begin(data, expected.seed)
        fitted.model = model
        fitted.run(lambda: None)
        pairing = fitted.couple(index.to(DEVICE), noise.to(DEVICE))
        assert torch.equal(fitted.images, expected.images)
        assert fitted.copy_rate == expected.copy_rate
        assert torch.equal(pairing.index, expected.couple(index, noise).index)


def test_a_model_is_needed(images, seeded):
    with pytest.raises(CouplingError, match="reflow:run=NAME"):
        get("reflow").fit(images, generator=seeded(0))
    with pytest.raises(CouplingError, match="not finite"):
        get("reflow").fit(images, generator=seeded(0), model=lambda noise, _: noise / 0)
    with pytest.raises(CouplingError, match="3, 5, 7"):
        get("reflow:nfe=4")


def test_copies_are_counted(seeded):
    images = torch.randn(400, 5, generator=seeded(0))
    fresh = torch.randn(400, 5, generator=seeded(1))
    assert copy_rate(images, images) == 1
    assert copy_rate(fresh + 100, images) == 0
    # As new as the training images are to each other, up to the spread of 400 draws
    assert copy_rate(fresh, images) == pytest.approx(0.05, abs=0.045)
    assert copy_rate(torch.cat([images[:200], fresh[:200] + 100]), images) == 0.5


def test_copies_are_judged_block_by_block(seeded, largest_tensor):
    """Against k-d trees, with 100 near copies among the images."""
    images = torch.randn(2000, 3, generator=seeded(0))
    made = torch.randn(1000, 3, generator=seeded(1))
    made[:100] = images[:100] + 1e-4
    tree = KDTree(images.double())
    apart = torch.from_numpy(tree.query(images[::2].double(), 2)[0][:, 1])
    nearest = torch.from_numpy(tree.query(made.double())[0])
    with largest_tensor:
        found = copy_rate(made, images)
    assert found == pytest.approx(float((nearest < apart.quantile(0.05)).double().mean()))
    assert found > 0.1
    assert largest_tensor.elements <= BLOCK


def test_one_image_has_no_copies():
    assert math.isnan(copy_rate(torch.zeros(3, 2), torch.zeros(1, 2)))

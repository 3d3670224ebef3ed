"""Pairs of a model: what the model makes of each noise sample, and nothing else."""

import pytest
import torch

from couplings import CouplingError, get
from couplings.dataset.reflow import copy_rate

N = 24


def model(noise, labels):
    """A map that says which noise sample and class it got."""
    return noise.tanh() + (0 if labels is None else 10 * labels[:, None, None, None])


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
    assert fitted.report["evaluations"] == 2 * N * 35


def test_rounds_are_equally_frequent_and_the_same_in_every_call(images, seeded):
    fitted = get("reflow:pairs=4").fit(images, generator=seeded(0), model=model)
    index = torch.arange(N).repeat(100)
    pairing, _ = couple(fitted, images, seeded, index)
    share = torch.bincount(pairing.index // N, minlength=4) / len(index)
    # Four standard deviations of a share of 2,400 draws
    assert (share - 0.25).abs().max() < 4 * (0.25 * 0.75 / len(index)) ** 0.5
    assert torch.equal(couple(fitted, images, seeded, index)[0].index, pairing.index)


def test_a_stopped_fit_makes_what_is_missing_only(images, seeded, tmp_path):
    calls = []

    def counted(noise, labels):
        calls.append(len(noise))
        return model(noise, labels)

    coupling = get("reflow:pairs=1,batch=8")
    whole = coupling.fit(images, generator=seeded(0), model=model)
    begun = coupling.fit(images, generator=seeded(0), model=model)
    begun.images = begun.images[:16]
    begun.model = counted
    begun.run(lambda: None)
    assert calls == [8]
    assert torch.equal(begun.images, whole.images)


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

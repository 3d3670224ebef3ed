import pytest
import torch

from bench import data
from bench.data import as_images
from bench.pairs.cost import CouplingCost, evenness
from bench.pairs.facts import facts, repeated
from bench.pairs.pool import Pairs
from bench.pairs.stream import PairStream
from couplings import get


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pairs(z, labels):
    return Pairs(torch.zeros_like(z), z, labels)


def test_facts_are_of_the_noise_that_the_images_got():
    z = noise(600, 1, 4, 4)
    labels = torch.arange(600) % 3
    found = facts(pairs(0.9 * z, labels), gaussian=True, labelled=True)
    assert found["noise_norm_drift"] == pytest.approx(0.81 * z.square().mean().item() - 1, abs=1e-6)
    assert abs(found["label_leakage"]) < 0.01
    # A mean for each class: its variance is 2/3 of that of the noise, so 0.4 of both together.
    told = z + (labels - 1)[:, None, None, None]
    found = facts(pairs(told, labels), gaussian=False, labelled=True)
    assert list(found) == ["label_leakage"]
    assert found["label_leakage"] == pytest.approx(0.4, abs=0.02)
    assert facts(pairs(z, torch.zeros(600)), gaussian=False, labelled=True) == {}
    assert facts(pairs(z, labels), gaussian=False, labelled=False) == {}


def test_repeated_noise_samples_are_counted():
    z = noise(90, 3, 5, 5)
    assert repeated(z) == 0
    assert repeated(z[torch.arange(90) // 3]) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def split():
    few = data.load("digits").train
    return type(few)(few.images[:120], few.labels[:120])


def rows_of(split, coupling, pool=60, pools=12):
    cost = CouplingCost()
    options = {"pool": pool, "batch": pool, "seed": 0, "stop_step": pools, "cost": cost}
    with PairStream(split, coupling, labelled=True, **options) as stream:
        for _ in stream:
            pass
    return {key: mean for key, mean, _ in cost.means()}, cost.uses


def test_couplings_are_told_apart_by_what_they_do(split):
    exact, uses = rows_of(split, get("lapjv"))
    assert exact["duplicates"] == 0
    assert exact["label_leakage"] > 0.005  # digits of one class get similar noise samples
    assert int(uses.sum()) == 720
    within, _ = rows_of(split, get("lapjv:within_class=true"))
    assert abs(within["label_leakage"]) < exact["label_leakage"] / 2
    biased, _ = rows_of(split, get("knn"))
    assert biased["duplicates"] > 0.3
    assert biased["noise_norm_drift"] < -0.05
    assert abs(exact["noise_norm_drift"]) < 0.02


def test_a_coupling_of_the_training_set_draws_images_one_by_one(split):
    images = as_images(split.images)
    stream = torch.Generator().manual_seed(0)
    fitted = get("semidiscrete:max_chi2=0.2").fit(images, generator=stream)
    found, uses = rows_of(split, fitted, pool=120)
    assert found["duplicates"] == 0
    assert int(uses.sum()) == 12 * 120
    # On average 1 for exact shares of the noise; the fit adds its own chi-square for each use.
    assert 0.6 < evenness(uses)["images_chi2"] < 1.4 + 12 * 0.2
    # Pools of the whole set take every image.
    _, drawn_in_pools = rows_of(split, get("random"), pool=120)
    assert evenness(drawn_in_pools)["images_chi2"] == 0

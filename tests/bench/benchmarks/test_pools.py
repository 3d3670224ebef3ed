from itertools import permutations

import pytest
import torch

from bench.benchmarks.pools import Ends, Pools, measure_ends, pair_cost
from bench.config import ConfigError
from bench.data import DataError, as_images, load

GAUSS = Pools("gauss", None, 0)


def test_the_same_seed_gives_the_same_pool_and_any_other_seed_or_number_another():
    first, again = GAUSS.draw(8, 3), Pools("gauss", None, 0).draw(8, 3)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.noise, again.noise)
    assert first.generator.initial_seed() == again.generator.initial_seed()
    for other in (GAUSS.draw(8, 4), Pools("gauss", None, 1).draw(8, 3)):
        assert not torch.isclose(first.images, other.images).all()
        assert not torch.isclose(first.noise, other.noise).any(dim=1).all()


def test_gauss_images_have_the_range_and_the_spectrum_of_photographs():
    images = GAUSS.draw(256, 0).images.reshape(256, 3, 32, 32)
    assert images.abs().max() <= 1
    assert images.std() == pytest.approx(0.5, abs=0.06)  # cut to [-1, 1], which takes a little
    power = torch.fft.fft2(images).abs().square().mean((0, 1))
    # 1/f amplitude: doubling the frequency divides the power by four.
    assert power[0, 2] / power[0, 4] == pytest.approx(4, rel=0.25)
    assert power[4, 0] / power[8, 0] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("d", [1, 2, 64, 768])
def test_gauss_vectors_have_the_dimension_and_the_decaying_spectrum(d):
    images = Pools(f"gauss:{d}", None, 0).draw(4096, 0).images
    assert images.shape == (4096, d)
    power = images.square().mean(0)
    assert power.mean() == pytest.approx(0.25, rel=0.1)
    # Amplitude k^(-1/2): number k has 1/k of the power of the first.
    assert power[0] / power[-1] == pytest.approx(d, rel=0.15)


@pytest.mark.parametrize("numbers", ["", "0", "-3", "2.5", "x", "1000001"])
def test_gauss_of_no_dimension_is_refused_in_one_line(numbers):
    with pytest.raises(ConfigError, match="takes a dimension from 1 to 1,000,000, such as"):
        Pools(f"gauss:{numbers}", None, 0).check(2)


def test_pools_of_a_data_set_hold_its_images_once_each_with_their_labels():
    pool, train = Pools("digits", None, 0).draw(64, 0), load("digits").train
    known = {
        image.numpy().tobytes(): label
        for image, label in zip(as_images(train.images), train.labels, strict=True)
    }
    rows = [image.numpy().tobytes() for image in pool.images]
    assert [known[row] for row in rows] == pool.labels.tolist()
    assert len(set(rows)) == 64


def test_a_data_set_with_options_is_known_by_its_name():
    with pytest.raises(DataError, match="--data-dir|library"):
        Pools("hf:label=none", None, 0).check(2)


def test_a_data_set_that_is_unknown_or_too_small_is_refused():
    with pytest.raises(
        ConfigError, match="unknown --data 'digitz': did you mean .*digits.* known: gauss,"
    ):
        Pools("digitz", None, 0).check(2)
    with pytest.raises(ConfigError, match="digits has 1437 training images; lower --n"):
        Pools("digits", None, 0).check(1438)


def test_the_ends_are_the_mean_and_the_least_over_all_permutations():
    pool = GAUSS.draw(6, 0)
    costs = [pair_cost(pool.images, pool.noise[list(order)]) for order in permutations(range(6))]
    ends = measure_ends(pool)
    assert ends.random == pytest.approx(sum(costs) / len(costs), rel=1e-12)
    assert ends.optimum == pytest.approx(min(costs), rel=1e-12)


def test_pair_cost_is_the_mean_squared_distance():
    assert (
        pair_cost(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        == 13.0
    )


def test_gain_is_0_at_random_1_at_the_optimum_and_undefined_where_nothing_can_be_gained():
    ends = Ends(random=8.0, optimum=4.0)
    assert [ends.gain(cost) for cost in (8.0, 7.0, 4.0, 9.0)] == [0.0, 0.25, 1.0, -0.25]
    assert Ends(4.0, 4.0).gain(4.0) != Ends(4.0, 4.0).gain(4.0)  # nan

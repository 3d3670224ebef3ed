import itertools
import math

import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from couplings import CouplingError, get
from couplings.batch.knn import candidates


@pytest.mark.parametrize("k", [60, 1000])
def test_k_of_the_whole_pool_is_the_nearest_noise(pool, seeded, k):
    images, noise = pool(60)
    nearest = cdist(images.flatten(1), noise.flatten(1)).argmin(1)
    assert (
        get(f"knn:k={k}").pair(images, noise, generator=seeded(0)).index.tolist()
        == nearest.tolist()
    )


def test_one_candidate_is_the_own_noise(pool, seeded):
    assert get("knn:k=1").pair(*pool(20), generator=seeded(0)).index.tolist() == list(range(20))
    with pytest.raises(CouplingError, match="k must be above 0"):
        get("knn:k=0")


def test_candidates_are_a_fair_draw_with_the_own_noise_among_them(pool, seeded):
    """Rank the noise samples by distance: with k - 1 others, the best rank r exceeds t with the
    hypergeometric chance.
    """
    n = 40
    k = 4
    generator = seeded(0)
    images, noise = pool(n)
    # 0 is the nearest
    rank = torch.from_numpy(cdist(images.flatten(1), noise.flatten(1))).argsort(1).argsort(1)
    indices = [get(f"knn:k={k}").pair(images, noise, generator=generator).index for _ in range(300)]
    chosen = torch.stack([rank.gather(1, index[:, None])[:, 0] for index in indices])  # [300, n]
    own = rank.diagonal()
    assert (chosen <= own).all()
    for t in (2, 5, 10):
        beyond = own > t
        expected = math.comb(n - 1 - (t + 1), k - 1) / math.comb(n - 1, k - 1)
        assert float((chosen > t)[:, beyond].double().mean()) == pytest.approx(expected, abs=0.02)


def test_short_noises_are_preferred_as_documented(seeded):
    generator = seeded(0)
    images = 0.5 * torch.randn(600, 3072, generator=generator)
    noise = torch.randn(600, 3072, generator=generator)
    index = get("knn").pair(images, noise, generator=generator).index
    square = noise.square().mean(1)
    assert float(square.mean()) == pytest.approx(1, abs=0.005)
    assert float(square[index].mean()) == pytest.approx(0.979, abs=0.006)


@pytest.mark.parametrize(("n", "k"), [(2, 2), (7, 1), (7, 3), (50, 49), (50, 50), (9000, 4)])
def test_candidates_are_distinct_and_the_own_noise_comes_first(seeded, n, k):
    drawn = torch.cat(list(candidates(n, k, seeded(0))))
    assert drawn.shape == (n, k)
    assert drawn[:, 0].tolist() == list(range(n))
    assert drawn.min() >= 0
    assert drawn.max() < n
    assert (drawn.sort(1).values.diff(dim=1) > 0).all()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_every_set_of_others_is_as_likely(seeded, k):
    n = 6
    times = 4000
    generator = seeded(0)
    counts = dict.fromkeys(itertools.combinations(range(1, n), k - 1), 0)
    for _ in range(times):
        drawn = next(candidates(n, k, generator))
        offsets = ((drawn - drawn[:, :1]) % n)[:, 1:].sort(1).values
        for others in offsets.tolist():
            counts[tuple(others)] += 1
    assert sum(counts.values()) == n * times
    assert len(counts) == 1 or chisquare(list(counts.values())).pvalue > 1e-3


def test_rows_are_drawn_independently(seeded):
    """Of two rows' single other candidates, every pair of offsets comes equally often."""
    generator = seeded(0)
    n = 5
    counts = torch.zeros(n, n)
    for _ in range(4000):
        drawn = next(candidates(n, 2, generator))
        first, second = ((drawn[:2, 1] - drawn[:2, 0]) % n).tolist()
        counts[first, second] += 1
    assert chisquare(counts[1:, 1:].flatten().numpy()).pvalue > 1e-3


def test_no_matrix_of_all_pairs_is_held(seeded, largest_tensor):
    n = 12_000
    images, noise = torch.randn(2, n, 8, generator=seeded(0))
    with largest_tensor as largest:
        get("knn:k=2").pair(images, noise, generator=seeded(0))
    assert largest.elements < n * n / 4

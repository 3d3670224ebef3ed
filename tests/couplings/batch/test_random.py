import pytest
import torch

from couplings import CouplingError, get


def index(spec, pool, generator=None):
    return get(spec).pair(*pool, generator=generator).index.tolist()


def test_random_keeps_pairs_as_they_were_drawn(pool, seeded):
    assert index("random", pool(12)) == list(range(12))
    generator = seeded(0)
    before = generator.get_state()
    assert index("random:draw=0", pool(12), generator) == list(range(12))
    # Nothing is drawn: the stream is where it was.
    assert torch.equal(generator.get_state(), before)


def test_a_placebo_permutes_the_noise_by_a_stream_of_its_own(pool, seeded):
    first = index("random:draw=1", pool(50), seeded(0))
    assert sorted(first) == list(range(50))
    assert first == index("random:draw=1", pool(50), seeded(0))
    assert first != index("random:draw=1", pool(50), seeded(1))
    assert first != index("random:draw=2", pool(50), seeded(0))
    assert first != list(range(50))


def test_all_permutations_are_drawn_alike(pool, seeded):
    """Of three images: six permutations, in 3,000 pools; the deviation of a count is 20."""
    counts = {}
    generator = seeded(0)
    for _ in range(3000):
        drawn = tuple(index("random:draw=1", pool(3), generator))
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_a_placebo_says_what_it_needs(pool):
    with pytest.raises(CouplingError, match="draws a permutation: pass generator="):
        index("random:draw=1", pool(4))
    with pytest.raises(CouplingError, match="draw must be 0 or more"):
        get("random:draw=-1")


@pytest.mark.parametrize("spec", ["random:mix=0.1", "random:jitter=0.5", "permuted:mix=0.1"])
def test_options_that_change_nothing_are_refused(spec):
    with pytest.raises(CouplingError, match=r"its pairs are independent, with (mix|jitter) too"):
        get(spec)

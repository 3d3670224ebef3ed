import pytest
import torch

from couplings import CouplingError, get

LABELS = torch.arange(48) % 3


def pair(spec, pool, generator=None):
    return get(spec).pair(*pool, LABELS, generator)


@pytest.mark.parametrize("of", ["lapjv", "greedy", "sinkhorn:epsilon=0.1", "conditional-cost"])
def test_a_coupling_solves_as_in_a_run_of_its_own_and_is_then_permuted(pool, seeded, of):
    own = seeded(3)
    paired = pair(of, pool(48), own)
    # The coupling's draws come first, so that its pairing is the one it would give by itself.
    order = torch.randperm(48, generator=own)
    shuffled = pair(f"permuted:of={of}", pool(48), seeded(3))
    assert torch.equal(shuffled.index, paired.index[order])
    measured = {"seconds", "cost_after"}
    assert shuffled.report.keys() == paired.report.keys()
    for key in paired.report.keys() - measured:
        assert shuffled.report[key] == paired.report[key], key


def test_pairs_are_as_far_apart_as_random_ones(pool, seeded):
    """By the mean over 50 pools, and its standard error."""
    gained = []
    for seed in range(50):
        report = pair("permuted", pool(48, seed=seed), seeded(seed)).report
        gained.append(1 - report["cost_after"] / report["cost_before"])
    gain = torch.tensor(gained)
    solved = pair("lapjv", pool(48)).report
    error = float(gain.std()) / len(gain) ** 0.5
    assert abs(float(gain.mean())) < 4 * error
    assert 1 - solved["cost_after"] / solved["cost_before"] > 20 * error


def test_all_permutations_are_drawn_alike(pool, seeded):
    """Of three images: six permutations, in 3,000 pools; the deviation of a count is 20."""
    counts = {}
    generator = seeded(0)
    for _ in range(3000):
        drawn = tuple(get("permuted").pair(*pool(3), generator=generator).index.tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_sizes_are_those_of_the_coupling():
    permuted = get("permuted:of=hungarian:within_class=true")
    assert permuted.solved_at_once(48, LABELS) == 16
    assert permuted.peak_bytes(100, 5) == get("hungarian").peak_bytes(100, 5)
    with pytest.raises(CouplingError, match="takes 46,340 images at once"):
        get("permuted").check_count(50_000)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("knn", "permuted: knn does not use every noise sample once"),
        ("sinkhorn:replace=true", "replace=true does not use every noise sample once"),
        ("semidiscrete", "permuted: semidiscrete has no pairing of a pool"),
        ("lapvj", "did you mean lapjv"),
        ("permuted", "the pairs of permuted are independent already"),
        ("random", "the pairs of random are independent already"),
    ],
)
def test_what_is_no_placebo_is_refused(of, message):
    with pytest.raises(CouplingError, match=message):
        get(f"permuted:of={of}")

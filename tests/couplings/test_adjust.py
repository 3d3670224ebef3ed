"""The options refine, mix and jitter, which every batch coupling has."""

from collections import Counter

import pytest
import torch

from couplings import CouplingError, get
from couplings.diagnostics import marginal_ks, norm_ks, optimality_gap, transport_cost

PERMUTATIONS = ["lapjv", "greedy", "stable", "sinkhorn", "partial", "minibatch-ot", "swap"]


def gap(spec, images, noise, generator) -> float:
    return optimality_gap(images, noise[get(spec).pair(images, noise, generator=generator).index])


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_exchanges_never_raise_the_cost_and_keep_a_permutation(pool, seeded, name):
    images, noise = pool(60)
    plain = get(name).pair(images, noise, generator=seeded(0)).report
    refined = get(f"{name}:refine=swap:20").pair(images, noise, generator=seeded(0))
    assert sorted(refined.index.tolist()) == list(range(60))
    assert refined.report["cost_after"] <= plain["cost_after"] * (1 + 1e-6)
    assert 0 <= refined.report["swap_rate"] <= 1
    if name == "greedy":
        assert refined.report["cost_after"] < plain["cost_after"]


def test_refined_pairs_stay_within_their_classes(pool, seeded):
    images, noise = pool(60)
    labels = torch.arange(60) % 3
    spec = "greedy:within_class=true,refine=swap:20"
    index = get(spec).pair(images, noise, labels, seeded(0)).index
    assert torch.equal(labels[index], labels)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("knn:refine=swap:5", "exchanges the noise samples of a permutation"),
        ("sinkhorn:replace=true,refine=swap:5", "exchanges the noise samples of a permutation"),
        ("conditional-cost:refine=swap:5", "by their distances alone"),
        ("random:refine=swap:5", "random pairs, refined, are swap"),
        ("permuted:refine=swap:5", "random pairs, refined, are swap"),
        ("lapjv:refine=swap", "refine must be none or swap:K"),
        ("lapjv:refine=swap:0", "refine must be none or swap:K"),
        ("lapjv:mix=1.5", r"mix must be in \[0, 1\]"),
        ("lapjv:jitter=-0.1", r"jitter must be in \[0, 1\]"),
    ],
)
def test_what_cannot_be_adjusted_is_refused(spec, message):
    with pytest.raises(CouplingError, match=message):
        get(spec)


@pytest.mark.parametrize("spec", ["lapjv:mix=0.5", "lapjv:refine=swap:3", "lapjv:jitter=0.5"])
def test_an_adjusted_coupling_draws(pool, spec):
    with pytest.raises(CouplingError, match="draws at random: pass generator"):
        get(spec).pair(*pool(8))


def test_mixed_pairs_lose_their_share_of_the_gain(pool, seeded):
    """The plan is (1 - share) P + share / n^2: its gap is the share, in the mean."""
    images, noise = pool(400, (3, 8, 8))
    for share in (0.0, 0.25, 0.6, 1.0):
        found = gap(f"lapjv:mix={share}", images, noise, seeded(1))
        assert found == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("name", ["lapjv", "knn"])
def test_mixing_uses_the_same_noise_samples_and_leaves_the_other_pairs(pool, seeded, name):
    images, noise = pool(50)
    plain = get(name).pair(images, noise, generator=seeded(0)).index
    mixed = get(f"{name}:mix=0.2").pair(images, noise, generator=seeded(0)).index
    assert Counter(plain.tolist()) == Counter(mixed.tolist())
    assert 0 < int((plain != mixed).sum()) <= 10


def test_all_mixed_is_a_uniform_permutation(pool, seeded):
    """Of three images: six permutations, in 1,200 pools; the deviation of a count is 13."""
    generator = seeded(0)
    images, noise = pool(3)
    coupling = get("hungarian:mix=1")
    counts = Counter()
    for _ in range(1200):
        counts[tuple(coupling.pair(images, noise, generator=generator).index.tolist())] += 1
    assert len(counts) == 6
    assert all(abs(count - 200) < 65 for count in counts.values())


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_jitter_keeps_the_law_of_the_noise_and_correlates_as_it_should(pool, seeded, share):
    images, noise = pool(300, (3, 8, 8))
    pairing = get(f"lapjv:jitter={share}").pair(images, noise, generator=seeded(0))
    assert torch.equal(pairing.index, get("lapjv").pair(images, noise).index)
    paired = pairing.of(noise)
    assert torch.equal(paired, pairing.of(noise))
    # Of 57,600 values: five deviations of their mean, their variance and their correlation.
    assert float(paired.mean()) == pytest.approx(0, abs=5 / 240)
    assert float(paired.var()) == pytest.approx(1, abs=5 * 2**0.5 / 240)
    assert marginal_ks(paired).pvalue > 1e-3
    assert norm_ks(paired).pvalue > 1e-3
    correlation = float((paired * noise[pairing.index]).mean())
    assert correlation == pytest.approx((1 - share) ** 0.5, abs=5 * 2**0.5 / 240)


def test_jittered_pairs_lose_a_share_of_their_product(pool, seeded):
    """Only <x, z> is paired: it falls by sqrt(1 - b). The mean of <x, e> deviates by .4."""
    images, noise = pool(400, (3, 8, 8))
    centred = images - images.mean(0)

    def product(paired) -> float:
        return float((centred * paired).sum((1, 2, 3)).mean())

    plain = product(get("lapjv").pair(images, noise).of(noise))
    assert plain > 15
    for share in (0.1, 0.5, 1.0):
        pairing = get(f"lapjv:jitter={share}").pair(images, noise, generator=seeded(0))
        paired = pairing.of(noise)
        assert product(paired) == pytest.approx((1 - share) ** 0.5 * plain, abs=2)
        cost = pairing.report["cost_after"]
        assert cost == pytest.approx(transport_cost(images, paired), rel=1e-6)


def test_jitter_is_the_same_for_any_shape_dtype_and_layout(pool, seeded):
    images, noise = pool(20)
    coupling = get("lapjv:jitter=0.3")
    expected = coupling.pair(images, noise, generator=seeded(0)).of(noise)
    for change in (torch.Tensor.double, lambda x: x.to(memory_format=torch.channels_last)):
        changed = change(noise)
        found = coupling.pair(images, changed, generator=seeded(0)).of(changed)
        torch.testing.assert_close(found.float(), expected)
    flat = noise.flatten(1)
    found = coupling.pair(images.flatten(1), flat, generator=seeded(0)).of(flat)
    assert torch.equal(found, expected.flatten(1))
    assert coupling.pair(images[:1], noise[:1], generator=seeded(0)).of(noise[:1]).shape[0] == 1

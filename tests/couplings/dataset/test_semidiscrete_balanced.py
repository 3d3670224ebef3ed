import pytest
import torch

from couplings import CouplingError, get
from couplings.dataset.contract import training_set
from couplings.diagnostics import norm_ks

N = 32


def fit(images, seeded, options="", labels=None):
    spec = f"semidiscrete-balanced:batch=512{options}"
    return get(spec).fit(images, labels, seeded(0))


def couple(fitted, pools, seeded, size=24):
    """Index and noise of some pools of distinct images."""
    generator = seeded(9)
    pairs = []
    for _ in range(pools):
        index = torch.randperm(N, generator=generator)[:size]
        pairs.append((index, fitted.couple(index, torch.empty(0))))
    return pairs


def test_images_come_as_they_were_drawn_each_with_a_noise_sample_of_its_own(pool, seeded):
    images, _ = pool(N)
    fitted = fit(images, seeded)
    noise = []
    for index, pairing in couple(fitted, 50, seeded):
        assert torch.equal(pairing.index, index)
        noise.append(pairing.noise)
    noise = torch.cat(noise)
    assert len(noise.flatten(1).unique(dim=0)) == len(noise) == 1200
    # Whatever was drawn is used or waits.
    assert fitted.drawn == len(noise) + len(fitted.waiting)
    assert len(fitted.waiting) < 15 * N


@pytest.mark.parametrize("max_chi2", [0.01, 0.5])
def test_noise_stays_gaussian_and_pairs_are_as_near_as_those_of_the_map(pool, seeded, max_chi2):
    """Also where the fit left the images uneven, as the queues even them out."""
    images, _ = pool(N)
    fitted = fit(images, seeded, f",max_chi2={max_chi2}")
    pairs = [pairing for _, pairing in couple(fitted, 200, seeded)]
    noise = torch.cat([one.noise for one in pairs])
    index = torch.cat([one.index for one in pairs])
    assert norm_ks(noise).pvalue > 0.001
    # 4,800 samples: the deviation of a mean is 0.014.
    assert noise.mean(0).abs().max() < 0.07
    gain = float((images[index] * noise).flatten(1).sum(1).mean())
    plain = get("semidiscrete:batch=512").fit(images, generator=seeded(0))
    best = float((images[plain.assign(noise)] * noise).flatten(1).sum(1).mean())
    assert 0.9 * best < gain < 1.02 * best


def test_a_resumed_training_gets_the_pairs_of_one_that_was_not_stopped(pool, seeded):
    images, _ = pool(N)
    whole = fit(images, seeded)
    couple(whole, 3, seeded)
    resumed = get(whole.coupling.spec).begin(training_set(images), 0)
    resumed.load_state_dict(whole.state_dict())
    for (_, one), (_, other) in zip(
        couple(whole, 5, seeded), couple(resumed, 5, seeded), strict=True
    ):
        assert torch.equal(one.noise, other.noise)


def test_equal_images_share_a_queue_and_each_gets_its_part(pool, seeded):
    images, _ = pool(N)
    images[1::2] = images[::2]
    fitted = fit(images, seeded)
    assert torch.equal(fitted.owner, torch.arange(N) // 2 * 2)
    # Both of a pair at once, the second of them twice.
    index = torch.tensor([4, 5, 5, 9])
    pairing = fitted.couple(index, torch.empty(0))
    assert torch.equal(pairing.index, index)
    assert len(pairing.noise.flatten(1).unique(dim=0)) == 4
    first = fitted.assign(pairing.noise) // 2
    # Nearly all of the few waiting samples are where the map would put them.
    assert (first == index // 2).float().mean() >= 0.5


def test_mirrored_images_are_delivered_as_mirrored(pool, seeded):
    images, _ = pool(N)
    fitted = fit(images, seeded, ",flips=true")
    pairs = couple(fitted, 40, seeded)
    index = torch.cat([pairing.index for _, pairing in pairs])
    assert torch.equal(index % N, torch.cat([drawn for drawn, _ in pairs]))
    assert 0.4 < float((index >= N).float().mean()) < 0.6
    noise = torch.cat([pairing.noise for _, pairing in pairs])
    gain = (fitted.take(images, index) * noise).flatten(1).sum(1).mean()
    assert gain > 1.2 * (images[index % N] * noise).flatten(1).sum(1).mean()


def test_noise_is_drawn_for_the_classes_that_lack_it(pool, seeded):
    images, _ = pool(N)
    labels = torch.arange(N) % 3
    fitted = fit(images, seeded, ",per_class=true", labels)
    pairs = couple(fitted, 40, seeded)
    for index, pairing in pairs:
        assert torch.equal(pairing.index, index)
    noise = torch.cat([pairing.noise for _, pairing in pairs])
    index = torch.cat([pairing.index for _, pairing in pairs])
    # In each class the noise is Gaussian: it does not depend on the label.
    for label in range(3):
        own = noise[labels[index] == label]
        assert norm_ks(own).pvalue > 0.001
        assert own.mean(0).abs().max() < 0.25
    best = fitted.assign(noise, labels[index])
    assert (best == index).float().mean() > 0.5


def test_what_does_not_fit_is_refused(pool, seeded):
    with pytest.raises(CouplingError, match="pressure must be above 0"):
        get("semidiscrete-balanced:pressure=0")
    with pytest.raises(CouplingError, match="index leaves 0 .. 31"):
        fit(pool(N)[0], seeded).couple(torch.tensor([N]), torch.empty(0))

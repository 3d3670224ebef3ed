"""Weights of random pairs: the Gibbs kernel of their distances."""

import numpy as np
import pytest
import torch

from couplings import CouplingError, get
from couplings.diagnostics import noise_norm_drift
from couplings.distributed import pair_global
from couplings.loader import PairedLoader


def test_weights_are_those_of_the_kernel(pool):
    images, noise = pool(200)
    pairing = get("w-cfm:kappa=0.5").pair(images, noise)
    distances = np.linalg.norm((images - noise).flatten(1).double().numpy(), axis=1)
    expected = np.exp(-distances / (0.5 * np.sqrt(images[0].numel())))
    expected /= expected.mean()
    assert pairing.index.tolist() == list(range(200))
    np.testing.assert_allclose(pairing.weights, expected, rtol=1e-5)
    share = expected.sum() ** 2 / (200 * (expected**2).sum())
    assert pairing.report["effective_share"] == pytest.approx(share, rel=1e-5)


def test_the_marginals_are_tilted_to_short_noise(pool):
    images, noise = pool(4000, (1, 2, 2))
    weights = get("w-cfm:kappa=0.3").pair(0 * images, noise).weights
    # Between equal images and N(0, I) short noise samples are nearer.
    assert noise_norm_drift(noise, weights) < -0.2 < noise_norm_drift(noise)
    wide = get("w-cfm:kappa=1e6").pair(images, noise)
    torch.testing.assert_close(wide.weights, torch.ones(4000))


def test_no_scale_spoils_the_weights(pool):
    images, noise = pool(20)
    for scale in (1e-15, 1e15):
        weights = get("w-cfm").pair(images * scale, noise * scale).weights
        assert weights.isfinite().all()
        assert weights.mean() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("option", ["within_class=true", "mix=0.5", "jitter=0.5", "refine=swap:1"])
def test_other_pairs_are_refused(option):
    with pytest.raises(CouplingError, match="w-cfm: "):
        get(f"w-cfm:{option}")


def test_weights_are_never_dropped(pool):
    with pytest.raises(CouplingError, match="weights"):
        PairedLoader([torch.zeros(4, 3)], "w-cfm")
    with pytest.raises(CouplingError, match="weighs losses"):
        pair_global(get("w-cfm"), *pool(4))

"""Sorting along lines against brute force over the lines and scikit-learn's component."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from couplings import CouplingError, get


def sorted_along(images, noise, line) -> np.ndarray:
    index = np.empty(len(images), dtype=np.int64)
    index[np.argsort(images @ line)] = np.argsort(noise @ line)
    return index


def test_on_a_line_every_direction_is_the_optimum(pool, seeded):
    images, noise = pool(50, (1,))
    optimum = get("hungarian").pair(images, noise).report["cost_after"]
    for spec in ("sliced:directions=1", "sliced:pca=true"):
        report = get(spec).pair(images, noise, generator=seeded(0)).report
        assert report["cost_after"] == pytest.approx(optimum, rel=1e-5)


def test_the_best_of_the_lines_counts(pool, seeded):
    images, noise = (x.double().numpy() for x in pool(60, (6,)))
    lines = torch.randn(6, 20, generator=seeded(3), dtype=torch.float64).numpy()
    costs = []
    for line in lines.T:
        paired = noise[sorted_along(images, noise, line)]
        costs.append(((images - paired) ** 2).sum(1).mean())
    found = get("sliced:directions=20").pair(
        *map(torch.from_numpy, (images, noise)), None, seeded(3)
    )
    assert found.report["cost_after"] == pytest.approx(min(costs), rel=1e-9)
    assert min(costs) < np.median(costs) < max(costs)


def test_pca_sorts_along_the_first_component(pool):
    images, noise = (x.flatten(1).double() for x in pool(60))
    line = PCA(1).fit(images.numpy()).components_[0]
    expected = sorted_along(images.numpy(), noise.numpy(), line)
    assert get("sliced:pca=true").pair(images, noise).index.tolist() == expected.tolist()


def test_equal_images_have_no_component_and_any_order(pool):
    images, noise = pool(9)
    index = get("sliced:pca=true").pair(images[:1].expand_as(images), noise).index
    assert sorted(index.tolist()) == list(range(9))


def test_no_direction_is_refused():
    with pytest.raises(CouplingError, match="directions must be above 0"):
        get("sliced:directions=0")

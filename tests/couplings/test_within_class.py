"""The rule that images are paired with noise of their own class, for every batch coupling."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_predict

from couplings import CouplingError, get, names
from tests.ready import ready

# Pairs whose losses are weighted stay as they were drawn.
BATCH = [name for name in names("batch") if not get(name).weighs_losses]
LABELS = torch.tensor([7, 3, 7, 9, 3, 7] * 8 + [100])  # sizes 24, 16, 8 and 1


@pytest.mark.parametrize("name", BATCH)
def test_no_noise_crosses(pool, seeded, name):
    images, noise = pool(49)
    pairing = ready(f"{name}:within_class=true").pair(images, noise, LABELS, seeded(0))
    assert torch.equal(LABELS[pairing.index], LABELS)
    assert pairing.report["classes"] == 4
    assert pairing.report["singletons"] == 1
    one_hot = torch.nn.functional.one_hot(LABELS)
    again = ready(f"{name}:within_class=true").pair(images, noise, one_hot, seeded(0)).index
    assert torch.equal(LABELS[again], LABELS)


@pytest.mark.parametrize("name", BATCH)
def test_missing_labels_are_refused(pool, seeded, name):
    with pytest.raises(CouplingError, match="needs labels"):
        ready(f"{name}:within_class=true").pair(*pool(8), generator=seeded(0))


@pytest.mark.parametrize("name", ["hungarian", "lapjv", "minibatch-ot", "lapjv:cost=l2", "stable"])
def test_each_class_is_solved_as_if_alone(pool, name):
    images, noise = pool(49)
    within = get(name + (",within_class=true" if ":" in name else ":within_class=true"))
    index = within.pair(images, noise, LABELS).index
    for label in LABELS.unique():
        rows = (label == LABELS).nonzero()[:, 0]
        assert torch.equal(index[rows], rows[get(name).pair(images[rows], noise[rows]).index])


@pytest.mark.parametrize("name", BATCH)
def test_a_report_is_the_mean_over_the_classes_that_were_solved(pool, seeded, name):
    """30 of 40 images are the only ones of their class: the report is that of the other ten, solved
    by themselves.
    """
    images, noise = pool(40)
    labels = torch.arange(40).clamp_max(30)
    several = labels == 30
    assert several.sum() == 10
    within = ready(f"{name}:within_class=true")
    report = within.pair(images, noise, labels, seeded(0)).report
    expected = within.pair(images[several], noise[several], labels[several], seeded(0)).report
    of_the_pool = {"cost_before", "cost_after", "seconds", "duplicates", "classes", "singletons"}
    assert report.keys() == expected.keys()
    for key in report.keys() - of_the_pool:
        assert report[key] == pytest.approx(expected[key], rel=1e-12), key
    assert (report["classes"], report["singletons"]) == (31, 30)


@pytest.mark.parametrize("name", BATCH)
def test_classes_are_weighted_by_their_sizes(pool, seeded, name):
    images, noise = pool(49)
    within = ready(f"{name}:within_class=true")
    report = within.pair(images, noise, LABELS, seeded(0)).report
    generator = seeded(0)
    parts = []
    for label in (3, 7, 9):  # the order in which the classes draw from the generator
        rows = label == LABELS
        parts.append(
            (
                int(rows.sum()),
                within.pair(images[rows], noise[rows], LABELS[rows], generator).report,
            )
        )
    for key in report.keys() - {
        "cost_before",
        "cost_after",
        "seconds",
        "duplicates",
        "classes",
        "singletons",
    }:
        expected = sum(size * part[key] for size, part in parts) / 48
        assert report[key] == pytest.approx(expected, rel=1e-12), key


@pytest.mark.parametrize("name", BATCH)
def test_classes_of_one_only_are_left_as_given(pool, seeded, name):
    images, noise = pool(12)
    pairing = ready(f"{name}:within_class=true").pair(images, noise, torch.arange(12), seeded(0))
    assert pairing.index.tolist() == list(range(12))
    assert pairing.report["cost_after"] == pairing.report["cost_before"]
    assert pairing.report["singletons"] == pairing.report["classes"] == 12
    assert pairing.report.keys() == get("random").pair(
        images, noise, generator=seeded(0)
    ).report.keys() | {
        "classes",
        "singletons",
    }


def test_labels_leak_into_the_noise_unless_pairs_stay_within_the_class(pool, seeded):
    """A linear probe reads the class from label-blind paired noise (C2OT: 20 to 30 % where chance
    is 10 %).
    """
    generator = seeded(0)
    n = 1500
    classes = 5
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, 3, 6, 6, generator=generator)
    images = 0.5 * torch.randn(n, 3, 6, 6, generator=generator) + centres[labels]
    noise = torch.randn(n, 3, 6, 6, generator=generator)

    def accuracy(spec):
        paired = noise[get(spec).pair(images, noise, labels).index].flatten(1).numpy()
        return np.mean(
            cross_val_predict(RidgeClassifier(), paired, labels.numpy(), cv=3) == labels.numpy()
        )

    assert accuracy("lapjv") > 0.5
    assert accuracy("random") == pytest.approx(0.2, abs=0.04)
    assert accuracy("lapjv:within_class=true") == pytest.approx(0.2, abs=0.04)
    assert accuracy("conditional-cost") == pytest.approx(0.2, abs=0.04)

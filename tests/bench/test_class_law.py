"""The classes that a conditional denoiser is asked for, on data whose classes are not equally
large.
"""

import dataclasses

import pytest
import torch

from bench.check import check, make
from bench.config import ConfigError, RunConfig, from_dict
from bench.data import Dataset, Split, as_images, load
from bench.evaluation.loop import evaluate
from bench.features import Features, classifier
from bench.metrics.contract import FeatureSpace, Subject
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.sampling.latents import draw_latents
from models import edm as networks
from tests.bench.metrics.samples import measure_all

ALONE = Ranks(0, 1, "cpu")
SHARES = (0.9, 0.1)
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
POINTS = Features(
    "points",
    lambda x: x.flatten(1),
    size=2,
    fingerprint="points",
    classify=lambda f: (f[:, 0] > 0).long(),
)


def images_of(labels, seed):
    """A new image of each class asked for, two pixels wide: what a perfect denoiser gives."""
    noise = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed))
    return (MEANS[labels] + 0.1 * noise).reshape(-1, 1, 1, 2)


@pytest.fixture(scope="module")
def unbalanced() -> Dataset:
    """Sorted by class, as folders are read."""
    splits = []
    for n in (2000, 1000):
        labels = (torch.arange(n) >= SHARES[0] * n).long()
        splits.append(Split(images_of(labels, n), labels))
    return Dataset("unbalanced", *splits, num_classes=2, bounded=False)


def of_perfect_model(dataset, law):
    asked = draw_latents(1000, dataset, 0, law=law).labels
    return measure_all(FeatureSpace(POINTS, dataset, requested=asked), images_of(asked, 5))


def test_classes_come_as_often_as_in_the_training_split(unbalanced):
    """Within four standard errors; the uniform law by name only."""
    n = 1000
    for law, share in ((None, SHARES[1]), ("data", SHARES[1]), ("uniform", 0.5)):
        latents = draw_latents(n, unbalanced, 0, **({"law": law} if law else {}))
        error = (share * (1 - share) / n) ** 0.5
        assert latents.labels.double().mean().item() == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize("law", ["data", "uniform"])
def test_noise_does_not_depend_on_the_law_nor_labels_on_the_chunk(unbalanced, law):
    whole, part = (
        draw_latents(40, unbalanced, 3, law=law),
        draw_latents(7, unbalanced, 3, start=20, law=law),
    )
    assert torch.equal(whole.noise, draw_latents(40, unbalanced, 3).noise)
    assert torch.equal(part.labels, whole.labels[20:27])


def test_a_perfect_model_is_as_near_to_the_data_as_real_images_are(unbalanced):
    """The mean alone is off by 0.4 x |difference of the means| where classes are drawn uniformly:
    0.68 squared.
    """
    as_data, uniform = (of_perfect_model(unbalanced, law) for law in ("data", "uniform"))
    for split in ("train", "test"):
        assert as_data["fd_points", split] < 0.02
        assert uniform["fd_points", split] > 0.6
        assert as_data["class_distance_points", split] < 0.04
        assert uniform["class_distance_points", split] > 0.35
        assert abs(as_data["fd_infinity_points", split]) < 0.02
        assert abs(as_data["kid_points", split]) < 0.02


@pytest.mark.data
def test_fresh_real_images_of_the_class_asked_for_are_near_to_held_out_ones(real_data, tmp_path):
    """Trousers and T-shirts, 9:1: the Frechet distance of a perfect model is under 1."""
    whole = load("fashion-mnist-16", real_data)
    images = as_images(torch.cat([whole.train.images, whole.test.images]))
    labels = torch.cat([whole.train.labels, whole.test.labels])
    of_class = [images[labels == c] for c in (0, 1)]

    def split(first, counts):
        rows = [of_class[c][first[c] : first[c] + counts[c]] for c in (0, 1)]
        return Split(torch.cat(rows), torch.arange(2).repeat_interleave(torch.tensor(counts)))

    dataset = Dataset(
        "two", split((0, 0), (1800, 200)), split((1800, 200), (900, 100)), num_classes=2
    )
    features = classifier.load(dataset, tmp_path, "cpu")
    distance = {}
    for law in ("data", "uniform"):
        asked = draw_latents(1000, dataset, 0, law=law).labels
        order = torch.stack([(asked == c).cumsum(0) - 1 for c in (0, 1)])
        fresh = torch.stack(
            [of_class[c][3000 + int(order[c, i])] for i, c in enumerate(asked.tolist())]
        )
        space = FeatureSpace(features, dataset, requested=asked)
        distance[law] = measure_all(space, fresh)["fd_classifier", "test"]
    assert distance["data"] < 1
    assert distance["uniform"] > 50


@pytest.fixture(scope="module")
def net(toy_net):
    return toy_net(classes=2)


@pytest.fixture(scope="module")
def toy() -> Dataset:
    g = torch.Generator().manual_seed(0)
    splits = (
        Split(torch.randn(n, 1, 4, 4, generator=g) / 2, (torch.arange(n) % 10 == 0).long())
        for n in (60, 40)
    )
    return Dataset("toy", *splits, num_classes=2)


def config(law="data") -> RunConfig:
    values = {
        "nfe": (3,),
        "samples": 200,
        "reference_steps": 8,
        "rhos": (),
        "metrics": ("samples",),
    }
    evaluation = dataclasses.replace(RunConfig().evaluation, class_law=law, **values)
    return dataclasses.replace(RunConfig(), data="toy", evaluation=evaluation)


def asked(subject) -> float:
    return subject.requested.double().mean().item()


def test_an_evaluation_asks_by_its_law_and_says_by_which(net, toy, tmp_path):
    as_data, uniform = (
        Subject(config(law), net, toy, [], "cpu", tmp_path) for law in ("data", "uniform")
    )
    assert asked(as_data) == pytest.approx(0.1, abs=0.085)
    assert asked(uniform) == pytest.approx(0.5, abs=0.15)
    assert (as_data.origin["class_law"], uniform.origin["class_law"]) == ("data", "uniform")


def test_an_unconditional_denoiser_has_no_law(toy, tmp_path):
    with torch.random.fork_rng():
        unconditional = networks.small(4, 1, 0, model_channels=8, channel_mult=(1,)).eval()
    assert "class_law" not in Subject(config(), unconditional, toy, [], "cpu", tmp_path).origin


def test_what_another_law_gave_is_measured_again(net, toy, tmp_path):
    """A record of before there were laws, whose classes were drawn uniformly, does not count
    either.
    """
    pixels = Features("pixels", lambda images: images.flatten(1), size=16, fingerprint="pixels")

    def value(law):
        rows = evaluate(config(law), net, toy, [pixels], ALONE, RunFolder(tmp_path), progress=False)
        (row,) = [row for row in rows if (row.metric, row.split) == ("fd_pixels", "test")]
        return row.value

    first, second = value("uniform"), value("data")
    assert first != second
    assert value("uniform") == first


def test_the_law_names_a_run_only_where_it_is_another():
    """Runs keep their folders; a uniform law is in config.json, where reports find it."""
    base, uniform = (
        make(overrides={"conditional": True, "class_law": law}) for law in ("data", "uniform")
    )
    assert "class_law" not in base.identity["evaluation"]
    assert base.run_id == make(overrides={"conditional": True}).run_id
    assert uniform.identity["evaluation"]["class_law"] == "uniform"
    assert uniform.run_id != base.run_id
    assert from_dict(uniform.identity).evaluation.class_law == "uniform"


def test_no_law_makes_another_unconditional_run():
    assert make(overrides={"class_law": "uniform"}) == make()
    of_file = dataclasses.replace(
        make(), checkpoint="0" * 64, evaluation=config("uniform").evaluation
    )
    assert check(of_file).evaluation.class_law == "uniform"  # its network may be conditional


def test_an_unknown_law_is_refused():
    with pytest.raises(ConfigError, match="data, uniform"):
        make(overrides={"class_law": "stratified"})

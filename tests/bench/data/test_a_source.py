"""``--source``: noise samples drawn from a data set instead of N(0, I)."""

from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import make
from bench.config import ConfigError, RunConfig
from bench.config.read import from_dict
from bench.pairs.pool import draw_pool
from bench.record import RunFolder
from bench.run import main
from bench.sampling.latents import draw_latents

PERCEPTRON = {"arch": "mlp", "arch_options": ["width=8", "depth=1"]}


@pytest.fixture(scope="module")
def pair():
    return data.load("dsb-8gaussians", source="dsb-moons")


def rows(images):
    return list(map(tuple, images.flatten(1).tolist()))


def test_pools_draw_noise_without_replacement_from_the_training_split_of_the_source(pair):
    moons = data.load("dsb-moons")
    drawn = draw_pool(pair.train, 10_000, seed=0, rank=0, number=3).pairs
    assert sorted(rows(drawn.noise)) == sorted(rows(moons.train.images))
    assert sorted(rows(drawn.images)) == sorted(rows(pair.train.images))
    again = draw_pool(pair.train, 10_000, seed=0, rank=0, number=3).pairs
    assert torch.equal(drawn.noise, again.noise)
    other = draw_pool(pair.train, 10_000, seed=0, rank=0, number=4).pairs
    assert not torch.equal(drawn.noise, other.noise)
    # The orders of images and noise samples are independent.
    both = torch.cat([drawn.images.flatten(1), drawn.noise.flatten(1)], 1).T
    assert torch.corrcoef(both)[:2, 2:].abs().max() < 4.5 / 100


def test_the_images_of_a_pool_are_those_of_gaussian_noise(pair):
    plain = draw_pool(data.load("dsb-8gaussians").train, 64, 0, 0, 0)
    assert torch.equal(plain.rows, draw_pool(pair.train, 64, 0, 0, 0).rows)


def test_a_pool_larger_than_the_source_takes_every_point_again(pair):
    few = replace(pair.train, source=pair.train.source[:3])
    noise = draw_pool(few, 8, 0, 0, 0).pairs.noise
    counts = torch.unique(noise.flatten(1), dim=0, return_counts=True)[1]
    assert sorted(counts.tolist()) == [2, 3, 3]


def test_latents_are_test_points_of_the_source_found_by_seed_and_index(pair):
    moons = data.load("dsb-moons")
    all_of_them = draw_latents(10_000, pair, seed=5)
    assert sorted(rows(all_of_them.noise)) == sorted(rows(moons.test.images))
    part = draw_latents(7, pair, seed=5, start=9_996)
    assert torch.equal(part.noise[:4], all_of_them.noise[9_996:])
    # After all points come all of them again, in another order.
    assert not torch.equal(part.noise[4:], all_of_them.noise[:3])
    assert not torch.equal(draw_latents(9, pair, seed=6).noise, all_of_them.noise[:9])
    # Classes are drawn as without a source, by seed and index.
    again = draw_latents(2, pair, seed=5, start=40)
    assert torch.equal(again.labels, all_of_them.labels[40:42])


def test_a_source_makes_other_data(pair):
    assert pair.checksum != data.load("dsb-8gaussians").checksum
    assert pair.source.checksum == data.load("dsb-moons").checksum
    assert torch.equal(pair.train.to("cpu").source, data.load("dsb-moons").train.images)


def test_a_source_of_another_shape_is_refused():
    with pytest.raises(data.DataError, match="--source digits: its images are"):
        data.load("moons", source="digits")


def test_a_run_with_a_source_has_a_name_of_its_own_and_others_keep_theirs():
    assert "source" not in RunConfig().identity
    assert "-from-" not in RunConfig().run_id
    config = make(None, {"data": "dsb-8gaussians", "source": "dsb-moons", **PERCEPTRON})
    assert config.run_id.startswith("dsb-8gaussians-from-dsb-moons-random-pool")
    assert config.digest != make(None, {"data": "dsb-8gaussians", **PERCEPTRON}).digest
    assert from_dict(config.identity).source == "dsb-moons"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"source": "mons"}, ["--source", "did you mean moons"]),
        ({"source": "image-folder"}, ["--source image-folder", "module"]),
        ({"coupling": "semidiscrete"}, ["--coupling semidiscrete", "lapjv"]),
        ({"coupling": "cached"}, ["--coupling cached", "lapjv"]),
        ({"coupling": "lapjv:jitter=0.5"}, ["--coupling lapjv:jitter=0.5", "jitter is Gaussian"]),
        ({"samplers": ["heun", "euler-maruyama"]}, ["--samplers euler-maruyama"]),
        ({"start": ["truncated:sigma=0.5"], "start_nfe": [3]}, ["--start truncated"]),
        ({"guidance.kind": "discriminator"}, ["--guidance discriminator"]),
        ({"checkpoint": "0" * 64}, ["--from-checkpoint"]),
    ],
)
def test_what_needs_gaussian_noise_refuses_a_source(overrides, words):
    given = {"data": "moons", "source": "eight-gaussians", **overrides}
    with pytest.raises(ConfigError) as caught:
        make(None, given)
    for word in words:
        assert word in str(caught.value)
    if "source" not in overrides:
        assert "leave it or --source out" in str(caught.value)
        make(None, given | {"source": "gaussian"})


def test_a_run_from_moons_to_eight_gaussians_from_the_command_line(tiny_flags, tmp_path, capsys):
    words = ["--data", "eight-gaussians", "--source", "moons", "--coupling", "lapjv"]
    words += ["--metrics", "learning"]
    assert main([*tiny_flags, *words, "--runs", str(tmp_path)]) == 0
    assert "eight-gaussians from moons, pool 128" in capsys.readouterr().out
    folders = [RunFolder(path) for path in sorted(tmp_path.glob("eight-gaussians-from-moons-*"))]
    assert len(folders) == 2
    metrics = []
    for folder in folders:
        values = {m.metric: m.value for m in folder.measurements()}
        # Its formula is that of Gaussian noise.
        assert "target_variance" not in values
        assert "target_variance_bound" in values
        metrics.append(values["transport_cost"])
    lapjv, random = metrics
    assert lapjv < random
    dataset = data.load("eight-gaussians", source="moons")
    means = [split.flatten(1).double() for split in (dataset.train.images, dataset.train.source)]
    # Independent pairs: the sum of variances and the squared distance of the means, per pair.
    expected = (
        sum(x.var(0).sum() for x in means) + (means[0].mean(0) - means[1].mean(0)).square().sum()
    )
    assert random == pytest.approx(expected.item(), rel=0.1)

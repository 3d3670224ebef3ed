"""Latents of the evaluation, and those of the search for the best schedule."""

import dataclasses

import torch

from bench.data import Dataset, Split
from bench.randomness import generator
from bench.sampling.latents import EVALUATION, SEARCH, draw_latents


def toy() -> Dataset:
    images = torch.zeros(30, 1, 2, 2, dtype=torch.uint8)
    split = Split(images, torch.arange(30) % 3)
    return Dataset("toy", split, split, num_classes=3)


def vectors(latents):
    return set(map(tuple, latents.noise.flatten(1).tolist()))


def test_the_search_shares_no_latent_with_the_evaluation():
    evaluation = draw_latents(400, toy(), seed=3)
    search = draw_latents(400, toy(), seed=3, purpose=SEARCH)
    assert len(vectors(evaluation)) == len(vectors(search)) == 400
    assert not vectors(evaluation) & vectors(search)
    # Labels have the same law, and are other draws.
    assert not torch.equal(evaluation.labels, search.labels)
    both = torch.stack([evaluation.noise.flatten(), search.noise.flatten()])
    assert torch.corrcoef(both)[0, 1].abs() < 4.5 / 40


def test_latents_of_the_evaluation_are_those_of_earlier_versions():
    latents = draw_latents(3, toy(), seed=3, start=5)
    for index, noise in enumerate(latents.noise, 5):
        stream = generator(3, "latents", step=index)
        assert torch.equal(noise, torch.randn(1, 2, 2, generator=stream))


def test_a_latent_of_the_search_depends_on_its_index_only():
    many = draw_latents(9, toy(), seed=3, purpose=SEARCH)
    few = draw_latents(2, toy(), seed=3, start=4, purpose=SEARCH)
    assert torch.equal(many.noise[4:6], few.noise)
    assert torch.equal(many.labels[4:6], few.labels)


def test_with_a_source_the_search_draws_from_its_training_split():
    def split(first, n):
        points = torch.arange(first, first + n).float().reshape(n, 1, 1, 1).expand(n, 1, 2, 2)
        return Split(points, torch.zeros(n, dtype=torch.int64))

    source = Dataset("source", split(0, 20), split(100, 10), num_classes=1)
    dataset = dataclasses.replace(toy(), source=source)
    search = draw_latents(20, dataset, seed=0, purpose=SEARCH).noise[:, 0, 0, 0]
    evaluation = draw_latents(10, dataset, seed=0, purpose=EVALUATION).noise[:, 0, 0, 0]
    # Each once: passes are without replacement.
    assert sorted(search.tolist()) == list(range(20))
    assert sorted(evaluation.tolist()) == list(range(100, 110))

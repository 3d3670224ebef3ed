"""Couplers of a pool: here, in worker processes, over all ranks, or fitted on the training set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from bench.data import Split, as_images
from bench.pairs.facts import repeated
from bench.pairs.pool import Coupled, Drawn, Pairs
from bench.pairs.workers import Workers
from bench.process.ranks import PATIENCE
from couplings import Coupling, Fitted

Coupler = Callable[[Drawn, torch.Generator], Coupled]


def couple_pool(coupling: Coupling | Workers) -> Coupler:
    """Couple the pool of this rank by itself."""

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        pairing = coupling.pair(pairs.images, pairs.noise, pairs.labels, generator)
        coupled = replace(pairs, noise=pairing.of(pairs.noise), weights=pairing.weights)
        return Coupled(coupled, pairing.report, drawn.rows)

    return couple


def couple_ranks(coupling: Coupling | Workers) -> Coupler:
    """Couple a pool that all ranks of torch.distributed have drawn alike: one of them solves it."""
    from couplings.distributed import pair_shared

    # Another group: the collectives of a background thread must not mix with those of the
    # training.
    group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        # Workers pair as their coupling does.
        solver = cast(Coupling, coupling)
        pairing = pair_shared(solver, pairs.images, pairs.noise, pairs.labels, generator, group)
        coupled = replace(pairs, noise=pairing.of(pairs.noise), weights=pairing.weights)
        return Coupled(coupled, pairing.report, drawn.rows)

    return couple


def couple_fitted(fitted: Fitted, split: Split) -> Coupler:
    """Pair with a coupling fitted on the images of ``split``."""
    from couplings.cost import mean_pair_cost

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        start = time.perf_counter()
        pairing = fitted.couple(drawn.rows, pairs.noise, pairs.labels)
        seconds = time.perf_counter() - start
        index = pairing.index.to(pairs.images.device)
        noise = pairing.noise.to(pairs.noise)
        images = as_images(fitted.take(split.images, index))
        # Reports of batch couplings come from the solver; here, both costs are measured.
        report = {
            "seconds": seconds,
            "cost_before": mean_pair_cost(pairs.images.flatten(1), pairs.noise.flatten(1)),
            "cost_after": mean_pair_cost(images.flatten(1), noise.flatten(1)),
            "duplicates": repeated(noise),
        }
        # Mirrored images have the numbers from len(split) on, and the labels of their originals.
        rows = index % len(split)
        coupled = Pairs(images, noise, split.labels[rows])
        state = fitted.state_dict() if fitted.learns else None
        return Coupled(coupled, report, rows.cpu(), state)

    return couple

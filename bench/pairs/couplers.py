"""Couplers of a pool: here, in worker processes, over all ranks, or fitted on the training set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from bench.data import Split, as_images
from bench.pairs.facts import repeated
from bench.pairs.pool import Coupled, Drawn, Pairs
from bench.pairs.workers import Workers
from bench.process.ranks import PATIENCE
from couplings import Coupling, Fitted, Pairing
from couplings.pool import Jitter

Coupler = Callable[[Drawn, torch.Generator], Coupled]


def couple_pool(coupling: Coupling | Workers) -> Coupler:
    """Couple the pool of this rank by itself."""

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        pairs = drawn.pairs
        pairing = coupling.pair(pairs.images, pairs.noise, pairs.labels, generator)
        again = _kept(pairing) if follows_model(coupling) else None
        return replace(_paired(drawn, pairing), again=again)

    return couple


def couple_again(kept: dict[str, Tensor]) -> Coupler:
    """Couple a pool as it was before the run was stopped, from ``Coupled.again``."""

    def couple(drawn: Drawn, generator: torch.Generator) -> Coupled:
        device = drawn.pairs.noise.device
        jitter = None
        if "jitter" in kept:
            jitter = Jitter(float(kept["jitter"]), int(kept["jitter_seed"]))
        weights = kept["weights"].to(device) if "weights" in kept else None
        pairing = Pairing(kept["index"].to(device), weights=weights, jitter=jitter)
        # Without a report: the pool was counted before the stop.
        return replace(_paired(drawn, pairing), again=kept)

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
        again = _kept(pairing) if follows_model(coupling) else None
        return replace(_paired(drawn, pairing), again=again)

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


def follows_model(coupling: Coupling | Workers | Fitted) -> bool:
    """True if the network in training decides the pairs, with its weights of their own step."""
    # Workers, which have no network, are no coupling.
    return isinstance(coupling, Coupling) and coupling.follows_model


def _paired(drawn: Drawn, pairing: Pairing) -> Coupled:
    """A drawn pool in the pairs of a batch coupling."""
    pairs = drawn.pairs
    coupled = replace(pairs, noise=pairing.of(pairs.noise), weights=pairing.weights)
    return Coupled(coupled, pairing.report, drawn.rows)


def _kept(pairing: Pairing) -> dict[str, Tensor]:
    """The pairing as tensors, for a checkpoint."""
    kept = {"index": pairing.index.cpu()}
    if pairing.weights is not None:
        kept["weights"] = pairing.weights.cpu()
    if pairing.jitter is not None:
        kept["jitter"] = torch.tensor(pairing.jitter.share, dtype=torch.float64, device="cpu")
        # A whole number of 62 bits, which float64 does not hold.
        kept["jitter_seed"] = torch.tensor(pairing.jitter.seed, dtype=torch.int64, device="cpu")
    return kept

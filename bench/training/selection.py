"""Selection of the weights that are measured: those of least loss on the validation split.

Published experiments with points in the plane test such weights, for example [SF]2M (Tong et al.
2024, App. F). The loss is that of training, on pairs of the run's own coupling.
"""

from __future__ import annotations

from typing import cast

import torch

from bench.config import ConfigError, RunConfig
from bench.data import Dataset, Split
from bench.pairs.pool import Pairs
from bench.pairs.stream import PairStream
from bench.randomness import derive, generator
from bench.training.state import Selected
from bench.training.step import draw_path_noise, loss_weights
from couplings import get
from models.denoiser import Denoiser
from models.ema import EMA

CHUNK = 256  # pairs denoised at a time


def refuse_selection(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a selection where no held-out pairs exist for it.

    Raises:
        ConfigError: naming the option and the way out.

    """
    if not config.training.select_every:
        return
    option = f"--select-every {config.training.select_every}"
    if dataset.validation is None:
        # Not the test split: its distances would be too small.
        raise ConfigError(
            f"{option}: {config.data} has no validation split to select weights by; leave it out,"
            " or load a Dataset with one"
        )
    if get(config.coupling).kind != "batch":
        raise ConfigError(
            f"{option}: {config.coupling} pairs no images but those of training, so the validation"
            " split has no pairs of it; leave the option out"
        )
    if get(config.coupling).follows_model:
        raise ConfigError(
            f"{option}: the pairs of {config.coupling} change with the weights, so losses on them"
            " cannot be compared; leave the option out"
        )


class Selection:
    """Checks of the average's loss on the validation split.

    Pairs, noise levels and path noise are drawn once: all checks compare weights on the same ones.

    Args:
        config: of the run, as ``refuse_selection`` allows it.
        split: the validation split, on the device of the training.
        net: the denoiser, which knows the objective.

    Raises:
        CouplingError: a pool cannot be solved.

    """

    def __init__(self, config: RunConfig, split: Split, net: Denoiser):
        training = config.training
        self.batch = training.batch
        # At least one step lies between two checks.
        self.every = max(1, round(training.select_every / training.batch))
        seed = derive(config.seed, "selection")
        self.pairs = _pairs(config, split, seed)
        count = len(self.pairs)
        device = str(split.images.device)
        objective = net.objective
        self.sigma = objective.draw_sigma(count, generator(seed, "sigma"), device)
        path_noise = draw_path_noise(objective, tuple(self.pairs.images.shape), seed, 0)
        self.path_noise = None if path_noise is None else path_noise.to(device)

    def is_due(self, step: int) -> bool:
        """True if the weights after this step are checked."""
        return step % self.every == 0

    def better(self, ema: EMA, step: int, best: Selected | None) -> Selected | None:
        """The average's weights if their loss is less than the best one so far, else ``best``."""
        # The average is a copy of the denoiser, so it is one.
        loss = self.loss(cast("Denoiser", ema.net))
        # Also false for a NaN: weights that diverged are never selected.
        if not loss < (float("inf") if best is None else best.loss):
            return best
        weights = {name: value.clone() for name, value in ema.net.state_dict().items()}
        return Selected(loss, step * self.batch, weights)

    @torch.no_grad()
    def loss(self, net: Denoiser) -> float:
        """The training loss of a network, averaged over the pairs."""
        total = 0.0
        for first in range(0, len(self.pairs), CHUNK):
            rows = slice(first, first + CHUNK)
            part = self.pairs[rows]
            loss = net.objective.loss(
                net,
                part.images,
                part.noise,
                self.sigma[rows],
                net.one_hot(part.labels),
                None,
                None if self.path_noise is None else self.path_noise[rows],
                **loss_weights(part),
            )
            total += loss.item() * len(part)
        return total / len(self.pairs)


def _pairs(config: RunConfig, split: Split, seed: int) -> Pairs:
    """As many pairs as the split has images, from pools as large as those of training."""
    pool = min(config.training.pool, len(split))
    pools = -(-len(split) // pool)
    coupling = get(config.coupling)
    # One item is a whole pool.
    with PairStream(split, coupling, pool=pool, batch=pool, seed=seed, stop_step=pools) as stream:
        pairs, *others = stream
    for more in others:
        pairs = pairs.joined(more)
    return pairs[: len(split)]

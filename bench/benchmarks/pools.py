"""The pools of the solver benchmark, and the two ends of what a pair in them can cost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench import data
from bench.config import ConfigError
from bench.randomness import generator
from bench.record import unknown
from couplings import Pool

GAUSS = "gauss"
MOST_NUMBERS = 1_000_000  # of a vector; a pool of 1,000 is 4 GB then


@dataclass(frozen=True)
class Pools:
    """The source of pools, ``gauss``, ``gauss:D`` or a data set's training split, and a seed."""

    data: str
    data_dir: Path | None
    seed: int

    def check(self, n: int) -> None:
        """Refuse a data set that is unknown or holds fewer than n images, and a wrong dimension.

        Raises:
            ConfigError: with the way out.
            DataError: its files are missing and cannot be fetched, or are damaged.

        """
        name, colon, numbers = self.data.partition(":")
        if name == GAUSS:
            if colon and not (numbers.isdecimal() and 1 <= int(numbers) <= MOST_NUMBERS):
                raise ConfigError(
                    f"--data {self.data}: gauss:D takes a dimension from 1 to {MOST_NUMBERS:,},"
                    " such as gauss:64"
                )
            return
        known = (GAUSS, *data.names())
        # A name with a dot is a module of the user's own, which loading it finds or refuses.
        if name not in known and "." not in name:
            raise ConfigError(unknown("--data", self.data, known))
        available = len(_train_split(self.data, self.data_dir))
        if n > available:
            raise ConfigError(f"--n {n}: {self.data} has {available} training images; lower --n")

    def draw(self, n: int, number: int) -> Pool:
        """Pool ``number`` of n images and noise samples, ``[n, d]`` float32.

        It comes with labels and the solver's generator. The same arguments give the same pool.
        Those of a data set are the pools that training draws.
        """
        g = generator(self.seed, "images", step=number)
        if self.data.partition(":")[0] == GAUSS:
            images = self._gauss(n, g)
            # Ten equal classes, for couplings that pair within classes.
            labels = torch.arange(n) % 10
        else:
            split = _train_split(self.data, self.data_dir)
            rows = torch.randperm(len(split), generator=g)[:n]
            images = data.as_images(split.images[rows])
            labels = split.labels[rows]
        noise = torch.randn(images.shape, generator=generator(self.seed, "noise", step=number))
        draws = generator(self.seed, "coupling", step=number)
        return Pool(images.flatten(1), noise.flatten(1), labels, draws)

    def _gauss(self, n: int, g: torch.Generator) -> Tensor:
        numbers = self.data.partition(":")[2]
        return _vectors(n, int(numbers), g) if numbers else _photographs(n, g)


@dataclass(frozen=True)
class Ends:
    """Mean squared distance of a pair in one pool: expected of a random pairing, and the least."""

    random: float
    optimum: float

    def gain(self, cost: float) -> float:
        """The share of the possible cut that a cost reaches: 0 random pairs, 1 the optimum.

        NaN if all pairings cost the same, such as in a pool of equal images.
        """
        possible = self.random - self.optimum
        # Below that, the difference is rounding.
        if possible <= 1e-12 * self.random:
            return float("nan")
        return (self.random - cost) / possible


def measure_ends(pool: Pool) -> Ends:
    """Expectation and minimum of the cost over all pairings of a pool.

    The minimum is scipy's on float64 inner products of centred data, by code that no contender
    runs: none judges itself.
    """
    from scipy.optimize import linear_sum_assignment

    x = pool.images.double()
    y = pool.noise.double()
    # E ||x - y||^2 over independent x and y.
    random = float(x.square().sum(1).mean() + y.square().sum(1).mean() - 2 * x.mean(0) @ y.mean(0))
    # The squares are the same for every pairing: only the inner products decide.
    products = (x - x.mean(0)) @ (y - y.mean(0)).T
    _, columns = linear_sum_assignment(-products.numpy())
    return Ends(random, pair_cost(pool.images, pool.noise[columns]))


def pair_cost(images: Tensor, noise: Tensor) -> float:
    """Mean squared distance between the rows of two ``[n, d]``."""
    return float((images.double() - noise.double()).square().sum(1).mean())


def _photographs(n: int, g: torch.Generator) -> Tensor:
    """Gaussian images ``[n, 3, 32, 32]``, std 0.5, cut to [-1, 1].

    Their amplitude falls as 1/f, as in photographs (Field 1987).
    """
    rows = torch.fft.fftfreq(32)[:, None]
    columns = torch.fft.rfftfreq(32)
    # The mean, of frequency 0, gets the amplitude of the lowest frequency.
    frequency = (rows.square() + columns.square()).sqrt().clamp_min(1 / 32)
    white = torch.randn(n, 3, 32, 32, generator=g)
    images = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(32, 32))
    return (images / images.std() / 2).clamp(-1, 1)


def _vectors(n: int, d: int, g: torch.Generator) -> Tensor:
    """Gaussian vectors ``[n, d]`` whose number k has an amplitude of k^(-1/2), std 0.5 in all.

    Sorted by frequency, the numbers of photographs decay like that: 1/f in the plane, where the
    number of frequencies below f is f^2.
    """
    amplitude = torch.arange(1, d + 1).rsqrt()
    # The square mean is 0.25 in any dimension, as that of photographs, so dimensions compare.
    amplitude *= 0.5 / amplitude.square().mean().sqrt()
    return amplitude * torch.randn(n, d, generator=g)


@functools.cache
def _train_split(name: str, data_dir: Path | None) -> data.Split:
    return data.load(name, data_dir).train

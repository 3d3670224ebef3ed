"""The nearest of k noise samples for every image, as in Immiscible Diffusion's second version."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import common_scale, pair_distances

# Bytes for a block of images: the table that marks what each has drawn, one byte a cell, and about
# five numbers of eight bytes a candidate.
BLOCK = 2**25
CANDIDATE_BYTES = 40


@dataclass(frozen=True, kw_only=True)
class Knn(Coupling):
    """The nearest among image i's own noise sample and k - 1 others of the pool, drawn at random.

    A noise sample may be chosen by several images and another by none. The noise that the model is
    trained with is no longer standard normal: short samples are near to every image, so its mean
    square falls to about .98 at k = 4 and .95 at k = 64 for d = 3072, while sampling starts from
    the full one. A permutation has no such bias.

    The paper draws k fresh samples for every image. Here they come from the pool, so all couplings
    see the same samples; the choice of one image has the same law, but two images may share a
    sample.

    Options:
        k: candidates of an image, its own noise sample included; cut to n.

    Cost: O(n k d) time and, next to the pool itself, O(n + k) memory and a block of 32 MB.

    Source: Li et al., "Improved Immiscible Diffusion" (k = 4 for flow matching).
    """

    exact_noise_marginal: ClassVar[bool] = False
    deterministic: ClassVar[bool] = False

    k: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.k > 0, f"knn: k must be above 0, got {self.k}")

    def solve(self, pool: Pool) -> Pairing:
        """The nearest of the candidates of every image."""
        images = pool.images
        n = len(images)
        require(
            pool.generator is not None,
            "knn draws the candidates: pass generator=torch.Generator().manual_seed(seed)",
        )
        scale = common_scale(images, pool.noise)
        index = torch.empty(n, dtype=torch.int64, device=images.device)
        done = 0
        for drawn in candidates(n, min(self.k, n), pool.generator):
            block = drawn.to(images.device)
            rows = slice(done, done + len(block))
            # One candidate of every image at a time: all k would hold k copies of the noise.
            columns = [
                pair_distances(images[rows], pool.noise, column, scale) for column in block.T
            ]
            nearest = torch.stack(columns, 1).argmin(1, keepdim=True)
            index[rows] = block.gather(1, nearest)[:, 0]
            done = rows.stop
        return Pairing(index)


def candidates(n: int, k: int, generator: torch.Generator, budget: int = BLOCK) -> Iterator[Tensor]:
    """Blocks of `[n, k]` int64 from the top: row i holds i and k - 1 others of 0 .. n - 1.

    All of a row are distinct, and every set of others is as likely as any other set. Floyd's
    algorithm, here for the rows of a block at once, draws m of the numbers 1 .. N with m draws,
    where a random order takes N: for t = N - m + 1, ..., N take a number from 1 .. t, or t itself
    if that number is taken already (Bentley and Floyd 1987, "A sample of brilliance").

    Args:
        n: images.
        k: candidates of an image, at most n.
        generator: of the draws.
        budget: bytes of a block.

    """
    device = generator.device
    height = min(n, max(1, budget // (n + CANDIDATE_BYTES * k)))
    taken = torch.zeros(height, n, dtype=torch.bool, device=device)
    for rows in torch.arange(n, device=device)[:, None].split(height):
        marks = taken[: len(rows)]
        # Row by row, so that the draw does not depend on the size of the blocks.
        lots = torch.rand(len(rows), k - 1, generator=generator, dtype=torch.float64, device=device)
        # Steps from i to the candidates, modulo n; the first, 0, is i itself.
        offsets = torch.zeros(len(rows), k, dtype=torch.int64, device=device)
        for column in range(1, k):
            t = n - k + column
            drawn = 1 + (lots[:, column - 1 : column] * t).long()
            offsets[:, column : column + 1] = drawn.where(~marks.gather(1, drawn), t)
            marks.scatter_(1, offsets[:, column : column + 1], True)
        # Only what was set: clearing the whole table would take O(n^2) in all.
        marks.scatter_(1, offsets, False)
        yield (rows + offsets) % n

"""Frechet distances without a part of the latents, which tell how far they depend on these.

Runs of one seed share their latents, so most of that noise cancels in a ratio of two runs. What is
left is found from both together, block by block; reports do so.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.metrics._blocks import Blocks
from bench.metrics.contract import FeatureSpace, SampleMetric, Values
from bench.metrics.frechet import quiet_distance
from bench.metrics.w2 import in_the_plane
from bench.record.infos import BLOCK, BLOCKS, Info


def _info(block: int) -> Info:
    return Info(
        f"{BLOCK}{block}",
        f"Fréchet distance to the test split without block {block} of {BLOCKS} of the latents, for"
        " the share of evaluation noise in the variance over seeds.",
        kind="noise",
        ratio=False,
        figure=False,
        terminal=False,
        place=130 + block,
    )


class LatentBlocks(SampleMetric):
    """The distance to the test split without each block of latents in turn (jackknife)."""

    infos: ClassVar[tuple[Info, ...]] = tuple(_info(block) for block in range(1, BLOCKS + 1))

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._blocks = Blocks(n, BLOCKS)

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True for features whose distance couplings may be judged by."""
        unjudged = space.is_pixels_of_pictures or in_the_plane(space.dataset)
        # Of a single sample there is no covariance.
        return n >= 2 * BLOCKS and not unjudged

    def update(self, features: Tensor) -> None:
        """Add the features to the moments of their blocks."""
        self._blocks.update(features)

    def compute(self) -> Values:
        """The distance without each block."""
        real = self.space.real["test"].moments
        values: Values = {}
        for info, moments in zip(self.infos, self._blocks.left_out(), strict=True):
            values[info.name, "test"] = quiet_distance(moments, real)
        return values

"""The exact assignment of least velocity error of the network that is being trained."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from couplings.batch.lapjv import Lapjv
from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import mean_pair_cost


@dataclass(frozen=True, kw_only=True)
class ModelAligned(Coupling):
    """The permutation whose pairs the network in training already fits best.

    The cost of a pair is |v - (z - y)|^2, for its network's velocity v, averaged over two times of
    the path z_t = (1 - t) y + t z: one at the images and one at the noise. There the state is that
    of the image or of the noise sample alone, so two evaluations of the network per pair of the
    pool give all n^2 costs. At times inside the path the state of a pair depends on both, and the
    mean of the pool stands for the other one: the costs are then those of another state, further
    off the further a time is from its end.

    With D = z - v at the noise and Z = y + v at the image, the errors are |y - D|^2 and
    |z - Z|^2. The pairing is thus the exact one of the points (y, Z) and (D, z).

    Both marginals are kept. The pairing is that of the model's own errors, though: what it learned
    early from `first` decides later pairs. The report has `aligned`, 0 in the warm-up and 1 after
    it, and the mean squared error of a velocity per value, `model_error_before` as given and
    `model_error_after` as paired.

    `using(velocity, progress=...)` hands over the network. A conditional one judges noise sample j
    with the label of image j, so pairs should stay within classes.

    Options:
        warmup: the share of the training, 0 to 1, in which pools are paired as `first` says. The
            authors instead solve entropic plans whose regularisation falls from 2 to 0.2 deviations
            of the costs over the first 20,000 steps.
        first: the pairs of the warm-up, `random` or `exact` (that of `lapjv`).
        image_level: the time at the image. At 0 a denoiser returns its input, which has no
            velocity.
        noise_level: the time at the noise; 1 is pure noise.

    Cost: 2 evaluations of the network per image, O(n^2 d + n^3) time, 4 n^2 bytes, or 8 n^2 up to
    8,192 images.

    Source: Lin et al. 2026, "Model-Aligned Coupling" (arXiv 2505.23346), the version over all pairs
    of a pool.
    """

    follows_model: ClassVar[bool] = True

    warmup: float = 0.1
    first: Literal["random", "exact"] = "random"
    image_level: float = 0.02
    noise_level: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.warmup <= 1,
            f"{self.name}: warmup must be a share of the training, 0 to 1, got {self.warmup}",
        )
        require(
            0 < self.image_level < self.noise_level <= 1,
            f"{self.name}: 0 < image_level < noise_level <= 1, got {self.image_level} and"
            f" {self.noise_level}",
        )

    def check_count(self, n: int) -> None:
        """Refuse what `lapjv` refuses, which solves the costs."""
        Lapjv().check_count(n)

    def peak_bytes(self, n: int, d: int) -> int:
        """That of `lapjv`, and both clouds of points of 2 d values."""
        return Lapjv().peak_bytes(n, 2 * d) + 16 * n * d

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation, or in the warm-up that of `first`."""
        if self.model.share_done < self.warmup:
            return self._warm_up_pairs(pool)
        of_images, of_noise = self.points(pool)
        # The squared distance of these points is the error of the pair, so any exact solver does.
        index = Lapjv().solve(Pool(of_images, of_noise)).index
        values = of_images.shape[1]
        errors = {
            "model_error_before": mean_pair_cost(of_images, of_noise) / values,
            "model_error_after": mean_pair_cost(of_images, of_noise, index.to(of_images.device))
            / values,
        }
        # Without the solver's saving, which is not one of distances between images and noise.
        return Pairing(index, {"aligned": 1.0} | errors)

    def points(self, pool: Pool) -> tuple[Tensor, Tensor]:
        """The points (y, Z) of the images and (D, z) of the noise, each `[n, 2 d]`.

        Half their squared distance, over d, is the velocity error of a pair.
        """
        images = pool.images
        noise = pool.noise
        # Both means are of this pool: a source may have another mean than 0.
        t = self.image_level
        z_near = images + self._velocity(pool, (1 - t) * images + t * noise.mean(0), t)
        t = self.noise_level
        y_near = noise - self._velocity(pool, (1 - t) * images.mean(0) + t * noise, t)
        return torch.cat([images, z_near], 1), torch.cat([y_near, noise], 1)

    def _velocity(self, pool: Pool, state: Tensor, t: float) -> Tensor:
        """The model's velocity `[n, d]` at states `[n, d]`, which it sees as images."""
        # A convolution needs the shape that a pool of rows has lost.
        seen = state.reshape(len(state), *pool.shape)
        return self.model.at(seen, t, pool.labels, str(self)).reshape(state.shape)

    def _warm_up_pairs(self, pool: Pool) -> Pairing:
        """The pairs of `first`; random ones are those as drawn, which are independent."""
        # Zeros too, so that the mean over pools is the share of aligned ones.
        report = {"aligned": 0.0}
        if self.first == "exact":
            return replace(Lapjv().solve(pool), report=report)
        return Pairing(torch.arange(len(pool.images), device="cpu"), report)

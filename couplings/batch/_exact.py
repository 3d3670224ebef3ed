"""What the exact couplings share: their cost and the space they are exact in."""

import re
from dataclasses import dataclass

from torch import Tensor

from couplings.contract import Coupling, Pool, require
from couplings.cost import Cost, assignment_cost, principal_axes, product_cost


@dataclass(frozen=True, kw_only=True)
class Exact(Coupling):
    """A pairing of least total cost.

    Options: cost: `sqeuclidean` is the W2 cost and the quickest; `dot` has the same optimum. `l2`
        is the plain
            distance of AOT's official code (arXiv 2403.05069), where 5 to 15 % of the pairs differ.
        project: `pca:K` solves in the K principal components of the pool's images (as arXiv
            2506.05526 does, with K = 500) and is exact there, not in the pixels. With all d
            components, or as many as there are images, squared L2 loses nothing.
    """

    cost: Cost = "sqeuclidean"
    project: str = "none"

    def __post_init__(self):
        super().__post_init__()
        known = self.project == "none" or re.fullmatch(r"pca:[1-9]\d*", self.project)
        require(
            bool(known),
            f"{self.name}: project must be none or pca:K with K above 0, got {self.project!r}",
        )

    def matrix_bytes(self, n: int) -> int:
        """What `matrix` takes at its peak: distances are computed in float64, in several steps."""
        return 32 * n * n if self.cost == "l2" else 4 * n * n

    def matrix(self, pool: Pool) -> Tensor:
        """The costs to solve for, `[n, n]` on the CPU; see `assignment_cost`."""
        return self.costs(pool)[0]

    def costs(self, pool: Pool) -> tuple[Tensor, bool]:
        """The costs to solve for, and whether twice their differences are those of squared
        distances in pixels.
        """
        images, noise = pool.images, pool.noise
        if self.cost != "l2" and self.project == "none":
            return product_cost(images, noise)
        if self.project != "none":
            components, d = int(self.project.removeprefix("pca:")), images.shape[1]
            require(components <= d, f"{self}: the images have {d} values each: lower K")
            axes = principal_axes(images, components)
            images, noise = images @ axes, noise @ axes
        return assignment_cost(images, noise, self.cost), False

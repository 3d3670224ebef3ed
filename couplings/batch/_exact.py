"""Options and costs that the exact couplings share."""

import re
from dataclasses import dataclass

from torch import Tensor

from couplings.contract import Coupling, Pool, require
from couplings.cost import Cost, assignment_cost, principal_axes, product_cost
from couplings.prices import epsilons, subtract_prices

NO_PROJECT = "none"
PROJECT = re.compile(r"pca:([1-9]\d*)")


@dataclass(frozen=True, kw_only=True)
class Exact(Coupling):
    """A pairing of least total cost.

    Options:
        cost: `sqeuclidean` is the W2 cost and the quickest; `dot` has the same optimum. `l2` is the
            plain distance of AOT's official code (arXiv 2403.05069), for which 5 to 15 % of the
            pairs differ. `angular` is the angle between image and noise, arccos(<x, y> / (|x||y|)),
            of SOT-CFM (arXiv 2605.25294); on Fashion-MNIST its pairs keep .994 of the gain in
            squared L2.
        project: `pca:K` solves in the K principal components of the pool's images (as arXiv
            2506.05526 does, with K = 500) and is exact there, not in the pixels. With all d
            components, or as many as there are images, squared L2 loses nothing.
    """

    cost: Cost = "sqeuclidean"
    project: str = NO_PROJECT

    def __post_init__(self) -> None:
        super().__post_init__()
        is_known = self.project == NO_PROJECT or bool(PROJECT.fullmatch(self.project))
        require(
            is_known,
            f"{self.name}: project must be none or pca:K with K above 0, got {self.project!r}",
        )

    def check_values(self, d: int) -> None:
        """Refuse more principal components than an image of d values has."""
        require(
            self.coordinates(d) <= d,
            f"{self}: the images have {d} values each: take pca:K with K up to {d}",
        )

    def matrix_bytes(self, n: int) -> int:
        """The peak memory of `matrix` in bytes."""
        # In float64: distances in several steps, angles in place.
        return {"l2": 32, "angular": 16}.get(self.cost, 4) * n * n

    def coordinates(self, d: int) -> int:
        """The number of coordinates that the costs of images of d values are taken in."""
        return d if self.project == NO_PROJECT else self._components

    def matrix(self, pool: Pool) -> Tensor:
        """The costs to solve for, `[n, n]` on the CPU; see `costs`."""
        return self.costs(pool)[0]

    def costs(self, pool: Pool) -> tuple[Tensor, bool]:
        """The costs to solve for, and True if their unit is that of <x, y> in pixels.

        They are those of `assignment_cost`, less prices where these save the solver more time than
        they take. Twice the differences of <x, y> are those of squared distances.
        """
        matrix, is_squared = self._unpriced(pool)
        n, d = pool.images.shape
        subtract_prices(matrix.numpy(), epsilons(n, self.coordinates(d)))
        return matrix, is_squared

    @property
    def _components(self) -> int:
        return int(PROJECT.fullmatch(self.project)[1])

    def _unpriced(self, pool: Pool) -> tuple[Tensor, bool]:
        # Only costs in pixels give the saving of squared distances that a report holds.
        if self.project != NO_PROJECT:
            images, noise = self._projected(pool)
            return assignment_cost(images, noise, self.cost), False
        if self.cost in ("l2", "angular"):
            return assignment_cost(pool.images, pool.noise, self.cost), False
        return product_cost(pool.images, pool.noise)

    def _projected(self, pool: Pool) -> tuple[Tensor, Tensor]:
        """Images and noise `[n, K]` in the principal components of the images."""
        self.check_values(pool.images.shape[1])
        # Of the images only: unit noise has no direction that matters more than another.
        axes = principal_axes(pool.images, self._components)
        return pool.images @ axes, pool.noise @ axes

"""The cells of one class: its semi-dual problem, and the images of each cell."""

from __future__ import annotations

import torch
from torch import Tensor

from couplings.dataset._solver import Solver

# Steps of the noise's sum per unit: finer than the digits that choose a cell depend on.
DIGITS = 4096


class Cells:
    """The semi-dual of one class and the images of its cells: equal images share one.

    Attributes:
        dual: the problem, with one target per distinct image.
        members: `[n]` int64, the images sorted by cell.
        count: `[m]` int64, the images of each cell.
        offset: `[m]` int64, where those of a cell begin in `members`.

    """

    def __init__(self, targets: Tensor, rows: tuple[bytes, ...], members: Tensor, seed: int):
        """Group the images of a class.

        Args:
            targets: `[N, d]`, of all classes.
            rows: their digests; equal images have equal ones.
            members: `[n]` int64, the images of this class.
            seed: of the fit.

        """
        # Two targets in one place would have no border, and no potential could split their mass.
        seen: dict[bytes, int] = {}
        cell_of = [seen.setdefault(rows[i], len(seen)) for i in members.tolist()]
        cell = torch.tensor(cell_of, device="cpu")
        count = cell.bincount()
        order = cell.argsort(stable=True)
        offset = count.cumsum(0) - count
        device = targets.device
        self.members = members[order].to(device)
        self.count = count.to(device)
        self.offset = offset.to(device)
        distinct = targets[self.members[self.offset]]
        weights = self.count.double() / len(members)
        centre = (weights @ distinct.double()).to(distinct)
        self.dual = Solver(distinct - centre, weights, seed)

    @property
    def first(self) -> Tensor:
        """`[m]` int64, the first image of each cell."""
        return self.members[self.offset]

    def assign(self, noise: Tensor) -> Tensor:
        """An image `[b]` for every noise sample `[b, d]`."""
        cell = self.dual.cells(noise)
        # The last digits of the noise choose among equal images: at random, but without a
        # generator, so that the map is a function of the noise.
        fraction = (noise.double().sum(1) * DIGITS).frac().abs()
        return self.members[self.offset[cell] + (fraction * self.count[cell]).long()]


def leading_components(targets: Tensor, k: int) -> Tensor:
    """The orthonormal basis `[d, k]` of the leading principal components of targets `[n, d]`."""
    centred = targets - targets.mean(0)
    # `eigh` sorts from the smallest up.
    return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -k:].contiguous()

"""The network in training, as couplings see it whose pairs follow the model.

    aligned = get("model-aligned").using(velocity, progress=step / steps)
    pairing = aligned.pair(images, noise, labels, generator)

Such a coupling pairs each pool with the weights of its own step, so no pool can be paired ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from couplings.errors import require


class Velocity(Protocol):
    """The velocity of the straight path z_t = (1 - t) y + t z from image y to noise z."""

    def __call__(self, state: Tensor, t: float, labels: Tensor | None) -> Tensor:
        """The network's mean of z - y `[n, ...]` at states z_t `[n, ...]` float32.

        Time runs from 0 at the images to 1 at the noise, `t` is in (0, 1]. Labels `[n, ...]` are
        those of the pool; None if it has none. The network must be in evaluation mode: a pairing
        draws from its generator only.
        """
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A network in training.

    Attributes:
        velocity: of the network.
        progress: the share of the training that is done, 0 to 1, or a function that returns it.

    """

    velocity: Velocity
    progress: float | Callable[[], float] = 1.0

    @property
    def share_done(self) -> float:
        """The share of the training that is done."""
        # A trainer binds its network once, and asks at every pool.
        return self.progress() if callable(self.progress) else self.progress

    def at(self, state: Tensor, t: float, labels: Tensor | None, what: str) -> Tensor:
        """The velocity `[n, ...]` at states `[n, ...]`, checked, on their device.

        Args:
            state: of any floating dtype, which the result has too.
            t: time.
            labels: as `Velocity` takes them.
            what: the coupling, for the error.

        Raises:
            CouplingError: the velocity has another shape, or is not finite.

        """
        # Networks have float32 weights, whatever the dtype of the pool.
        found = self.velocity(state.float(), t, labels)
        is_like_it = isinstance(found, Tensor) and found.shape == state.shape
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        require(
            is_like_it,
            f"{what}: the velocity must have the shape of its states, {list(state.shape)}, got"
            f" {shape}",
        )
        # Back to the pool, which may be in another dtype or on another device than the network.
        found = found.detach().to(state)
        require(
            bool(torch.isfinite(found).all()),
            f"{what}: the velocity at t = {t:g} is not finite: the training has diverged, or the"
            " network takes no such t",
        )
        return found

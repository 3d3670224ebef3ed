"""The interface of samplers, and the counter of their evaluations.

Deterministic samplers solve the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma (Karras
et al. 2022, Eq. 4) from the highest noise level down to 0. A denoiser trained with a coupling gives
no score, but (x - D) / sigma is still the mean velocity, so only samplers of this ODE stay exact
for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from models.guidance.guide import Guide
from models.naming import Named
from models.streams import Streams

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""The denoiser as a sampler sees it: (x, sigma, labels) -> D."""
Observe = Callable[[float, Tensor, Tensor], None]
"""Called with (sigma, x, D) at the start of every step."""


class Sampler(Named, ABC):
    """Base of samplers: a frozen dataclass whose fields are its options.

    Attributes:
        fixed_steps: True if it follows a given schedule; False if it chooses its own steps, and
            with them the number of evaluations.
        solves_the_ode: True if it solves the probability-flow ODE, so that its samples can be
            compared with an exact solution, latent by latent.

    """

    fixed_steps: ClassVar[bool] = True
    solves_the_ode: ClassVar[bool] = True

    @abstractmethod
    def steps(self, nfe: int) -> int:
        """Find the number of steps that take ``nfe`` evaluations of the denoiser.

        Raises:
            ValueError: no number of steps takes that many; the message names some that work.

        """

    @abstractmethod
    def __call__(
        self,
        denoise: Denoise,
        latents: Tensor,
        sigmas: Tensor,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        guide: Guide | None = None,
        streams: Streams = (),
    ) -> Tensor:
        """Integrate from ``latents * sigmas[0]`` down to 0.

        Args:
            denoise: the denoiser.
            latents: unit noise ``[n, c, h, w]``.
            sigmas: falling noise levels ``[steps + 1]`` that end with 0. A sampler without fixed
                steps gets (sigma_max, sigma_min, 0).
            labels: one-hot ``[n, label_dim]`` or None.
            observe: called at the start of every step; a sampler may leave this out.
            guide: discriminator guidance, added to the slope. With weights 0 the result is bit for
                bit the one without a guide.
            streams: n generators, one per sample, for samplers that draw.

        Returns:
            images ``[n, c, h, w]`` in float64.

        """


class CountNFE:
    """A denoiser that counts its evaluations: the only source of every NFE reported."""

    def __init__(self, denoise: Denoise):
        self.denoise = denoise
        self.nfe = 0

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.nfe += 1
        return self.denoise(x, sigma, labels)


def start_point(latents: Tensor, sigmas: Tensor) -> Tensor:
    """Scale unit noise to the first level, in float64.

    Steps add small changes to a state that is large at first: float32 would lose them.
    """
    return latents.double() * sigmas[0].item()


def intervals(sigmas: Tensor) -> list[tuple[float, float]]:
    """Pair each noise level with the next one."""
    levels = sigmas.tolist()
    return list(zip(levels[:-1], levels[1:], strict=True))


def evaluate(denoise: Denoise, x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
    """Evaluate the denoiser at one noise level for all samples, in float64."""
    return denoise(x, torch.tensor(sigma, dtype=x.dtype, device=x.device), labels).double()

"""Euler and Maruyama's method for the reverse-time SDE: a stochastic sampler.

It is for denoisers of x = y + sigma n whose (D - x) / sigma^2 is the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.samplers.contract import ODE, Sampler, intervals
from models.streams import Streams, unit_noise


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(Sampler):
    """dx = -score d(sigma^2) + dw with sigma^2 as time (Song et al. 2021, Eq. 6). Weak order 1.

    With that clock a step moves x towards D by the share 1 - sigma'^2 / sigma^2: at most all the
    way, at any step size. One evaluation per step. Needs one stream per sample, and ignores guides.
    """

    solves_the_ode: ClassVar[bool] = False
    # Its noise is added to x.
    coordinates: ClassVar[tuple[str, ...]] = ("sigma",)

    def steps(self, nfe: int) -> int:
        return nfe

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        x = ode.start(latents, times)
        for sigma, sigma_next in intervals(times):
            denoised = ode.observed(x, sigma)
            # The time that passes in this step, with sigma^2 as the clock.
            variance = sigma**2 - sigma_next**2
            x = x + variance * (denoised - x) / sigma**2
            # Noise in the last step, to 0, would remain in the image.
            if sigma_next > 0:
                x = x + variance**0.5 * unit_noise(x, streams)
        return x


euler_maruyama = EulerMaruyama()

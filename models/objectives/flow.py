"""Flow matching as a row of Karras et al. 2022, Table 1.

Lipman et al. 2023 and Liu et al. 2022 train a velocity on the straight path z = (1 - t) y + t n
from image y to noise n. With t = sigma / (1 + sigma) and x = (1 + sigma) z this is EDM's
x = y + sigma n. The network F then is the velocity n - y, and D = z - t F, so that

    weight |D - y|^2 = |F - (n - y)|^2.

Time runs from image (t = 0) to noise (t = 1), as everywhere in this repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from models.objectives.contract import Coefficients, Objective

# Float32 has 24 binary digits: 1 - t is exact above this distance from pure noise.
NEAREST = 2.0**-24


@dataclass(frozen=True, kw_only=True)
class Flow(Objective):
    """The velocity of straight paths between images and noise.

    Options:
        t: distribution of t in training, ``uniform`` or ``logit-normal``. The logit of t is
            ln sigma: logit-normal is EDM's distribution, with ``loc`` as P_mean and ``scale`` as
            P_std (Esser et al. 2024, Sec. 3.1).
        loc: mean of logit t, for ``logit-normal``.
        scale: standard deviation of logit t, for ``logit-normal``.
        path_sigma: standard deviation of Gaussian noise added to z; the target stays n - y (Tong et
            al. 2024, Eq. 14).
        end_sigma: standard deviation of the path's end at an image. The path is that from n to
            y + end_sigma n, so the image is noised with its own noise sample (Lipman et al. 2023,
            Eq. 22).
    """

    t: Literal["uniform", "logit-normal"] = "uniform"
    loc: float = 0.0
    scale: float = 1.0
    path_sigma: float = 0.0
    end_sigma: float = 0.0

    natural_schedule: ClassVar[str] = "flow"
    at_pure_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.t not in ("uniform", "logit-normal"):
            raise ValueError(f"t={self.t}: uniform or logit-normal")
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale:g}: it must be above 0")
        if self.t == "uniform" and (self.loc, self.scale) != (0.0, 1.0):
            raise ValueError("loc and scale are options of t=logit-normal: add it, or leave them")
        for name in ("path_sigma", "end_sigma"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name):g}: 0 or more, and below 1")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        share = 1 / (1 + sigma)
        return Coefficients(share, -sigma * share, share, sigma * share)

    def flow_coefficients(self, t: Tensor) -> Coefficients:
        # Written out, because sigma is infinite at t = 1.
        one = torch.ones_like(t)
        return Coefficients(one, -t, one, t)

    def weight(self, sigma: Tensor) -> Tensor:
        return ((1 + sigma) / sigma) ** 2

    def draw_sigma(self, n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
        # Drawn where the generator is, then moved: a GPU's generator would draw other numbers.
        place = generator.device
        if self.t == "logit-normal":
            normal = torch.randn(n, generator=generator, device=place, dtype=torch.float32)
            return (normal * self.scale + self.loc).exp().to(device)
        t = torch.rand(n, generator=generator, device=place, dtype=torch.float32)
        # Neither end has a finite sigma above 0, and both are draws of probability 1e-7.
        t = t.clamp(NEAREST, 1 - NEAREST)
        return (t / (1 - t)).to(device)

    def target(self, images: Tensor, noise: Tensor, path_noise: Tensor | None = None) -> Tensor:
        target = super().target(images, noise, path_noise)
        return target + self.end_sigma * noise if self.end_sigma else target

"""What the path of the sampling ODE looks like: curvature in flow-matching coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Path:
    """Observer for a sampler: keeps the flow-matching view of every point of the path.

    With t = sigma / (1 + sigma) and z = x / (1 + sigma) the EDM path becomes one between image (t = 0) and noise
    (t = 1), and dz/dt = (x - D) / sigma - D.
    """

    t: list[float] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)
    velocity: list[Tensor] = field(default_factory=list)

    def __call__(self, sigma: float, x: Tensor, denoised: Tensor) -> None:
        """Observe one point of the path."""
        self.t.append(sigma / (1 + sigma))
        self.z.append(x / (1 + sigma))
        self.velocity.append((x - denoised) / sigma - denoised)


def curvature_fm(path: Path) -> float:
    """Mean squared deviation of the velocity from the chord, per dimension (Lee, Kim & Ye 2023; Liu et al. 2022).

    E int |dz/dt - (z_T - z_0) / T|^2 dt / (T d) over flow-matching time t, by the trapezoidal rule: 0 iff the path is
    straight at constant speed. The path should be dense (128 steps or more).
    """
    t = torch.tensor(path.t, dtype=torch.float64)
    chord = (path.z[0] - path.z[-1]) / (t[0] - t[-1]).item()
    deviation = torch.tensor([(v - chord).square().mean().item() for v in path.velocity], dtype=torch.float64)
    return (torch.trapezoid(deviation, t) / (t[-1] - t[0])).item()

"""The exact denoiser of a Gaussian mixture: the oracle for samplers, curvature and truncation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture of isotropic Gaussians in d dimensions.

    Attributes:
        means: ``[k, d]`` float64.
        std: ``[k]`` standard deviation of each component.
        weights: ``[k]``, summing to 1.

    """

    means: Tensor
    std: Tensor
    weights: Tensor

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``[n, d]`` float64."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        options: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}
        noise = torch.randn(n, self.means.shape[1], generator=generator, **options)
        return self.means[component] + self.std[component, None] * noise

    def denoise(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute E[y | y + sigma n = x] for independent noise.

        Component k of the noisy density is N(mean_k, std_k^2 + sigma^2); its posterior mean is the
        weighted average of x and mean_k.

        Args:
            x: ``[n, ...]`` with d values each.
            sigma: scalar or ``[n]``.
            labels: ignored; for samplers, which pass them.

        """
        flat = x.reshape(len(x), 1, -1).double()  # [n, 1, d]
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
        variance = self.std**2 + sigma.reshape(-1, 1) ** 2  # [1 | n, k]
        distance = (flat - self.means).square().sum(2)  # [n, k]
        log_scale = flat.shape[2] / 2 * (2 * math.pi * variance).log()
        # Far from all components every density underflows; logits stay finite.
        logit = self.weights.log() - distance / (2 * variance) - log_scale
        posterior = logit.softmax(1)[..., None]  # [n, k, 1]
        shrink = (self.std**2 / variance)[..., None]  # [1 | n, k, 1]
        means = self.means + shrink * (flat - self.means)
        return (posterior * means).sum(1).reshape(x.shape)

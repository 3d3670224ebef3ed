"""Exact denoisers, the oracles for samplers, curvature and truncation: of a Gaussian mixture with
independent noise, and of two points whose noise is coupled.
"""

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


@dataclass(frozen=True)
class TwoAtoms:
    """Images -1 and +1, equally often, whose noise N(0, 1) is coupled exactly in pools of k.

    An exact coupling sorts: the images +1 of a pool get its largest noise samples. This is the
    model of Boite, Delon and Nadjahi (arXiv 2605.12174, Prop. 4.3).

    Attributes:
        pool: k; 1 is independent noise.

    """

    pool: int

    def share_of_plus(self, noise: Tensor) -> Tensor:
        """Probability that a noise sample is paired with +1, h_k, float64 of the same shape.

        h_k(n) = sum over r of P(r of the k - 1 others are smaller) P(at most r images are -1).
        """
        return self._log_share(noise.double()).exp()

    def _log_share(self, noise: Tensor) -> Tensor:
        # In logarithms: far from 0 a share has hundreds of zeros, and ratios of shares matter.
        smaller = torch.arange(self.pool, dtype=torch.float64, device=noise.device)  # r
        others = self.pool - 1
        below = torch.special.log_ndtr(noise)[..., None]
        above = torch.special.log_ndtr(-noise)[..., None]
        rank = _log_choose(others, smaller) + smaller * below + (others - smaller) * above
        at_most = torch.logcumsumexp(_log_choose(self.pool, smaller), 0)
        return torch.logsumexp(rank + at_most, -1) - self.pool * math.log(2)

    def at_time(self, z: Tensor, t: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute E[y | (1 - t) y + t n = z], float64 of the shape of z, for a scalar t in (0, 1].

        It is tanh of half the log ratio of phi(a) h_k(a) and phi(b) (1 - h_k(b)), with the noise a
        and b that would have taken +1 and -1 to z. Labels are ignored, as in ``__call__``.
        """
        z = z.double()
        of_plus = (z - (1 - t)) / t
        of_minus = (z + (1 - t)) / t
        # By symmetry 1 - h_k(b) = h_k(-b), which keeps its digits where h_k(b) rounds to 1.
        shares = self._log_share(of_plus) - self._log_share(-of_minus)
        return torch.tanh((shares + (of_minus.square() - of_plus.square()) / 2) / 2)

    def __call__(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute E[y | y + sigma n = x], float64 of the shape of x, for a scalar sigma.

        Args:
            x: of any shape, one image per value.
            sigma: noise level, finite.
            labels: ignored; for samplers, which pass them.

        """
        t = sigma / (1 + sigma)
        return self.at_time(x.double() / (1 + sigma), t)


def _log_choose(n: int, k: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient of n and every k."""
    return math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)

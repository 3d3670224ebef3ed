"""EDM preconditioning and training loss (Karras et al. 2022, Table 1 and Eq. 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EDMDenoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), Karras et al. 2022, Eq. 7 and Table 1.

    Args:
        model: the raw network F, called as ``model(x, c_noise, labels, augment_labels)``.
        label_dim: number of classes; 0 for an unconditional denoiser.
        sigma_data: standard deviation of the data.
        dtype: what F computes in; skip and output stay float32.

    """

    def __init__(
        self, model: nn.Module, label_dim: int = 0, sigma_data: float = 0.5, dtype=torch.float32
    ):
        super().__init__()
        self.model, self.label_dim, self.sigma_data, self.dtype = (
            model,
            label_dim,
            sigma_data,
            dtype,
        )

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """Denoise x ``[n, c, h, w]`` at noise level sigma ``[n]`` or scalar; labels are one-hot
        ``[n, label_dim]``.

        Absent labels are a row of zeros, as in the released networks. Returns float32 ``[n, c, h,
        w]``.
        """
        x = x.float()
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))  # [n]
        if self.label_dim and labels is None:
            labels = torch.zeros(1, self.label_dim, dtype=torch.float32, device=x.device)
        s, d = sigma[:, None, None, None], self.sigma_data
        norm = (s**2 + d**2).sqrt()
        c_skip, c_out, c_in = d**2 / norm**2, s * d / norm, 1 / norm
        raw = self.model(
            (c_in * x).to(self.dtype),
            sigma.log() / 4,
            labels if self.label_dim else None,
            augment_labels,
        )
        return c_skip * x + c_out * raw.float()


def loss_weight(sigma: Tensor, sigma_data: float = 0.5) -> Tensor:
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, Karras et al. 2022, Table 1."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def draw_sigma(
    n: int,
    generator: torch.Generator,
    P_mean: float = -1.2,
    P_std: float = 1.2,
    device: str = "cpu",
) -> Tensor:
    """Draw n noise levels, ln sigma ~ N(P_mean, P_std^2), independently for every sample: ``[n]``."""
    normal = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float32)
    return (normal * P_std + P_mean).exp().to(device)


def edm_loss(
    denoiser: nn.Module,
    images: Tensor,
    noise: Tensor,
    sigma: Tensor,
    labels: Tensor | None = None,
    augment_labels: Tensor | None = None,
    sigma_data: float = 0.5,
) -> Tensor:
    """Weighted denoising error, summed over pixels, averaged over the batch (Karras et al. 2022,
    Eq. 8): a scalar.

    Images and (already paired) unit noise ``[n, c, h, w]``, sigma ``[n]``.
    """
    s = sigma[:, None, None, None]
    denoised = denoiser(images + s * noise, sigma, labels, augment_labels)
    return (loss_weight(s, sigma_data) * (denoised - images) ** 2).sum() / len(images)

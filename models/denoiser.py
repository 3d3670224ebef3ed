"""The denoiser D(x; sigma): a raw network in the preconditioning of its objective."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.objectives.contract import Coefficients, Objective


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (Karras et al. 2022, Eq. 7).

    Args:
        model: the raw network F, called as ``model(x, c_noise, labels, augment_labels)``.
        objective: gives the coefficients, and the loss that the network is trained with.
        label_dim: number of classes, or of numbers in a condition; 0 for an unconditional denoiser.
        dtype: of F's input and thereby of its arithmetic; skip and output stay float32.

    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        label_dim: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.model = model
        self.objective = objective
        self.label_dim = label_dim
        self.dtype = dtype

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """Denoise x ``[n, c, h, w]`` at noise level sigma, ``[n]`` or one for all.

        Labels are one-hot ``[n, label_dim]``. Absent ones are a row of zeros, as in the released
        networks. Returns float32 ``[n, c, h, w]``.

        Raises:
            ValueError: the network returns another shape.

        """
        levels = _per_sample(sigma, x)
        scale = self.objective.coefficients(levels)
        return self._denoised(x, scale, labels, augment_labels)

    def at_time(self, z: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """Denoise a state z ``[n, c, h, w]`` of the straight path at time t, ``[n]`` or one for
        all.

        The same D as at x = (1 + sigma) z and sigma = t / (1 - t), but also at t = 1 if the
        objective allows it. Labels, result and errors as for ``forward``.
        """
        scale = self.objective.flow_coefficients(_per_sample(t, z))
        return self._denoised(z, scale, labels, None)

    def _denoised(
        self,
        x: Tensor,
        scale: Coefficients,
        labels: Tensor | None,
        augment_labels: Tensor | None,
    ) -> Tensor:
        # Samplers keep their state in float64; the network has float32 weights.
        x = x.float()
        if not self.label_dim:
            labels = None
        # One row, which broadcasts: absent labels cost no memory.
        elif labels is None:
            labels = torch.zeros(1, self.label_dim, dtype=torch.float32, device=x.device)
        # Only F computes in its dtype: at high noise the skip would lose the image in bfloat16.
        raw = self.model(
            (_per_image(scale.into) * x).to(self.dtype), scale.noise, labels, augment_labels
        )
        # Another shape may broadcast: the network would train on something else without an error.
        if raw.shape != x.shape:
            raise ValueError(
                f"{type(self.model).__name__} must return the shape of its images, "
                f"{list(x.shape)}, not {list(raw.shape)}"
            )
        return _per_image(scale.skip) * x + _per_image(scale.out) * raw.float()

    def one_hot(self, labels: Tensor) -> Tensor | None:
        """Encode classes ``[n]`` as this denoiser takes them: float32 ``[n, label_dim]``.

        Conditions in floating point are returned as they are, ``[n, label_dim]``; with a last
        number 1 if they are one number shorter than that. None if the denoiser is unconditional.
        """
        if not self.label_dim:
            return None
        if labels.is_floating_point():
            conditions = labels.float()
            if conditions.shape[1] == self.label_dim - 1:
                # Absent ones are zeros, which may be a condition too: this number tells them apart.
                conditions = F.pad(conditions, (0, 1), value=1.0)
            return conditions
        return F.one_hot(labels, self.label_dim).float()


def _per_sample(value: Tensor | float, x: Tensor) -> Tensor:
    """Float32 ``[n]`` of one value for each of x ``[n, ...]``, or of one for all."""
    return torch.as_tensor(value, dtype=torch.float32, device=x.device).expand(len(x))


def _per_image(values: Tensor) -> Tensor:
    """Shape ``[n]`` to multiply images ``[n, c, h, w]``."""
    return values[:, None, None, None]

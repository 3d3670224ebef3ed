import pytest
import torch

from bench.metrics import _validation_loss as module
from bench.metrics._validation_loss import denoising_errors
from models.analytic import GaussianMixture

S = 0.5
GAUSSIAN = GaussianMixture(
    torch.zeros(1, 3).double(), torch.tensor([S]).double(), torch.ones(1).double()
)


def normal(n, seed) -> torch.Tensor:
    return torch.randn(
        n, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_the_exact_denoiser_of_a_gaussian(sigma):
    """Independent pairs: the posterior variance. Optimal pairs y = s z: D = s^2 (s + sigma) / (s^2
    + sigma^2) z.
    """
    n, noise = 40_000, normal(40_000, 0)
    levels = torch.full((n,), sigma)
    independent = denoising_errors(GAUSSIAN.denoise, S * normal(n, 1), noise, levels)
    assert independent.shape == (n,)
    assert independent.mean().item() == pytest.approx(S**2 * sigma**2 / (S**2 + sigma**2), rel=0.02)
    coupled = denoising_errors(GAUSSIAN.denoise, S * noise, noise, levels).mean().item()
    miss = S**2 * (S + sigma) / (S**2 + sigma**2) - S
    assert coupled == pytest.approx(miss**2, rel=0.02, abs=1e-12)


def test_each_pair_has_its_own_level_and_labels_whatever_the_chunk(monkeypatch):
    images, noise, sigma = normal(10, 0), normal(10, 1), torch.linspace(0.1, 5, 10)
    labels = torch.eye(10)

    def denoise(x, sigma, labels):
        return (
            labels.argmax(1)[:, None, None, None] * torch.ones_like(x) + sigma[:, None, None, None]
        )

    expected = [float((k + sigma[k] - images[k]).square().mean()) for k in range(10)]
    monkeypatch.setattr(module, "CHUNK", 3)
    assert denoising_errors(denoise, images, noise, sigma, labels).tolist() == pytest.approx(
        expected, rel=1e-6
    )
    passed = denoising_errors(lambda x, sigma, labels: x, images, noise, sigma)
    assert passed.tolist() == pytest.approx(
        [float((sigma[k] * noise[k]).square().mean()) for k in range(10)], rel=1e-6
    )

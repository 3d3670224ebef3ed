"""Images and features whose distances are small beside their norms, where a matrix product loses
them.
"""

import pytest
import torch


def _of_8_bits(levels: torch.Tensor) -> torch.Tensor:
    """Levels ``[n, d]`` as the float32 images that metrics see."""
    return levels.float() / 127.5 - 1


def _stars(n: int, g: torch.Generator) -> torch.Tensor:
    """Black skies of 28 x 28 pixels with some 8 stars of one level."""
    return _of_8_bits((torch.rand(n, 784, generator=g) < 0.01).int())


def _dark(n: int, g: torch.Generator) -> torch.Tensor:
    """Pictures of 32 x 32 x 3 in the three lowest levels, most of them black."""
    return _of_8_bits((3 * torch.rand(n, 3072, generator=g).pow(6)).int())


def _far_off(n: int, g: torch.Generator) -> torch.Tensor:
    """64 features of mean 8 and spread 0.003."""
    return 8 + 0.003 * torch.randn(n, 64, generator=g)


@pytest.fixture(params=[_stars, _dark, _far_off], ids=["stars", "dark", "far-off"])
def narrow(request):
    """Called as ``narrow(n, seed)``: float32 ``[n, d]``."""
    return lambda n, seed: request.param(n, torch.Generator().manual_seed(seed))

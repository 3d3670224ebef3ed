from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _fixed_initial_weights():
    """Initial weights come from torch's global stream; fix it for a test and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def seeded() -> Callable[[int], torch.Generator]:
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def filter_matrix() -> Callable[[int, list[int], int], Tensor]:
    """R ``[out, size]`` of one axis: down-sampling is R x R^T, up-sampling by two is (2 R)^T x (2
    R).
    """

    def build(size: int, taps: list[int], padding: int) -> Tensor:
        out = (size + 2 * padding - len(taps)) // 2 + 1
        matrix = torch.zeros(out, size)
        for i in range(out):
            for a, tap in enumerate(taps):
                if 0 <= 2 * i + a - padding < size:
                    matrix[i, 2 * i + a - padding] += tap / sum(taps)
        return matrix

    return build


@pytest.fixture
def scramble() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Give every parameter a value that matters: fresh weights of last layers are (nearly) zero."""

    def run(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randn(p.shape, generator=g) / max(1, p[0].numel()) ** 0.5)
        return module

    return run

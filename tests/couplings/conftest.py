from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def make_pool(n: int, shape: tuple[int, ...] = (3, 4, 4), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of low rank, as images are, with deviation 0.5 and a mean image, and unit noise."""
    generator = torch.Generator().manual_seed(seed)
    d = int(torch.Size(shape).numel())
    rank = min(d, 40)
    basis = torch.randn(rank, d, generator=generator) / torch.arange(1, rank + 1).sqrt()[:, None]
    images = torch.randn(n, rank, generator=generator) @ basis
    images = 0.5 * images / images.std(correction=0).clamp_min(1e-6) + 0.2 if n else images
    noise = torch.randn(n, d, generator=generator)
    return images.reshape(n, *shape), noise.reshape(n, *shape)


def pytest_addoption(parser):
    parser.addoption(
        "--coupling",
        action="append",
        metavar="SPEC",
        help="run the contract tests over this batch coupling only, such as my_project.nearest",
    )


class LargestTensor(TorchDispatchMode):
    """The largest number of elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *(tensor.numel() for tensor in tensors)])
        return result


@pytest.fixture
def pool() -> Callable[..., tuple[Tensor, Tensor]]:
    return make_pool


@pytest.fixture
def seeded() -> Callable[[int], torch.Generator]:
    return lambda seed: torch.Generator().manual_seed(seed)


@pytest.fixture
def largest_tensor() -> LargestTensor:
    return LargestTensor()

import sys
import types

import pytest
import torch
from torch import nn

from bench.data import Dataset, Split


def toy(channels: int = 3, bounded: bool = True, side: int = 8) -> Dataset:
    """Random pictures of 8 bits."""
    g = torch.Generator().manual_seed(channels)
    images = torch.randint(256, (9, channels, side, side), generator=g).to(torch.uint8)
    split = Split(images, torch.arange(9) % 2)
    return Dataset("toy", split, split, num_classes=2, bounded=bounded)


@pytest.fixture
def make_toy():
    """`toy`, for tests to choose the shape."""
    return toy


class FakeExtractor(nn.Module):
    """Takes and returns what torch-fidelity's extractors do; remembers how it was made and what it
    was given.
    """

    made: list
    seen: list
    size: int

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        self.made.append((name, features_list, feature_extractor_weights_path))
        self.weight = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, images):
        assert images.dtype == torch.uint8
        self.seen.append(images)
        return (images.flatten(1).float().mean(1, keepdim=True).expand(-1, self.size),)


@pytest.fixture
def fake_fidelity(monkeypatch) -> dict[str, type]:
    """A stand-in for torch-fidelity, so that the way to it is tested where it is not installed."""
    classes = {}
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    for file, name, size in (("inceptionv3", "InceptionV3", 2048), ("dinov2", "DinoV2", 1024)):
        fake = type(
            f"FeatureExtractor{name}", (FakeExtractor,), {"made": [], "seen": [], "size": size}
        )
        module = types.ModuleType(f"torch_fidelity.feature_extractor_{file}")
        setattr(module, fake.__name__, fake)
        module.URL_INCEPTION_V3 = "https://example.org/weights.pth"
        monkeypatch.setitem(sys.modules, module.__name__, module)
        classes[file] = fake
    version = types.ModuleType("torch_fidelity.version")
    version.__version__ = "9.9"
    monkeypatch.setitem(sys.modules, version.__name__, version)
    return classes

import pytest
import torch

from bench.check import make
from bench.config import RunConfig
from models import edm as networks

TINY = {
    "images": 640,
    "pool": 128,
    "batch": 64,
    "model_channels": 8,
    "channel_mult": [1],
    "nfe": [3, 5],
    "samples": 100,
    "trajectories": 16,
    "reference_steps": 8,
    "rhos": [7],
    # The group learning takes a third of such a run, and has tests of its own.
    "metrics": ["samples", "truncation", "grid", "paths", "local"],
}


@pytest.fixture(scope="session")
def toy_net():
    """Make a denoiser of 4 x 4 pixels that is told one of so many classes; it is not trained."""

    def make_net(classes):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = networks.small(
                4, 1, label_dim=classes, model_channels=8, channel_mult=(1,)
            ).eval()
            net.model.dec["4x4_aux_conv"].weight.data.normal_(std=0.1)
        return net

    return make_net


@pytest.fixture
def tiny() -> RunConfig:
    """A run of seconds."""
    return make(None, {**TINY, "coupling": "lapjv"})


@pytest.fixture
def tiny_overrides() -> dict:
    """The same as overrides."""
    return {**TINY, "coupling": "lapjv"}


@pytest.fixture
def tiny_flags() -> list[str]:
    """The same on the command line."""
    words = []
    for key, value in TINY.items():
        words += [
            f"--{key.replace('_', '-')}",
            *map(str, value if isinstance(value, list) else [value]),
        ]
    return words


@pytest.fixture(autouse=True)
def _quick_classifier(monkeypatch):
    monkeypatch.setattr("bench.features.classifier.TRAINING_IMAGES", 12_800)

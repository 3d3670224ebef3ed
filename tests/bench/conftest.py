import pytest

from bench.config import RunConfig, make

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
}


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
        words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return words


@pytest.fixture(autouse=True)
def _quick_classifier(monkeypatch):
    monkeypatch.setattr("bench.features.classifier.TRAINING_IMAGES", 12_800)

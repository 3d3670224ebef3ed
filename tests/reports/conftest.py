"""Run folders as bench writes them, made from formulas instead of training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config import RunConfig, TrainingConfig
from bench.record import Measurement, RunFolder, write_bytes, write_json

NFES = (3, 5, 13, 35)
ARMS = ("random", "lapjv", "sinkhorn:epsilon=0.05")
COMMON = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f00010101005a4d6ff1"
    "0000000049454e44ae426082"
)


def factor(coupling: str, nfe: int) -> float:
    """How good the arm is against random: lapjv better up to NFE 5 and worse from 13 on, sinkhorn always better."""
    if coupling == "random":
        return 1.0
    return (0.6 if nfe <= 5 else 1.25) if coupling == "lapjv" else 0.9


def measurements(coupling: str, seed: int) -> list[Measurement]:
    """All metrics of a run; seeds lie 3 % apart."""
    noise, found = 1 + 0.03 * seed, []
    for nfe in NFES:
        value = 80 / nfe * factor(coupling, nfe) * noise
        found.append(Measurement("truncation_error", value / 100, nfe=nfe, n=512, **COMMON))
        for split, shift in (("train", 0.98), ("test", 1.0)):
            found.append(Measurement("fd_classifier", value * shift, nfe=nfe, split=split, n=2000, **COMMON))
            found.append(Measurement("fd_pixels", value * shift / 3, nfe=nfe, split=split, n=2000, **COMMON))
    cost = 1.0 if coupling == "random" else 0.7
    scalars = {
        "transport_cost": 128.0 * cost, "transport_cost_independent": 128.0, "coupling_ms": 40 * (1 - cost),
        "coupling_share": 0.2 * (1 - cost), "coupling_wait_share": 0.0, "images_per_s": 4000 * cost,
        "train_seconds": 50.0,
    }  # fmt: skip
    found.append(Measurement("curvature_fm", 0.12 * cost * noise, nfe=255, n=512, **COMMON))
    return [*found, *(Measurement(name, value, n=200) for name, value in scalars.items())]


def make_run(
    runs: Path,
    coupling: str = "random",
    seed: int = 0,
    data: str = "digits",
    pool: int = 1024,
    images: int = 200_000,
    found: list[Measurement] | None = None,
    **origin: object,
) -> RunFolder:
    """Write one finished run."""
    config = RunConfig(data, coupling, seed, training=TrainingConfig(images=images, pool=pool))
    folder = RunFolder(runs / config.run_id)
    write_json(folder.path / "config.json", config.identity)
    provenance = {
        "git_sha": "0123456789abcdef", "git_dirty": False, "versions": {"python": "3.11.4", "torch": "2.13.0"},
        "hardware": {"cpu": "A CPU", "threads": 2}, "device": "cpu",
        "command": f"python -m bench.run --coupling {coupling}",
        "started": f"2025-01-0{seed + 1}T00:00:00Z", "seed": seed, "data_checksum": data, **origin,
    }  # fmt: skip
    write_json(folder.path / "provenance.json", provenance)
    folder.add(measurements(coupling, seed) if found is None else found)
    for nfe in (13, 5):
        write_bytes(folder.path / "samples" / f"nfe{nfe}.png", PIXEL)
    folder.set_status("done")
    return folder


def measured_over_rho(values: dict[int, dict[float, float]], fixed: float = 7.0) -> list[Measurement]:
    """A first pass with these values, NFE to rho to value, and all images at the fixed and at the best rho.

    The first pass says half as much; the train split lies 2 % below the test split.
    """
    found = []
    for nfe, by_rho in values.items():
        for rho, value in by_rho.items():
            place = {"nfe": nfe, **COMMON, "rho": float(rho)}
            found.append(Measurement("grid_fd_classifier", value / 2, split="train", n=200, **place))
            if rho in (fixed, min(by_rho, key=by_rho.get)):
                found.append(Measurement("fd_classifier", value, split="test", n=5000, **place))
                found.append(Measurement("fd_classifier", 0.98 * value, split="train", n=5000, **place))
                found.append(Measurement("truncation_error", value / 10, n=512, **place))
    return found


@pytest.fixture(scope="session")
def over_rho() -> Callable[..., list[Measurement]]:
    """The measurements of a run that made a first pass over rho."""
    return measured_over_rho


@pytest.fixture(scope="session")
def make() -> Callable[..., RunFolder]:
    """The factory of finished runs."""
    return make_run


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """Three arms with three seeds, one data set: read only."""
    runs = tmp_path_factory.mktemp("study")
    for coupling in ARMS:
        for seed in range(3):
            make_run(runs, coupling, seed)
    return runs

"""Run folders as bench writes them, made from formulas instead of training."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config import RunConfig, TrainingConfig
from bench.record import Measurement, RunFolder, write_bytes, write_json

NFES = (3, 5, 13, 35)
ARMS = ("random", "lapjv", "sinkhorn:epsilon=0.05")
COMMON = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}
OVER_POOL = ("curvature_fm", "transport_cost")
# A PNG of one pixel
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f00010101005a4d6ff10000000049454e44ae426082"
)


def factor(coupling: str, nfe: int) -> float:
    """Ratio of the coupling to random: lapjv better up to NFE 5 and worse from 13 on, sinkhorn
    always better.
    """
    if coupling == "random":
        return 1.0
    return (0.6 if nfe <= 5 else 1.25) if coupling == "lapjv" else 0.9


def measurements(coupling: str, seed: int) -> list[Measurement]:
    """All metrics of a run; seeds differ by 3 %."""
    noise = 1 + 0.03 * seed
    found = []
    for nfe in NFES:
        value = 80 / nfe * factor(coupling, nfe) * noise
        found.append(Measurement("truncation_error", value / 100, nfe=nfe, n=512, **COMMON))
        for split, shift in (("train", 0.98), ("test", 1.0)):
            found.append(
                Measurement("fd_classifier", value * shift, nfe=nfe, split=split, n=2000, **COMMON)
            )
            found.append(
                Measurement("fd_pixels", value * shift / 3, nfe=nfe, split=split, n=2000, **COMMON)
            )
    cost = 1.0 if coupling == "random" else 0.7
    scalars = {
        "transport_cost": 128.0 * cost,
        "transport_cost_independent": 128.0,
        "coupling_ms": 40 * (1 - cost),
        "coupling_share": 0.2 * (1 - cost),
        "coupling_wait_share": 0.0,
        "images_per_s": 4000 * cost,
        "train_seconds": 60.0 - 10 * cost,
    }
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
    checkpoint: str | None = None,
    source: str | None = None,
    training: dict | None = None,
    **origin: object,
) -> RunFolder:
    """Write one finished run.

    ``checkpoint`` is the hash of the file that it measured instead of training, ``training`` more
    settings of its training, and ``origin`` more of its provenance.
    """
    config = RunConfig(
        data,
        coupling,
        seed,
        training=TrainingConfig(images=images, pool=pool, **training or {}),
        checkpoint=checkpoint,
    )
    # Written by hand, so that the reports are tested apart from what the bench offers today.
    identity = config.identity | ({"source": source} if source else {})
    folder = RunFolder(runs / f"{config.run_id}{source or ''}")
    write_json(folder.path / "config.json", identity)
    provenance = {
        "git_sha": "0123456789abcdef",
        "git_dirty": False,
        "versions": {"python": "3.11.4", "torch": "2.13.0"},
        "hardware": {"cpu": "A CPU", "threads": 2},
        "device": "cpu",
        "command": f"python -m bench.run --coupling {coupling}",
        "started": f"2025-01-0{seed + 1}T00:00:00Z",
        "seed": seed,
        "data_checksum": data,
        **origin,
    }
    write_json(folder.path / "provenance.json", provenance)
    folder.add(measurements(coupling, seed) if found is None else found)
    for nfe in (13, 5):
        write_bytes(folder.path / "samples" / f"nfe{nfe}.png", PIXEL)
    folder.set_status("done")
    return folder


def measured_over_rho(
    values: dict[int, dict[float, float]], fixed: float = 7.0
) -> list[Measurement]:
    """A first pass with these values, NFE to rho to value, and all images at the fixed and at the
    best rho.

    The first pass says half as much; the train split is 2 % below the test split.
    """
    found = []
    for nfe, by_rho in values.items():
        for rho, value in by_rho.items():
            place = {"nfe": nfe, **COMMON, "rho": float(rho)}
            found.append(
                Measurement("grid_fd_classifier", value / 2, split="train", n=200, **place)
            )
            if rho in (fixed, min(by_rho, key=by_rho.get)):
                found.append(Measurement("fd_classifier", value, split="test", n=5000, **place))
                found.append(
                    Measurement("fd_classifier", 0.98 * value, split="train", n=5000, **place)
                )
                found.append(Measurement("truncation_error", value / 10, n=512, **place))
    return found


FLOW = {"objective": "flow"}
GAIN = {"edm": 1.0, "flow": 0.8}  # of the objectives up to NFE 5; above it is the inverse


def of_objective(coupling: str, seed: int, objective: str = "edm") -> list[Measurement]:
    """The measurements of a run, with flow matching better up to NFE 5 and worse above.

    Its first pass finds the schedule at which the distance is half as high as at the fixed one.
    """
    karras = objective == "edm"
    specs = ("karras:rho=7", "karras:rho=20") if karras else ("flow:shift=1", "flow:shift=3")
    found = []
    for row in measurements(coupling, seed):
        if row.nfe is None:
            found.append(row)
            continue
        few = row.nfe <= 5 or row.metric == "curvature_fm"
        value = row.value * (GAIN[objective] if few else 1 / GAIN[objective])
        for spec, factor in zip(specs, (1.0, 0.5), strict=True):
            if factor < 1 and not row.metric.startswith("fd_classifier"):
                continue
            rho = float(spec.rpartition("=")[2]) if karras else None
            place = {"schedule": spec, "rho": rho}
            found.append(replace(row, value=value * factor, **place))
            if row.metric == "fd_classifier" and row.split == "train":
                grid = {"metric": "grid_fd_classifier", "value": value * factor / 3, "n": 100}
                found.append(replace(row, **grid, **place))
    return found


def steered(arm: str, seed: int, nfes: tuple[int, ...] = (9, 17)) -> list[Measurement]:
    """Guidance of three weights by two discriminators: weight 1 is best on the train split, 2 on
    the test split.
    """
    noise = 1 + 0.03 * seed
    found = []
    for nfe in nfes:
        place = {"nfe": nfe, **COMMON}
        plain = 80 / nfe * factor(arm, nfe) * noise
        for split in ("train", "test"):
            found.append(Measurement("fd_classifier", plain, split=split, n=2000, **place))
        for noising, gain in (("independent", 0.95), ("lapjv", 0.85)):
            for weight, train, test in (
                (0.5, 0.97, 0.97),
                (1.0, gain, gain),
                (2.0, gain * 1.1, gain * 0.9),
            ):
                setting = place | {"guidance": f"dg-{noising}:weight={weight:g}"}
                for split, times in (("train", train), ("test", test)):
                    found.append(
                        Measurement("fd_classifier", plain * times, split=split, n=2000, **setting)
                    )
                    found.append(
                        Measurement("fd_pixels", plain * times / 3, split=split, n=2000, **setting)
                    )
                found.append(Measurement("discriminator_passes", (nfe + 1) / 2, n=2000, **setting))
    for noising in ("independent", "lapjv"):
        for sigma in (None, 0.1, 1.0, 10.0):
            auc = 0.9 - 0.1 * (sigma or 1) ** 0.3 + 0.01 * seed
            for metric, value in (
                ("dg_auc", auc),
                ("dg_accuracy", auc - 0.1),
                ("dg_calibration_error", 0.02),
            ):
                for split in ("train", "test"):
                    found.append(
                        Measurement(
                            metric, value, guidance=f"dg-{noising}", split=split, n=512, sigma=sigma
                        )
                    )
    return found


STARTS = ("truncated", "random-index", "expressway", "ot-prior", "ot-prior:tau=0.1")


def jumped(
    arm: str, seed: int, nfes: tuple[int, ...] = (5, 9), sampler: str = "heun"
) -> list[Measurement]:
    """Four kinds of start at three levels: hard maps are like random jumps up to noise that changes
    sign.
    """
    found = [Measurement("mode_mixture_0.2_real_classifier", 0.02, n=360)]
    for kind in STARTS:
        for sigma in (0.5, 2.0, 10.0):
            name, _, more = kind.partition(":")
            start = f"{name}:sigma={sigma:g}" + (f",{more}" if more else "")
            alike = 1 + 0.01 * (-1) ** seed * (name in ("expressway", "ot-prior") and not more)
            bad = (4 / sigma if name == "truncated" else 1 + (more != "")) * alike
            costs = {"start_sigma": sigma, "prior_error": 0.1 * bad, "prior_error_fresh": 4.0 * bad}
            costs |= {"prior_error_floor": 3.9, "start_targets": 1437.0}
            if name in ("expressway", "ot-prior"):
                costs |= {
                    "start_fit_seconds": 12.0 + seed,
                    "start_fit_noises": 2e6,
                    "start_chi2": 0.008,
                }
            found += [Measurement(metric, value, start=start) for metric, value in costs.items()]
            for nfe in nfes:
                place = {"nfe": nfe, "n": 2000, **COMMON, "start": start, "sampler": sampler}
                value = 70 / nfe * bad * (1 + 0.03 * seed)
                copies = 0.9 / (1 + sigma / 5) if name != "truncated" else 0.05
                found += [
                    Measurement("fd_classifier", value * 0.8, split="train", **place),
                    Measurement("fd_classifier", value, split="test", **place),
                    Measurement("copy_rate_classifier", copies, split="train", **place),
                    Measurement("mode_mixture_0.2_classifier", 0.02 + 0.02 * bad, **place),
                ]
    for nfe in nfes:
        place = {"nfe": nfe, "n": 2000, **COMMON}
        for split in ("train", "test"):
            found.append(
                Measurement(
                    "fd_classifier",
                    80 / nfe * factor(arm, nfe) * (1 + 0.03 * seed),
                    split=split,
                    **place,
                )
            )
        found.append(Measurement("copy_rate_classifier", 0.06, split="train", **place))
        found.append(Measurement("mode_mixture_0.2_classifier", 0.03, **place))
    return found


@pytest.fixture(scope="session")
def guided_rows() -> Callable[..., list[Measurement]]:
    """The measurements of a run with guidance."""
    return steered


@pytest.fixture(scope="session")
def started_rows() -> Callable[..., list[Measurement]]:
    """The measurements of a run with other starts."""
    return jumped


@pytest.fixture(scope="session")
def gallery(tmp_path_factory) -> Path:
    """Every section that the page has, at two pools: read only."""
    runs = tmp_path_factory.mktemp("gallery")
    for coupling in ARMS:
        for seed in range(3):
            found = [*measurements(coupling, seed), *steered(coupling, seed)]
            found += jumped(coupling, seed) if coupling != ARMS[2] else []
            make_run(runs, coupling, seed, found=[*{m.key: m for m in found}.values()])
            small = [
                replace(m, value=1.1 * m.value) if m.metric in OVER_POOL else m
                for m in measurements(coupling, seed)
            ]
            make_run(runs, coupling, seed, pool=256, found=small)
    return runs


@pytest.fixture(scope="session")
def over_rho() -> Callable[..., list[Measurement]]:
    """The measurements of a run that made a first pass over rho."""
    return measured_over_rho


@pytest.fixture(scope="session")
def make() -> Callable[..., RunFolder]:
    """The factory of finished runs."""
    return make_run


@pytest.fixture(scope="session")
def by_objective() -> Callable[..., list[Measurement]]:
    """The measurements of a run with one of two objectives."""
    return of_objective


@pytest.fixture(scope="session")
def both_objectives(tmp_path_factory) -> Path:
    """random and lapjv, EDM and flow matching, three seeds: read only."""
    runs = tmp_path_factory.mktemp("objectives")
    for coupling in ARMS[:2]:
        for seed in range(3):
            make_run(runs, coupling, seed, found=of_objective(coupling, seed))
            found = of_objective(coupling, seed, "flow")
            make_run(runs, coupling, seed, training=FLOW, found=found)
    return runs


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """Three arms with three seeds, one data set: read only."""
    runs = tmp_path_factory.mktemp("study")
    for coupling in ARMS:
        for seed in range(3):
            make_run(runs, coupling, seed)
    return runs


JITTERED = {"random": 4, "lapjv": 4, "knn": 3}  # arm to its number of seeds
EXACT = ("grid_fd_classifier", "start_sigma", "discriminator_passes")


def jittered_run(arm: str, seed: int, pool: int) -> list[Measurement]:
    """All that a run can have, at values of which no two are alike, so that a wrong row gives a
    wrong number.
    """
    draw = random.Random(f"{arm} {seed} {pool}")
    good = list(JITTERED).index(arm) + pool / 1024
    values = {
        nfe: {
            rho: (80 - 20 * good * (rho > 7)) / nfe * draw.uniform(0.9, 1.1) for rho in (3, 7, 16)
        }
        for nfe in (3, 5, 9, 17)
    }
    found = [
        m if m.metric in EXACT else replace(m, n=m.n and 2000) for m in measured_over_rho(values)
    ]
    for tolerance, nfe in (("0.01", 40), ("0.0001", 90)):
        adaptive = {**COMMON, "rho": None, "sampler": f"dopri5:tolerance={tolerance}"}
        nfe += draw.randrange(9)
        found.append(
            Measurement("fd_classifier", 70 / nfe, nfe=nfe, split="test", n=2000, **adaptive)
        )
        found.append(Measurement("truncation_error", 7 / nfe, nfe=nfe, n=512, **adaptive))
    found += [
        m
        for m in measurements(arm, seed)
        if m.metric not in ("fd_classifier", "fd_pixels", "truncation_error")
    ]
    if pool == 1024:
        found += [*steered(arm, seed), *(jumped(arm, seed) if arm == "lapjv" else [])]
    found += [Measurement("coupling_fit_seconds", 5.0 * good)] if arm == "knn" else []
    found = [
        replace(m, value=1.4 * m.value) if m.start == "ot-prior:sigma=10" and m.nfe else m
        for m in found
    ]
    unique = {m.key: m for m in reversed(found)}.values()
    return [
        m if m.metric in EXACT else replace(m, value=m.value * draw.uniform(0.95, 1.05))
        for m in unique
    ]


@pytest.fixture(scope="session")
def jittered(tmp_path_factory) -> Path:
    """Every section that the page has, at two pools, arms with unequal seeds: read only."""
    runs = tmp_path_factory.mktemp("jittered")
    for pool in (256, 1024):
        for arm, seeds in JITTERED.items():
            for seed in range(seeds):
                make_run(runs, arm, seed, pool=pool, found=jittered_run(arm, seed, pool))
    return runs

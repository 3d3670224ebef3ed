"""Measure a trained denoiser: quality at each NFE, its paths, truncation error; the same latents for every arm.

Memory does not grow with the number of samples: they are drawn, sampled, stored and measured in chunks. A killed
evaluation goes on from the chunks and the measurements that the run folder holds.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config import EvaluationConfig, RunConfig
from bench.data import Dataset, as_images
from bench.features import Features
from bench.metrics.trajectory import DRIFT, PER_PATH, Tangents, drift_sigmas, summary
from bench.metrics.trajectory import Path as OdePath
from bench.metrics.truncation import truncation_error
from bench.pairs import CouplingCost
from bench.quality import Ruler, Values
from bench.randomness import generator
from bench.ranks import Ranks
from bench.record import Measurement, RunFolder, RunFolderError, write_bytes, write_json
from bench.samples import SampleStore, clear, weights_digest
from models.precondition import EDMDenoiser
from models.samplers import CountNFE, Observe, heun
from models.schedule import heun_steps, karras_sigmas

CHUNK = 500  # images sampled at a time
GRID_NFE = (5, 13, 35)  # numbers of evaluations, if sampled, whose images are shown
GRID_SIDE = 8
TANGENTS = (8, 10)  # rows, one a sample, and columns of the picture of D along the path
SAMPLER = {"sampler": "heun", "start": "gaussian", "guidance": "none"}


@dataclass(frozen=True)
class Latents:
    """Where sampling begins: unit noise ``[n, c, h, w]`` and classes ``[n]``, found by sample index alone."""

    noise: Tensor
    labels: Tensor

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.noise)


def draw_latents(n: int, dataset: Dataset, seed: int, start: int = 0) -> Latents:
    """Latents start .. start + n - 1 of a seed, one generator a sample: none depends on the others drawn with it."""
    noise, labels = [], []
    for index in range(start, start + n):
        g = generator(seed, "latents", step=index)
        noise.append(torch.randn(dataset.image_shape, generator=g))
        labels.append(torch.randint(dataset.num_classes, (), generator=g))
    return Latents(torch.stack(noise), torch.stack(labels))


@torch.no_grad()
def sample(
    net: EDMDenoiser,
    latents: Latents,
    steps: int,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> tuple[Tensor, int]:
    """Sample images ``[n, c, h, w]`` float32 on the CPU; also the measured evaluations per image.

    ``observe`` sees the path of one chunk after the other; a path is observed whole with at most CHUNK latents.
    """
    sigmas = karras_sigmas(steps, config.rho, config.sigma_min, config.sigma_max)
    images, counted = [], 0
    for start in range(0, len(latents), CHUNK):
        part = latents[start : start + CHUNK]
        labels = F.one_hot(part.labels, net.label_dim).float().to(device) if net.label_dim else None
        denoise = CountNFE(net)
        images.append(heun(denoise, part.noise.to(device), sigmas, labels, observe).float().cpu())
        counted = denoise.nfe
        advance(len(part) * counted)
    return torch.cat(images), counted


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to what the data set holds: uint8 levels, or floats, clipped where they are pictures."""
    if dataset.train.images.dtype == torch.uint8:
        return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)  # + 128: half a level of rounding up
    return images.clamp(-1, 1) if dataset.bounded else images


def evaluate(
    config: RunConfig,
    net: EDMDenoiser,
    dataset: Dataset,
    extractors: list[Features],
    ranks: Ranks,
    folder: RunFolder,
    progress: bool = True,
    keep_samples: bool = False,
) -> list[Measurement]:
    """All measurements of a trained denoiser, recorded in ``folder`` as soon as they are made.

    All ranks sample; the first measures and records. What is sampled depends on neither their number nor the chunks.

    What the folder holds already is not made again, provided that it comes from the same weights, data and features.
    Samples lie under ``samples/`` until their measurements are recorded, or for good with ``keep_samples``. Writes
    sample grids, and ``evaluate_seconds``: the time until the last measurement, over all sessions.
    """
    arm = Arm(config, net.eval(), dataset, extractors, ranks.device, folder.path / "samples")
    origin = {**arm.origin, "features": {f.name: f.fingerprint for f in extractors}}
    ledger, wanted = ranks.first_does(lambda: Ledger(folder, origin)), arm.wanted()
    todo = ranks.first_does(lambda: {nfe: blanks for nfe, blanks in wanted.items() if not ledger.holds(blanks)})
    if todo:
        _measure(arm, todo, ledger, ranks, progress, keep_samples)
    ranks.wait()
    if not keep_samples and ranks.first:
        clear(arm.samples_dir)
    if not ranks.first:
        return []
    recorded = ledger.recorded()
    return [recorded[blank.key] for blanks in wanted.values() for blank in blanks]


@dataclass(frozen=True)
class Arm:
    """A trained denoiser and all that its measurements depend on."""

    config: RunConfig
    net: EDMDenoiser
    dataset: Dataset
    extractors: list[Features]
    device: str
    samples_dir: Path

    @property
    def dense_nfe(self) -> int:
        """Evaluations of the dense reference."""
        return 2 * self.config.evaluation.reference_steps - 1

    @property
    def dense_levels(self) -> Tensor:
        """Noise levels of its points, without the 0 at the end."""
        evaluation = self.config.evaluation
        levels = karras_sigmas(evaluation.reference_steps, evaluation.rho, evaluation.sigma_min, evaluation.sigma_max)
        return levels[:-1]

    @cached_property
    def origin(self) -> dict[str, object]:
        """What samples depend on, apart from their number of evaluations."""
        evaluation = asdict(self.config.evaluation)
        levels = {key: evaluation[key] for key in ("rho", "sigma_min", "sigma_max", "trajectories")}
        known = {"data": self.dataset.checksum, "seed": self.config.seed, **SAMPLER, **levels}
        return {"weights": weights_digest(self.net), **known}

    @cached_property
    def rulers(self) -> list[Ruler]:
        """What samples are measured with, one for each kind of features."""
        return [Ruler(features, self.dataset, self.device) for features in self.extractors]

    @cached_property
    def asked(self) -> Tensor | None:
        """Classes ``[samples]`` that the samples are asked for; None where the denoiser is told none."""
        if not self.net.label_dim:
            return None
        starts, n = range(0, self.config.evaluation.samples, CHUNK), self.config.evaluation.samples
        seed = self.config.seed
        return torch.cat([draw_latents(min(CHUNK, n - s), self.dataset, seed, s).labels for s in starts])

    def count(self, nfe: int) -> int:
        """How many samples are drawn with so many evaluations."""
        evaluation = self.config.evaluation
        return evaluation.trajectories if nfe == self.dense_nfe else max(evaluation.samples, evaluation.trajectories)

    def store(self, nfe: int) -> SampleStore:
        """Where they are kept: ``images`` as stored and, of the trajectories alone, ``exact`` float32 ones.

        Those of the dense reference hold what was observed along their paths as well.
        """
        observed = {"observed": [*PER_PATH, DRIFT, "tangents"]} if nfe == self.dense_nfe else {}
        return SampleStore.of(self.samples_dir, f"nfe{nfe}", {**self.origin, "nfe": nfe, **observed})

    def wanted(self) -> dict[int, list[Measurement]]:
        """What is measured at each number of evaluations, the dense reference first; values are blank (NaN)."""
        evaluation = self.config.evaluation
        common = {"value": math.nan, "rho": evaluation.rho, **SAMPLER}
        paths = {"n": evaluation.trajectories, **common}
        found = {self.dense_nfe: [Measurement(metric, nfe=self.dense_nfe, **paths) for metric in PER_PATH]}
        found[self.dense_nfe] += [
            Measurement(DRIFT, nfe=self.dense_nfe, sigma=sigma, **paths) for sigma in drift_sigmas(self.dense_levels)
        ]
        for nfe in evaluation.nfe:
            found[nfe] = [Measurement("truncation_error", nfe=nfe, **paths)] + [
                Measurement(metric, nfe=nfe, split=split, n=n, **common)
                for ruler in self.rulers
                for metric, split, n in ruler.names(evaluation.samples, conditional=self.net.label_dim > 0)
            ]
        return found


class Ledger:
    """What an evaluation has recorded so far, over all its sessions; raises RunFolderError where it cannot be read.

    ``evaluation.json`` says what the measurements come from. Where that is not what is measured now, such as another
    classifier, none of them counts: numbers of two rulers must not stand in one table.
    """

    def __init__(self, folder: RunFolder, origin: dict[str, object]):
        """Open the record, begun anew where the origin is another."""
        self.folder, self.path = folder, folder.path / "evaluation.json"
        try:
            content = json.loads(self.path.read_text()) if self.path.exists() else {}
        except ValueError:
            raise RunFolderError(f"{self.path} is damaged: delete it, the measurements are made again") from None
        if content.get("origin") != origin:
            content = {"origin": origin, "measured": [], "seconds": 0.0}
            write_json(self.path, content)
        self.content, self.clock = content, time.perf_counter()

    def recorded(self) -> dict[tuple, Measurement]:
        """The measurements that count, by key."""
        return {m.key: m for m in self.folder.measurements() if m.nfe in self.content["measured"]}

    def holds(self, blanks: list[Measurement]) -> bool:
        """Whether all of these are recorded, whatever their values."""
        return {blank.key for blank in blanks} <= self.recorded().keys()

    def add(self, nfe: int, measurements: list[Measurement]) -> None:
        """Record all that is measured at one number of evaluations, and the time until now."""
        now = time.perf_counter()
        seconds, self.clock = self.content["seconds"] + now - self.clock, now
        self.folder.add([*measurements, Measurement("evaluate_seconds", seconds)])
        self.content |= {"measured": sorted({*self.content["measured"], nfe}), "seconds": seconds}
        write_json(self.path, self.content)


def _measure(
    arm: Arm,
    todo: dict[int, list[Measurement]],
    ledger: Ledger,
    ranks: Ranks,
    progress: bool,
    keep_samples: bool,
) -> None:
    """Sample, measure and record what is to do."""
    # Truncation errors need the dense samples, also where their paths are recorded already.
    wanted = {arm.dense_nfe: None, **todo}
    missing = ranks.first_does(lambda: {nfe: arm.store(nfe).missing(arm.count(nfe), CHUNK) for nfe in wanted})
    total = sum(nfe * arm.count(nfe) for nfe in arm.wanted())
    bar = tqdm(
        total=total,
        initial=total - sum(nfe * len(rows) for nfe, ranges in missing.items() for rows in ranges),
        desc=f"evaluate {arm.config.coupling}",
        unit="eval",
        unit_scale=True,
        disable=None if progress and ranks.first else True,
    )
    with bar:
        for nfe, ranges in missing.items():
            for number, rows in enumerate(ranges):
                if number % ranks.count == ranks.rank:
                    _sample_chunk(arm, nfe, rows, bar.update)
            ranks.wait()
            if ranks.first:
                _record(arm, nfe, todo, ledger)
                if nfe != arm.dense_nfe and not keep_samples:
                    arm.store(nfe).remove()


def _record(
    arm: Arm,
    nfe: int,
    todo: dict[int, list[Measurement]],
    ledger: Ledger,
) -> None:
    """Measure the samples of one number of evaluations, unless that was done before, and record it."""
    if nfe not in todo:
        return
    values = _trajectory(arm) if nfe == arm.dense_nfe else _quality(arm, nfe)
    # No metric has a split and a sigma.
    ledger.add(nfe, [replace(blank, value=values[blank.metric, blank.split or blank.sigma]) for blank in todo[nfe]])


def _sample_chunk(arm: Arm, nfe: int, rows: range, advance: Callable[[int], object]) -> None:
    """Sample the images of some latents into the store, the dense ones with what their paths look like."""
    config, path = arm.config, None
    if nfe == arm.dense_nfe:
        path = OdePath(Tangents.evenly(max(0, TANGENTS[0] - rows.start), TANGENTS[1], len(arm.dense_levels)))
    latents = draw_latents(len(rows), arm.dataset, config.seed, rows.start)
    images, counted = sample(arm.net, latents, heun_steps(nfe), config.evaluation, arm.device, path, advance)
    assert counted == nfe, f"counted {counted} evaluations where {nfe} were asked for"
    exact = images[: max(0, config.evaluation.trajectories - rows.start)].clone()
    more = {name: tensor.cpu() for name, tensor in path.per_sample().items()} if path else {}
    arm.store(nfe).add(rows.start, images=as_stored(images, arm.dataset), exact=exact, **more)


def _trajectory(arm: Arm) -> dict[tuple[str, float | None], float]:
    """What the paths of the dense reference look like; writes the picture of their tangents."""
    store, n = arm.store(arm.dense_nfe), arm.count(arm.dense_nfe)
    per_sample = {name: torch.cat(list(store.tensors(name, n))) for name in (*PER_PATH, DRIFT)}
    tangents = torch.cat(list(store.tensors("tangents", min(TANGENTS[0], n))))  # [rows, columns, c, h, w]
    save_grid(arm.samples_dir / "tangents.png", tangents.flatten(0, 1), columns=tangents.shape[1])
    return summary(per_sample, drift_sigmas(arm.dense_levels))


def _quality(arm: Arm, nfe: int) -> Values:
    """Truncation error and sample metrics at one number of evaluations; writes the grid of the samples."""
    evaluation, store = arm.config.evaluation, arm.store(nfe)
    coarse, dense = (
        torch.cat(list(source.tensors("exact", evaluation.trajectories)))
        for source in (store, arm.store(arm.dense_nfe))
    )
    values: Values = {("truncation_error", None): truncation_error(coarse, dense)}
    for ruler in arm.rulers:
        values |= ruler.measure(store.images(evaluation.samples), evaluation.samples, arm.asked)
    if nfe in GRID_NFE:
        shown = torch.cat(list(store.images(min(GRID_SIDE**2, evaluation.samples))))
        save_grid(arm.samples_dir / f"nfe{nfe}.png", as_images(shown))
    return values


def rank_warning(features: Features, dataset: Dataset, evaluation: EvaluationConfig) -> str | None:
    """A line for the terminal where a Frechet distance rests on fewer samples than features."""
    least = min(evaluation.samples, len(dataset.test), len(dataset.train))
    if least > features.size:
        return None
    return f"fd_{features.name}: {least} samples in {features.size} features; values are biased, compare arms with care"


def training_measurements(cost: CouplingCost, seconds: float, images: int) -> list[Measurement]:
    """What training and its coupling cost and gained; transport costs are mean squared distances of a pair."""
    pools = {"n": cost.pools}
    return [
        Measurement("transport_cost", cost.cost_after / cost.pools, **pools),
        Measurement("transport_cost_independent", cost.cost_before / cost.pools, **pools),
        Measurement("coupling_ms", cost.median_ms, **pools),
        Measurement("coupling_share", cost.solver_seconds / seconds, **pools),
        Measurement("coupling_wait_share", cost.wait_seconds / seconds, **pools),
        *([Measurement("coupling_fit_seconds", cost.fit_seconds)] if cost.fit_seconds else []),
        Measurement("images_per_s", images / seconds, n=images),
        Measurement("train_seconds", seconds, n=images),
    ]


def save_grid(path: Path, images: Tensor, columns: int | None = None) -> None:
    """Write images ``[n, c, h, w]`` in [-1, 1] as tiles, one PNG; 2-D points have none.

    As full rows of so many columns, or else as the largest full square.
    """
    from PIL import Image

    n, c, h, w = images.shape
    if c not in (1, 3):
        return
    rows, columns = (n // columns, columns) if columns else (math.isqrt(n), math.isqrt(n))
    tiles = images[: rows * columns].reshape(rows, columns, c, h, w)
    tiles = tiles.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    pixels = ((tiles + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if c == 1 else pixels)
    scale = max(1, 256 // picture.width)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())

"""Points in the plane, saved as CSV for figures: samples, sampling paths, and pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.metrics.contract import Point, Subject
from bench.metrics.learning_signal import own_coupling
from bench.pairs.pool import Pairs
from bench.pairs.stream import PairStream
from bench.randomness import derive
from bench.record import write_bytes
from couplings import Fitted

MOST = 400  # points show a distribution; more would fill the page
PATHS = 40  # paths that are drawn
PARTS = 40  # of [0, 1], from each of which a path keeps one point at most
PAIRS = 200  # pairs that are drawn
REAL = "real"
"""Name of the file that holds points of the data."""


def points_file(sampler: str, nfe: int) -> str:
    """Name of the file of generated points: ``nfe5.csv`` of Heun's method, ``euler-nfe100.csv``."""
    prefix = "" if sampler == "heun" else f"{sampler}-"
    # A colon cannot be part of a file name everywhere.
    return f"{prefix}nfe{nfe}.csv".replace(":", "-")


def save_points(path: Path, points: Tensor) -> None:
    """Write the first ``MOST`` of ``points [n, 2, 1, 1]`` as CSV with the columns x and y."""
    _write(path, "x,y", points[:MOST].flatten(1).double().tolist())


def save_pairs(path: Path, noise: Tensor, images: Tensor) -> None:
    """Write the first ``PAIRS`` pairs of noise samples and points of the data ``[n, 2, 1, 1]``."""
    both = torch.cat([noise.flatten(1), images.flatten(1)], dim=1)
    _write(path, "noise_x,noise_y,x,y", both[:PAIRS].double().tolist())


def save_trajectories(path: Path, paths: Tensor, ends: Tensor) -> None:
    """Write paths with the columns path, t, x and y, from the noise sample to the generated point.

    Args:
        path: of the file.
        paths: as ``Trajectories`` stores them, ``[n, points, 3]``.
        ends: the generated points ``[n, 2, 1, 1]``.

    """
    rows = []
    last = torch.cat([torch.zeros(len(ends), 1), ends.flatten(1).float()], dim=1)
    for number, whole in enumerate(torch.cat([paths, last[:, None]], dim=1).double().tolist()):
        rows += [[number, *point] for point in whole]
    _write(path, "path,t,x,y", rows)


@dataclass
class Trajectories:
    """Observer of a sampler: the first paths of a batch in flow-matching coordinates."""

    rows: int
    seen: list[Tensor] = field(default_factory=list)  # [rows, 3] each: t, and z
    part: int = PARTS + 1  # in which of the parts of [0, 1] the last kept point is

    def __call__(self, point: Point) -> None:
        """Observe the next point of the paths."""
        if not self.seen:
            # The noise sample at t = 1, from which the sampler's start was scaled.
            self._keep(1.0, point.z / point.t)
        # The schedule's steps crowd at low noise, where points of a drawn line would coincide.
        part = int(point.t * PARTS)
        if part < self.part and point.t < 1:
            self._keep(point.t, point.z)
            self.part = part

    def per_sample(self) -> dict[str, Tensor]:
        """``trajectories`` ``[rows, points, 3]`` float32: t, x and y."""
        return {"trajectories": torch.stack(self.seen, dim=1)}

    def _keep(self, t: float, z: Tensor) -> None:
        first = z[: self.rows].flatten(1).float()
        self.seen.append(torch.cat([torch.full_like(first[:, :1], t), first], dim=1))


def pairs_of(subject: Subject) -> Pairs | None:
    """Pairs of one pool that training never saw, as the run's own coupling makes them; None for a
    network that was not trained here.

    Raises:
        CouplingError: the pool cannot be solved.

    """
    config = subject.config
    coupling = own_coupling(config, subject.dataset, subject.cache, subject.device, subject.net)
    if coupling is None:
        return None
    if isinstance(coupling, Fitted) and subject.learned is not None:
        coupling.load_state_dict(subject.learned)
    pool = config.training.pool
    train = subject.dataset.train.to(subject.device)
    # Another seed than that of training, and the same pool for all couplings.
    seed = derive(config.seed, "pairs")
    with PairStream(train, coupling, pool=pool, batch=pool, seed=seed, stop_step=1) as stream:
        return next(iter(stream))


def _write(path: Path, head: str, rows: Iterable[Iterable[float]]) -> None:
    """Write numbers with four digits, which no figure shows more of."""
    lines = [head]
    for row in rows:
        lines.append(",".join([f"{value:.4g}" for value in row]))
    write_bytes(path, "\n".join([*lines, ""]).encode())

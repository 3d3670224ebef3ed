"""Normalised path energy: how far the energy of the paths is from that of optimal transport.

|E - W2^2(q0, q1)| / W2^2(q0, q1) with the path energy E, noise q0 and data q1 (Tong et al. 2024,
"Simulation-free Schrodinger bridges", Sec. 4.1): 0 for the optimal transport map.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from bench.data import Dataset
from bench.metrics.contract import FeatureSpace, Profile, Subject
from bench.metrics.path_energy import PathEnergy, mean_energy
from bench.metrics.w2 import MOST_POINTS, in_the_plane, w2
from bench.randomness import generator
from bench.record import write_json
from bench.record.files import digest, made_once
from bench.record.infos import Info

VERSION = 1  # raise it when what is stored changes, so that no old file is read


class NPE(PathEnergy):
    """Normalised path energy of points in the plane: of the dense paths (``npe``), and of those
    that each sampler takes (``sampler_npe``), see ``PathEnergy``.

    W2 is exact, between as many noise samples and test points as samples are measured, at most
    ``MOST_POINTS``; with ``--source`` the noise samples are its test points. It is computed once
    and kept in the cache that runs share.
    """

    infos = (
        Info(
            "npe",
            "Normalised path energy: relative difference of the dense paths' energy from the"
            " squared W2 distance between noise and data; 0 for the optimal transport map.",
            "lower",
            per="run",
            kind="path",
            title="Normalised path energy",
            place=47,
        ),
        Info(
            "sampler_npe",
            "Relative difference of the energy of the path that the sampler takes in its steps"
            " from the squared W2 distance between noise and data.",
            "lower",
            kind="path",
            figure=False,
            title="Normalised path energy of the sampler",
            place=49,
        ),
    )

    @classmethod
    def suits(cls, dataset: Dataset) -> bool:
        """True for points in the plane, where W2 can be computed well, unless the source is the
        data: their distance is 0, and no energy has a ratio to it.
        """
        source = dataset.source
        same = source is not None and torch.equal(source.test.images, dataset.test.images)
        return in_the_plane(dataset) and not same

    @classmethod
    def values(cls, per_sample: dict[str, Tensor], levels: Tensor, subject: Subject) -> Profile:
        """Of the dense paths."""
        return {("npe", None): _npe(per_sample, subject)}

    @classmethod
    def values_at(cls, per_sample: dict[str, Tensor], subject: Subject) -> dict[str, float]:
        """Of the paths of a sampler."""
        return {"sampler_npe": _npe(per_sample, subject)}


def _npe(per_sample: dict[str, Tensor], subject: Subject) -> float:
    n = subject.config.evaluation.samples
    least = subject.spaces["pixels"].once(least_energy, n)
    return abs(mean_energy(per_sample) - least) / least


def least_energy(space: FeatureSpace, n: int) -> float:
    """Squared W2 between n noise samples and n test points, fewer if the sets are smaller: the
    energy of the optimal transport map between them. Kept in the cache of the space, if it has one.
    """
    source = space.dataset.source
    most = [len(space.dataset.test), MOST_POINTS] + ([len(source.test)] if source else [])
    size = min(n, *most)
    if space.cache is None:
        return _least_energy(space.dataset, size)
    key = {"version": VERSION, "data": space.dataset.checksum, "points": size}
    path = space.cache / f"least-energy-{digest(key, 16)}.json"

    def make() -> None:
        write_json(path, {**key, "energy": _least_energy(space.dataset, size)})

    made_once(path, make, lambda path: _read(path) is not None)
    # Python's numbers survive JSON bit for bit: the second run has the value of the first.
    return _read(path)


def _least_energy(dataset: Dataset, size: int) -> float:
    data = dataset.test.images[:size].flatten(1)
    if dataset.source is not None:
        return w2(dataset.source.test.images[:size].flatten(1), data) ** 2
    # The same noise for every run: the value belongs to the data, not to a seed.
    g = generator(0, "least energy")
    noise = torch.randn(data.shape, generator=g, dtype=torch.float64, device="cpu")
    return w2(noise, data) ** 2


def _read(path: Path) -> float | None:
    """The value in a file; None if it is missing or damaged."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["energy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

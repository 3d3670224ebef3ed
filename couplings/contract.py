"""The contract of a batch coupling: a pool of images and noises in, an index into the noises out."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from couplings import cost, memory, plugins, spec
from couplings.errors import CouplingError, require

__all__ = ["Coupling", "CouplingError", "Pairing", "Pool", "require"]

# Squares of larger float64 values, summed over an image, leave the range of float64.
LARGEST_VALUE = 1e150
# Less memory than this is always taken to be there.
SMALL_BYTES = 2**28
# Relative error up to which a solver's own saving stands in for a second pass over the data.
SAVING_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Saving:
    """How much less the mean squared distance is as paired than as given, and how far off that may
    be.
    """

    mean: float
    error: float


@dataclass(frozen=True, eq=False)
class Pairing:
    """What a coupling returns.

    Attributes: index: `[n]` int64, on the device of the images; `noise[index[i]]` goes with
        `images[i]`. report: `cost_before` and `cost_after` (mean squared L2 distance of a pair, as
        given and as paired,
            whatever cost the solver used), `seconds` (solver wall time with its cost matrix),
            `converged` (1.0 or 0.0), `duplicates` (1 - distinct noises / n), and what is natural to
            the coupling.
        saving: from `Coupling.solve` alone, and only where the solver's costs are squared
            distances; else None.

    """

    index: Tensor
    report: dict[str, float] = field(default_factory=dict)
    saving: Saving | None = None


@dataclass(frozen=True, eq=False)
class Pool:
    """A checked pool, as `Coupling.solve` gets it. Nothing in it may be modified in place.

    Attributes:
        images: `[n, d]` float32 or float64, detached, finite, on the CPU or a CUDA device.
        noise: `[n, d]`, likewise, in the dtype of the images.
        labels: `[n, ...]` as given, or None.
        generator: the source of all randomness, or None.

    """

    images: Tensor
    noise: Tensor
    labels: Tensor | None = None
    generator: torch.Generator | None = None


@dataclass(frozen=True, kw_only=True)
class Coupling(ABC):
    """A batch coupling: a frozen dataclass whose fields are its options, and one method, `solve`.

    `within_class=true`, an option of every coupling, solves among the images and noises of one
    label at a time: noise j counts as of the class of image j. The noise then stays independent of
    the label, as it is when a class is sampled; a label-blind pairing makes it depend on the label
    (arXiv 2403.05069, Sec. 4.2).

    The class variables state what the coupling keeps at its default options; the contract tests
    check them.
    """

    name: ClassVar[str]  # of its file, or the path of its module
    kind: ClassVar[str] = "batch"
    exact_noise_marginal: ClassVar[bool] = True  # every noise is used exactly once
    exact_data_marginal: ClassVar[bool] = True  # every image is used exactly once
    uses_labels: ClassVar[bool] = False  # the labels change the pairing
    deterministic: ClassVar[bool] = True  # needs no generator

    within_class: bool = False

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.name = plugins.name_of(cls.__module__, *plugins.COUPLINGS)

    @abstractmethod
    def solve(self, pool: Pool) -> Pairing:
        """Pair a pool of n >= 2. The index may live on any device; the report holds what is natural
        here.

        Raises:
            CouplingError: the solver failed; never a fallback to another pairing.

        """

    def peak_bytes(self, n: int, d: int) -> int:
        """A low estimate of the memory that `solve` takes for n images of d values, in bytes beyond
        the pool itself.

        0, the default, promises nothing: such a coupling is refused no pool before an allocation
        fails.
        """
        return 0

    def solved_at_once(self, n: int, labels: Tensor | None = None) -> int:
        """How many of n images `solve` gets at once, where their labels are spread like these; `n`
        without labels.
        """
        return largest_class(n, labels) if self.within_class else n

    def check_size(
        self,
        n: int,
        d: int,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
        held: int = 0,
        available: float | None = None,
    ) -> None:
        """Refuse a pool that the solver cannot count or that memory cannot hold. Nothing is
        allocated for it.

        Args:
            n: images of the pool.
            d: values of an image.
            labels: of the pool, or of the training set that it is drawn from.
            device: where the pool is.
            held: bytes that the pool itself will take, where it is not in memory yet.
            available: bytes; asked of the system by default.

        Raises:
            CouplingError: with the sizes and the way out.

        """
        at_once = self.solved_at_once(n, labels)
        self.check_count(at_once)
        needed = held + self.peak_bytes(at_once, d)
        if available is None:
            # To ask the system takes longer than to couple a small pool.
            available = math.inf if needed <= SMALL_BYTES else memory.available_bytes(device)
        memory.check_fits(str(self), at_once, needed, available)

    def check_count(self, n: int) -> None:  # noqa: B027 - most solvers have no such limit
        """Refuse more images at once than the solver can handle on any machine.

        Raises:
            CouplingError: with the limit and the way out.

        """

    @property
    def permutes(self) -> bool:
        """Whether, with these options, the index is always a permutation."""
        return self.exact_noise_marginal

    @property
    def spec(self) -> str:
        """The canonical spec: the name and the options that differ from their defaults, in field
        order.
        """
        return spec.format_spec(self)

    def __str__(self) -> str:
        return self.spec

    def __post_init__(self):
        spec.check_options(self)

    def pair(
        self,
        images: Tensor,
        noise: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pairing:
        """Choose a noise for every image of a pool.

        Args: images: `[n, ...]`, any floating dtype, device and layout; never modified, no graph is
            kept. noise: the same shape and device. labels: `[n]` or `[n, k]`; only couplings with
            `uses_labels` or `within_class` look at them. generator: needed unless the coupling is
            `deterministic`.

        Raises: CouplingError: inputs do not fit or are not finite, a generator is missing, memory
            cannot hold the pool,
                or the solver failed.

        """
        with memory.shortage_explained(str(self), len(images)):
            return self._pair(check_pool(images, noise, labels, generator), images.device)

    def _pair(self, pool: Pool, device: torch.device) -> Pairing:
        """`pair` for a checked pool; the index is returned on the device."""
        n = len(pool.images)
        cost_before = cost.mean_pair_cost(pool.images, pool.noise)
        if not math.isfinite(cost_before):
            raise _not_finite(pool)
        start = time.perf_counter()
        if n < 2:
            solved = Pairing(torch.arange(n, device="cpu"))
        else:
            self.check_size(n, pool.images.shape[1], pool.labels, pool.images.device)
            # Under autocast the cost matrix would be computed in half precision.
            with torch.no_grad(), torch.autocast(pool.images.device.type, enabled=False):
                solved = (
                    pair_within_classes(pool, self.solve) if self.within_class else self.solve(pool)
                )
        index = torch.as_tensor(solved.index, dtype=torch.int64, device="cpu")
        seconds = time.perf_counter() - start
        duplicates = self._check_index(index, n)
        report = {
            "cost_before": cost_before,
            "cost_after": _cost_after(pool, index, cost_before, solved.saving),
            "seconds": seconds,
            "converged": 1.0,
            "duplicates": duplicates,
        }
        return Pairing(
            index.to(device), report | {key: float(value) for key, value in solved.report.items()}
        )

    def _check_index(self, index: Tensor, n: int) -> float:
        """The fraction of repeated noises; refuses an index that is not what the coupling promises."""
        columns = index.numpy()
        valid = columns.shape == (n,) and (n == 0 or (columns.min() >= 0 and columns.max() < n))
        distinct = int(np.count_nonzero(np.bincount(columns))) if valid else 0
        if not valid or (self.permutes and distinct < n):
            raise CouplingError(
                f"{self}: the solver returned no valid pairing of {n}; please report this pool as"
                " a bug"
            )
        return 1 - distinct / n if n else 0.0


def largest_class(n: int, labels: Tensor | None) -> int:
    """How many of n images the largest class has, where their labels `[m]` or `[m, k]` are spread
    like these.
    """
    if labels is None or not len(labels):
        return n
    counts = torch.unique(labels, dim=0, return_counts=True)[1]
    return n * int(counts.max()) // len(labels)


def pair_within_classes(pool: Pool, solve: Callable[[Pool], Pairing]) -> Pairing:
    """Solve among the images and noises of each label by itself.

    A class of one has nothing to choose: its image keeps its own noise, and no solver sees it.

    The report holds, of every key of the classes' reports, the mean over the classes that were
    solved (of two images or more), weighted by their sizes; with no such class, no such key.
    `classes` is the number of all classes and `singletons` the number of those of one image. What
    `Coupling.pair` adds, such as `cost_after` and `duplicates`, is of the whole pool.

    Raises:
        CouplingError: the pool has no labels.

    """
    require(
        pool.labels is not None,
        "pairing within classes needs labels: pass labels=[n] or drop within_class",
    )
    kinds, kind = torch.unique(pool.labels, dim=0, return_inverse=True)
    n, device = len(pool.images), pool.images.device
    index = torch.arange(n, device=device)
    sizes, reports = [], []
    for which in range(len(kinds)):
        rows = (kind == which).nonzero()[:, 0].to(device)
        if len(rows) < 2:
            continue
        part = Pool(
            pool.images[rows],
            pool.noise[rows],
            pool.labels[rows.to(pool.labels.device)],
            pool.generator,
        )
        solved = solve(part)
        index[rows] = rows[torch.as_tensor(solved.index, dtype=torch.int64, device=device)]
        sizes.append(len(rows))
        reports.append(solved.report)
    counts = {"classes": len(kinds), "singletons": len(kinds) - len(sizes)}
    return Pairing(index, weighted_means(reports, sizes) | counts)


def weighted_means(reports: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """Of every key, the mean over the reports that have it, weighted by size."""
    totals, weights = {}, {}
    for report, size in zip(reports, sizes, strict=True):
        for key, value in report.items():
            totals[key] = totals.get(key, 0.0) + value * size
            weights[key] = weights.get(key, 0) + size
    return {key: total / weights[key] for key, total in totals.items()}


def _cost_after(pool: Pool, index: Tensor, cost_before: float, saving: Saving | None) -> float:
    """The mean squared distance as paired: by the saving where that keeps its digits, which takes a
    fifth off the time of a pool of 128; else from the data.
    """
    if saving is not None:
        cost_after = cost_before - saving.mean
        # The sum of float32 squares is itself good to about 2^-23.
        if saving.error + cost_before * 2.0**-23 <= SAVING_TOLERANCE * cost_after:
            return cost_after
    return cost.mean_pair_cost(pool.images, pool.noise, index.to(pool.images.device))


def check_pool(
    images: Tensor, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None
) -> Pool:
    """Refuse what cannot be paired; flatten the rest to `[n, d]`."""
    for what, tensor in (("images", images), ("noise", noise)):
        require(
            isinstance(tensor, Tensor),
            f"{what} must be a torch tensor, got {type(tensor).__name__}",
        )
        require(
            tensor.is_floating_point(),
            f"{what} are {tensor.dtype}: scale them to floating point first",
        )
        require(tensor.dim() > 0, f"{what} must have shape [n, ...], got a scalar")
    shapes = f"images {list(images.shape)}, noise {list(noise.shape)}"
    require(images.shape == noise.shape, f"images and noise must have one shape: {shapes}")
    require(
        images.device == noise.device,
        f"images on {images.device}, noise on {noise.device}: move one of them",
    )
    require(
        len(images) == 0 or images.numel() > 0,
        f"nothing to compare in an image without pixels: {shapes}",
    )
    if labels is not None:
        require(isinstance(labels, Tensor) and labels.dim() > 0, "labels must be a tensor [n, ...]")
        require(len(labels) == len(images), f"{len(labels)} labels for {len(images)} images")
    known = generator is None or isinstance(generator, torch.Generator)
    require(
        known,
        f"generator must be a torch.Generator, got {generator!r}:"
        " torch.Generator().manual_seed(seed)",
    )
    x, y = flatten(images), flatten(noise)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return Pool(x.to(dtype), y.to(dtype), labels, generator)


def flatten(tensor: Tensor) -> Tensor:
    """`[n, ...]` of any floating dtype to `[n, d]` float32 or float64."""
    tensor = tensor.detach()
    if tensor.device.type != "cuda":
        tensor = tensor.cpu()  # other accelerators lack float64
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.to(dtype).reshape(len(tensor), math.prod(tensor.shape[1:]))


def flatten_finite(tensor: Tensor, what: str) -> Tensor:
    """`flatten`, refusing NaN, infinity, and values whose squares overflow."""
    flat = flatten(tensor)
    peak = float(flat.abs().max()) if flat.numel() else 0.0
    require(math.isfinite(peak), f"{what} hold NaN or infinity: drop those samples before pairing")
    require(
        peak <= LARGEST_VALUE, f"{what} reach {peak:.3g} and their squares overflow: rescale them"
    )
    return flat


def _not_finite(pool: Pool) -> CouplingError:
    """The error for a pool whose squared distances are not finite: which tensor is to blame."""
    peaks = {"images": float(pool.images.abs().max()), "noise": float(pool.noise.abs().max())}
    for what, peak in peaks.items():
        if not math.isfinite(peak):
            return CouplingError(f"{what} hold NaN or infinity: drop those samples before pairing")
    what = max(peaks, key=peaks.get)
    return CouplingError(f"{what} reach {peaks[what]:.3g} and their squares overflow: rescale them")

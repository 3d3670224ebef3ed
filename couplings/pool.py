"""Pools: what a batch coupling takes, what it returns, and what it refuses."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from couplings.errors import CouplingError, require

# Squares of larger float64 values, summed over an image, leave the range of float64.
LARGEST_VALUE = 1e150


@dataclass(frozen=True)
class Saving:
    """By how much a pairing lowers the mean squared distance, and the error of that number."""

    mean: float
    error: float


@dataclass(frozen=True)
class Jitter:
    """Fresh Gaussian noise in every noise sample, `share` of its variance.

    Attributes:
        share: b in sqrt(1 - b) z + sqrt(b) e, from 0 to 1.
        seed: of the draw of e, which is N(0, I): if z is, so is the sum.

    """

    share: float
    seed: int

    def __call__(self, noise: Tensor) -> Tensor:
        """The noise samples `[n, ...]` with their share of fresh noise, the same in every call."""
        # Drawn on the CPU, where it is the same for noise of any device and dtype.
        generator = torch.Generator("cpu").manual_seed(self.seed)
        fresh = torch.randn(noise.shape, generator=generator, dtype=torch.float32, device="cpu")
        return math.sqrt(1 - self.share) * noise + math.sqrt(self.share) * fresh.to(noise)


@dataclass(frozen=True, eq=False)
class Pairing:
    """The result of a coupling.

    Attributes:
        index: `[n]` int64, on the device of the images; `noise[index[i]]` goes with `images[i]`.
        report: `cost_before` and `cost_after` (mean squared L2 distance of a pair, as given and as
            paired, for every cost that a solver may use), `seconds` (solver wall time, with its
            cost matrix), `converged` (1.0 or 0.0), `duplicates` (1 - distinct noise samples / n),
            and what is natural to the coupling.
        saving: from `Coupling.solve` only, if the solver's costs are squared distances; else None.
        weights: `[n]` float32 with mean 1, factors of the losses of the pairs; None for couplings
            that weigh all alike, as nearly all do.
        jitter: of couplings with that option, else None; `of` applies it.
        given_noise: `[n, ...]`, the noise as it was given to `Coupling.pair`.

    """

    index: Tensor
    report: dict[str, float] = field(default_factory=dict)
    saving: Saving | None = None
    weights: Tensor | None = None
    jitter: Jitter | None = None
    given_noise: Tensor | None = None

    @property
    def noise(self) -> Tensor:
        """`[n, ...]`, detached: `noise[i]` goes with `images[i]`; device and dtype as given.

        Raises:
            CouplingError: the pairing is not one of `Coupling.pair`.

        """
        require(
            self.given_noise is not None,
            "this pairing was made without noise: take that of coupling.pair(images, noise)",
        )
        # At each use, so that a trainer that takes the index pays for no second copy.
        return self.of(self.given_noise)

    def of(self, noise: Tensor) -> Tensor:
        """The noise `[n, ...]` as paired: row i goes with image i.

        It is `noise[index]`, with jitter if the coupling has that option.
        """
        paired = noise.detach()[self.index]
        return paired if self.jitter is None else self.jitter(paired)


@dataclass(frozen=True, eq=False)
class Pool:
    """A checked pool, as `Coupling.solve` gets it. Nothing in it may be modified in place.

    Attributes:
        images: `[n, d]` float32 or float64, detached, finite, on the CPU or a CUDA device.
        noise: `[n, d]`, likewise, in the dtype of the images.
        labels: `[n, ...]` as given, or None.
        generator: the source of all randomness, or None.
        shape: of an image as given, for couplings that call a network.

    """

    images: Tensor
    noise: Tensor
    labels: Tensor | None = None
    generator: torch.Generator | None = None
    shape: tuple[int, ...] = ()


def check_pool(
    images: Tensor, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None
) -> Pool:
    """Refuse what cannot be paired; flatten the rest to `[n, d]`.

    Raises:
        CouplingError: with the way out.

    """
    _check_tensor(images, "images")
    _check_tensor(noise, "noise")
    _check_shapes(images, noise)
    if labels is not None:
        require(isinstance(labels, Tensor) and labels.dim() > 0, "labels must be a tensor [n, ...]")
        require(len(labels) == len(images), f"{len(labels)} labels for {len(images)} images")
    # A seed instead of a generator is the usual slip.
    require(
        generator is None or isinstance(generator, torch.Generator),
        f"generator must be a torch.Generator, got {generator!r}:"
        " torch.Generator().manual_seed(seed)",
    )
    x = flatten(images)
    y = flatten(noise)
    # float64 images with float32 noise are common: float64 is NumPy's default.
    dtype = torch.promote_types(x.dtype, y.dtype)
    return Pool(x.to(dtype), y.to(dtype), labels, generator, tuple(images.shape[1:]))


def not_finite(pool: Pool) -> CouplingError:
    """The error for a pool whose squared distances are not finite; it names the tensor to blame."""
    peaks = {"images": float(pool.images.abs().max()), "noise": float(pool.noise.abs().max())}
    for what, peak in peaks.items():
        if not math.isfinite(peak):
            return CouplingError(f"{what} hold NaN or infinity: drop those samples before pairing")
    # All values are finite, so the largest of them overflow when they are squared.
    what = max(peaks, key=peaks.get)
    return CouplingError(f"{what} reach {peaks[what]:.3g} and their squares overflow: rescale them")


def flatten(tensor: Tensor) -> Tensor:
    """`[n, ...]` of any floating dtype to `[n, d]` float32 or float64."""
    tensor = tensor.detach()
    if not tensor.is_cuda:
        tensor = tensor.cpu()  # other accelerators lack float64
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    # An empty pool leaves nothing to infer a -1 from.
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


def _check_tensor(tensor: Tensor, what: str) -> None:
    require(
        isinstance(tensor, Tensor), f"{what} must be a torch tensor, got {type(tensor).__name__}"
    )
    # Pixels as bytes would be paired, but at a scale that no training uses.
    require(
        tensor.is_floating_point(), f"{what} are {tensor.dtype}: scale them to floating point first"
    )
    require(tensor.dim() > 0, f"{what} must have shape [n, ...], got a scalar")


def _check_shapes(images: Tensor, noise: Tensor) -> None:
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

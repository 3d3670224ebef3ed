"""The contract of a dataset coupling: fitted once on the whole training set, kept in a file,
refused on other data.

    sd = get("semidiscrete").fit(images, generator=generator, checkpoint="potential.safetensors")
    index = sd.assign(noise)                       # images[index[i]] goes with noise[i]

What `fit` returns maps in the direction natural to the coupling: `assign(noise)` chooses images for
noises (semidiscrete), `pair(index)` chooses noises for images (cached). A trainer that wants to
know of neither calls `couple`, which all of them have.
"""

import hashlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from couplings import plugins, spec
from couplings.contract import flatten_finite
from couplings.errors import CouplingError, require


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A checked training set, as `DatasetCoupling.begin` gets it. Nothing in it may be modified in
    place.

    Attributes:
        images: `[n, ...]` float32 or float64, detached and finite, n >= 1.
        labels: `[n]` or `[n, k]` on the CPU, or None.
        rows: n digests, one an image; equal images have equal digests.
        checksum: of images and labels together, in order.

    """

    images: Tensor
    labels: Tensor | None
    rows: tuple[bytes, ...]
    checksum: bytes


@dataclass(frozen=True, eq=False)
class DatasetPairing:
    """Pairs of a training set and noise: `images[index[i]]` goes with `noise[i]`.

    Attributes:
        index: `[n]` int64 into the training set; see `Fitted.take`.
        noise: `[n, ...]`, of the images' shape.

    """

    index: Tensor
    noise: Tensor


class Fitted(ABC):
    """What `fit` returns: the state of a coupling on its training set.

    `report` holds what the fit did, among it `seconds` over all sittings.
    """

    report: dict[str, float]
    learns: ClassVar[bool] = False  # `couple` changes the state, so a trainer must keep it

    @abstractmethod
    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """A pool of a training loop: choose images or noises, whichever is natural to the coupling.

        Args: index: `[n]` int64, the images that a trainer without coupling would take. noise: `[n,
            ...]`, the noises that it would give them. labels: `[n]` or `[n, k]`, of those images;
            the pairs have the same classes where the coupling keeps
                classes apart.

        Raises:
            CouplingError: inputs do not fit the training set.

        """

    def take(self, images: Tensor, index: Tensor) -> Tensor:
        """The images of an index of `couple`, `[n, ...]`, given the training set `[N, ...]` in any
        dtype.
        """
        return images[index]

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """All that was learned, and the checksum of the data and the options it was learned with."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over a state.

        Raises:
            CouplingError: it was learned on other data or with other options.

        """

    @abstractmethod
    def run(self, save: Callable[[], None]) -> None:
        """Go on with the fit until it is done, calling `save` now and then."""


@dataclass(frozen=True, kw_only=True)
class DatasetCoupling(ABC):
    """A dataset coupling: a frozen dataclass whose fields are its options.

    The class variables state what the coupling keeps at its default options; the tests check them.
    """

    name: ClassVar[str]  # of its file, or the path of its module
    kind: ClassVar[str] = "dataset"
    exact_noise_marginal: ClassVar[bool] = True  # the noises of the pairs are N(0, I)
    exact_data_marginal: ClassVar[bool] = True  # every image comes equally often
    uses_labels: ClassVar[bool] = False  # the labels change the pairing
    deterministic: ClassVar[bool] = False  # needs no generator

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.name = plugins.name_of(cls.__module__, *plugins.COUPLINGS)

    @abstractmethod
    def begin(self, data: TrainingSet, seed: int) -> Fitted:
        """The state before the first step. All randomness of the fit comes from `seed`."""

    @property
    def problem(self) -> str:
        """The canonical spec without the options that only say how long to fit."""
        return self.spec

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

    def fit(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        checkpoint: str | os.PathLike | None = None,
    ) -> Any:
        """Fit on the training set, on the device of the images.

        Args: images: `[n, ...]`, any floating dtype, never modified. labels: `[n]` or `[n, k]`, for
            couplings whose options ask for them. generator: the source of all randomness; only a
            fit that goes on from a checkpoint needs none. checkpoint: a safetensors file. If it
            exists, the fit goes on from it, which for a finished fit means
                that it is read and nothing is computed; the file is rewritten whole as the fit
                advances.

        Raises: CouplingError: inputs do not fit, a checkpoint of other data or options, or no
            convergence.

        """
        path = Path(checkpoint) if checkpoint is not None else None
        if path is not None and path.exists():
            fitted = self.load(path, images, labels)
        else:
            require(
                generator is not None, f"{self}: pass generator=torch.Generator().manual_seed(seed)"
            )
            fitted = self.begin(training_set(images, labels), _draw_seed(generator))
        save = (
            (lambda: write_state(path, fitted.state_dict())) if path is not None else (lambda: None)
        )
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            fitted.run(save)
        return fitted

    def load(self, path: str | os.PathLike, images: Tensor, labels: Tensor | None = None) -> Any:
        """The state of a file, with the training set it was fitted on; see `fit`.

        Raises:
            CouplingError: no such file, or it belongs to other data or options.

        """
        fitted = self.begin(training_set(images, labels), 0)
        fitted.load_state_dict(read_state(path))
        return fitted

    def pair(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a pool is not enough.

        Raises:
            CouplingError: always.

        """
        raise CouplingError(
            f"{self} is fitted on a whole data set: get({self.spec!r}).fit(images, generator=...)"
        )


def training_set(images: Tensor, labels: Tensor | None = None) -> TrainingSet:
    """Check a training set and take its checksum.

    Raises: CouplingError: nothing to fit on, not floating point, not finite, or labels of another
        length.

    """
    require(isinstance(images, Tensor) and images.dim() > 1, "images must be a tensor [n, ...]")
    require(
        images.is_floating_point(), f"images are {images.dtype}: scale them to floating point first"
    )
    require(images.numel() > 0, f"nothing to fit on: images {list(images.shape)}")
    flat = flatten_finite(images, "images")
    if labels is not None:
        require(
            isinstance(labels, Tensor) and labels.dim() in (1, 2),
            "labels must be a tensor [n] or [n, k]",
        )
        require(len(labels) == len(images), f"{len(labels)} labels for {len(images)} images")
        labels = labels.detach().cpu()
    rows = tuple(_digest(row) for row in flat.cpu().contiguous().numpy())
    whole = hashlib.sha256(repr((tuple(images.shape), flat.dtype)).encode())
    whole.update(b"".join(rows))
    if labels is not None:
        whole.update(labels.contiguous().numpy().tobytes())
    return TrainingSet(flat.reshape(images.shape), labels, rows, whole.digest())


def groups(labels: Tensor | None, n: int) -> tuple[Tensor, list[Tensor]]:
    """The distinct labels `[g, ...]` and, for each, the indices `[m]` of its images; one group
    without labels.
    """
    if labels is None:
        return torch.zeros(1, dtype=torch.int64, device="cpu"), [torch.arange(n, device="cpu")]
    values, inverse = labels.cpu().unique(dim=0, return_inverse=True)
    return values, [(inverse == g).nonzero()[:, 0] for g in range(len(values))]


def stream(seed: int, *axes: str | int) -> int:
    """A 63-bit seed found by what it is for, never by how much was drawn before: a resumed fit
    needs no more.
    """
    text = "/".join(map(str, (seed, *axes)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stamp(data: TrainingSet, coupling: DatasetCoupling) -> dict[str, Tensor]:
    """What ties a state to its data and its options, as tensors `[...]` uint8."""
    return {"data": _bytes(data.checksum), "problem": _bytes(coupling.problem.encode())}


def check_stamp(state: dict[str, Tensor], data: TrainingSet, coupling: DatasetCoupling) -> None:
    """Refuse a state that was learned with other options or on other data."""
    require({"data", "problem"} <= state.keys(), "this is no state of a dataset coupling: fit anew")
    problem = bytes(state["problem"].tolist()).decode()
    require(
        problem == coupling.problem,
        f"the state was fitted as {problem!r}, not {coupling.problem!r}: fit anew",
    )
    same = bytes(state["data"].tolist()) == data.checksum
    require(
        same,
        "the state was fitted on other images or labels: pass the training set it was fitted on, or"
        " fit anew",
    )


def write_state(path: str | os.PathLike, state: dict[str, Tensor]) -> None:
    """Write a state as safetensors, whole or not at all."""
    from safetensors.torch import save

    _write_bytes(
        Path(path), save({key: value.detach().cpu().contiguous() for key, value in state.items()})
    )


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Made by the kernel with mode 0666 less the umask; files of `tempfile` are readable by
        # their owner only. The same function is in `bench.record`, for `couplings` imports no other
        # package.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """The state of a file.

    Raises:
        CouplingError: no such file, one that must not be read, or no safetensors.

    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # By Python: safetensors calls every file that it cannot open one that is missing.
        return load(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise CouplingError(f"no file {path}: fit with checkpoint= first") from error
    except OSError as error:
        raise CouplingError(
            f"{path} cannot be read ({error.strerror}): make it readable, or fit anew"
        ) from error
    except SafetensorError as error:
        raise CouplingError(
            f"{path} is no safetensors file ({error}): remove it and fit anew"
        ) from error


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _digest(row: Any) -> bytes:
    # Adding zero turns -0.0 into 0.0: equal images must have equal digests.
    return hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()


def _bytes(data: bytes) -> Tensor:
    return torch.tensor(list(data), dtype=torch.uint8, device="cpu")

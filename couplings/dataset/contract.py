"""The contract of a dataset coupling: fitted once on the whole training set and kept in a file.

    sd = get("semidiscrete").fit(images, generator=generator, checkpoint="potential.safetensors")
    index = sd.assign(noise)                       # images[index[i]] goes with noise[i]

The result of `fit` maps in the direction natural to the coupling: `assign(noise)` chooses images
for noise samples (semidiscrete), `pair(index)` chooses noise samples for images (cached). A trainer
that should work with either calls `couple`, which all of them have. A file is refused on other
data.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from couplings._options import WithOptions
from couplings._streams import stream
from couplings.dataset._state import check_format_is_known, read_state, write_state
from couplings.dataset._training_set import TrainingSet, groups, training_set
from couplings.errors import CouplingError, require

__all__ = [
    "DatasetCoupling",
    "DatasetPairing",
    "Fitted",
    "Model",
    "TrainingSet",
    "check_stamp",
    "groups",
    "read_state",
    "stamp",
    "stream",
    "training_set",
    "write_state",
]


@dataclass(frozen=True, eq=False)
class DatasetPairing:
    """Pairs of a training set and noise: `images[index[i]]` goes with `noise[i]`.

    Attributes:
        index: `[n]` int64 into the training set; see `Fitted.take`.
        noise: `[n, ...]`, of the images' shape.

    """

    index: Tensor
    noise: Tensor


class Model(Protocol):
    """A trained generative model, as a trainer hands it to couplings that need one.

    A model may have an attribute `evaluations`, the number of its network evaluations so far: one
    for each image each time the network runs. A fit then reports how many it took.
    """

    def __call__(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """The images `[b, ...]` of noise samples `[b, ...]`, the same in every call.

        Labels `[b, ...]` are those of the training set; None asks for no class.
        """
        ...


class Fitted(ABC):
    """The result of `fit`: the state of a coupling on its training set.

    `report` describes the fit, with `seconds` summed over all sessions.
    """

    report: dict[str, float]
    learns: ClassVar[bool] = False  # `couple` changes the state, so a trainer must save it
    model: Model | None = None  # of couplings with `needs_model`, while they are fitted

    @abstractmethod
    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """Pair a pool of a training loop: choose images or noise, whichever the coupling does.

        Args:
            index: `[n]` int64, the images that a trainer without coupling would take.
            noise: `[n, ...]`, the noise samples that it would give them.
            labels: `[n]` or `[n, k]`, of those images; the pairs have the same classes if the
                coupling pairs within classes.

        Raises:
            CouplingError: inputs do not fit the training set.

        """

    def take(self, images: Tensor, index: Tensor) -> Tensor:
        """The images `[n, ...]` of an index of `couple`.

        Args:
            images: `[N, ...]`, the training set in any dtype.
            index: `[n]`.

        """
        return images[index]

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """All that was learned, with the checksum of the data and the options."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Replace the state.

        Raises:
            CouplingError: it was learned on other data or with other options.

        """

    @abstractmethod
    def run(self, save: Callable[[], None]) -> None:
        """Continue the fit until it is done, calling `save` now and then."""


@dataclass(frozen=True, kw_only=True)
class DatasetCoupling(WithOptions, ABC):
    """A dataset coupling: a frozen dataclass whose fields are its options.

    The class variables state what the coupling keeps at its default options; the tests check them.
    """

    kind: ClassVar[str] = "dataset"
    exact_noise_marginal: ClassVar[bool] = True  # the noise of the pairs is N(0, I)
    exact_data_marginal: ClassVar[bool] = True  # every image comes equally often
    uses_labels: ClassVar[bool] = False  # the labels change the pairing
    deterministic: ClassVar[bool] = False  # needs no generator
    independent: ClassVar[bool] = False  # its pairs are independent, with any options
    needs_model: ClassVar[bool] = False  # a trained model makes its pairs

    @abstractmethod
    def begin(self, data: TrainingSet, seed: int) -> Fitted:
        """The state before the first step. All randomness of the fit comes from `seed`."""

    @property
    def problem(self) -> str:
        """The canonical spec without the options that only say how long to fit."""
        return self.spec

    def check_values(self, d: int) -> None:  # noqa: B027 - most fits take images of any size
        """Refuse images of d values if no fit suits them, before anything is trained.

        Raises:
            CouplingError: with the way out.

        """

    def fit(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        checkpoint: str | os.PathLike | None = None,
        model: Model | None = None,
    ) -> Any:
        """Fit on the training set, on the device of the images.

        Args:
            images: `[n, ...]`, any floating dtype, never modified.
            labels: `[n]` or `[n, k]`, for couplings whose options ask for them.
            generator: the source of all randomness; a fit resumed from a checkpoint needs none.
            checkpoint: a safetensors file. If it exists, the fit resumes from it; a finished fit is
                read and nothing is computed. The file is rewritten whole as the fit advances.
            model: for couplings with `needs_model`; a finished fit needs none, and checks one that
                is given.

        Raises:
            CouplingError: inputs do not fit, a checkpoint of other data or options or of another
                model, no convergence, or safetensors is not installed.

        """
        path = Path(checkpoint) if checkpoint is not None else None
        if path is not None:
            check_format_is_known()
        if path is not None and path.exists():
            fitted = self.load(path, images, labels)
        else:
            require(
                generator is not None, f"{self}: pass generator=torch.Generator().manual_seed(seed)"
            )
            fitted = self.begin(training_set(images, labels), _draw_seed(generator))
        if model is not None:
            fitted.model = model

        def save() -> None:
            if path is not None:
                write_state(path, fitted.state_dict())

        # Under autocast the scores would be computed in half precision.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            fitted.run(save)
        return fitted

    def load(self, path: str | os.PathLike, images: Tensor, labels: Tensor | None = None) -> Any:
        """The state of a file, with the training set it was fitted on; see `fit`.

        Raises:
            CouplingError: no such file, or it belongs to other data or options.

        """
        # The file holds the seed of the fit, so any seed does here.
        fitted = self.begin(training_set(images, labels), 0)
        fitted.load_state_dict(read_state(path))
        return fitted

    def pair(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to pair: this method of batch couplings exists here only for its message.

        Raises:
            CouplingError: always.

        """
        raise CouplingError(
            f"{self} is fitted on a whole data set: get({self.spec!r}).fit(images, generator=...)"
        )


def stamp(data: TrainingSet, coupling: DatasetCoupling) -> dict[str, Tensor]:
    """The entries that tie a state to its data and its options, as tensors `[...]` uint8."""
    return {"data": _bytes(data.checksum), "problem": _bytes(coupling.problem.encode())}


def check_stamp(state: dict[str, Tensor], data: TrainingSet, coupling: DatasetCoupling) -> None:
    """Refuse a state that was learned with other options or on other data.

    Raises:
        CouplingError: with the way out.

    """
    is_state = {"data", "problem"} <= state.keys()
    require(is_state, "this is no state of a dataset coupling: fit again")
    problem = bytes(state["problem"].tolist()).decode()
    require(
        problem == coupling.problem,
        f"the state was fitted as {problem!r}, not {coupling.problem!r}: fit again",
    )
    require(
        bytes(state["data"].tolist()) == data.checksum,
        "the state was fitted on other images or labels: pass the training set it was fitted on, or"
        " fit again",
    )


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _bytes(data: bytes) -> Tensor:
    return torch.tensor(list(data), dtype=torch.uint8, device="cpu")

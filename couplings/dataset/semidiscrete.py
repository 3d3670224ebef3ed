"""Semi-discrete optimal transport: an exact map from noise to the whole training set."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from couplings.dataset._cells import Cells, leading_components
from couplings.dataset._progress import progress_bar
from couplings.dataset._solver import Solver
from couplings.dataset.contract import (
    DatasetCoupling,
    DatasetPairing,
    Fitted,
    TrainingSet,
    check_stamp,
    groups,
    stamp,
    stream,
)
from couplings.errors import require
from couplings.pool import flatten_finite

# Scores held at once, 256 MB in float32.
SCORES = 1 << 26
PROJECT = re.compile(r"pca:([1-9]\d*)")
# The progress of the solver of every class, in the files of fits, and its types there.
PROGRESS = {
    "step": torch.int64,
    "chi2": torch.float64,
    "averaged": torch.int64,
    "best": torch.float64,
    "confirmed": torch.bool,
    "since": torch.int64,
    "head": torch.float64,
    "before": torch.float64,
}


@dataclass(frozen=True, kw_only=True)
class SemiDiscrete(DatasetCoupling):
    """The optimal transport map from N(0, I) to the training set, for squared L2 or -<x, y>.

    Unlike the plan of a mini-batch it does not depend on the batch size: noise x goes with the
    image of largest <x, y_j> + h_j. The potential h is fitted once: in closed form on the line,
    else by averaged stochastic gradient steps, which begin from a fit of a sixth of the images, or
    by Newton steps where those stall (see `couplings.dataset._solver`). The fit ends when the
    images come equally often: when the unbiased chi-square of their frequencies is at most
    `max_chi2`.

    Options:
        max_chi2: where the fit stops; gains in quality saturate at about 0.05 (arXiv 2509.25519).
        steps: a fit that needs more is refused, never cut short; with a checkpoint it can be
            resumed. A Newton step counts as the gradient steps that use as much noise.
        batch: noise samples per step.
        rate: of the steps, in units of the images' length; see `Solver.descend`.
        project: `pca:K` measures <x, y> in the K leading principal components, K / d of the work:
            500 hold 98 % of the variance of CIFAR-10. The noise keeps its law.
        flips: fit on 2n targets, the images and their mirror images; `assign` then returns indices
            up to 2n - 1, which `mirrored` turns into images.
        per_class: one potential for each label; `fit` and `assign` then need labels.

    Cost: O(n d) time for each noise sample, in the fit and when it is assigned; O(n) state.

    Source: Mousavi-Hosseini et al. 2025 (arXiv 2509.25519); Kong et al. 2025 (arXiv 2510.15038).
    """

    max_chi2: float = 0.01
    steps: int = 10_000
    batch: int = 4096
    rate: float = 0.2
    project: str | None = None
    flips: bool = False
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_chi2 > 0, f"{self.name}: max_chi2 must be above 0, got {self.max_chi2}")
        require(self.steps > 0, f"{self.name}: steps must be above 0, got {self.steps}")
        require(self.batch > 1, f"{self.name}: batch must be above 1, got {self.batch}")
        require(self.rate > 0, f"{self.name}: rate must be above 0, got {self.rate}")
        is_known = self.project is None or bool(PROJECT.fullmatch(self.project))
        require(is_known, f"{self.name}: project must be pca:K or none, got {self.project!r}")

    @property
    def problem(self) -> str:
        """The spec without `steps` and `max_chi2`, which a resumed fit may change."""
        same_end = dataclasses.replace(
            self, steps=SemiDiscrete.steps, max_chi2=SemiDiscrete.max_chi2
        )
        return same_end.spec

    @property
    def components(self) -> int | None:
        """K of `project=pca:K`; None without a projection."""
        return None if self.project is None else int(PROJECT.fullmatch(self.project)[1])

    def check_values(self, d: int) -> None:
        """Refuse more principal components than an image of d values has."""
        require(
            self.components is None or self.components <= d,
            f"{self}: the images have {d} values each: take pca:K with K up to {d}",
        )

    def begin(self, data: TrainingSet, seed: int) -> "SemiDiscreteMap":
        """The map with all potentials 0."""
        require(
            not self.per_class or data.labels is not None, f"{self}: per_class=true needs labels"
        )
        return SemiDiscreteMap(self, data, seed)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores <x, y> + h of some noise samples, all of one class with `per_class`.

    Attributes:
        rows: `[b]` int64, the noise samples.
        values: `[b, m]`, one column for each distinct image, on the device of the fit.
        index: `[m]` int64, the first of the equal images of each column, as `assign` gives it.
        weights: `[m]` float64, the share of the images that are equal to it.

    """

    rows: Tensor
    values: Tensor
    index: Tensor
    weights: Tensor


class SemiDiscreteMap(Fitted):
    """The fitted map; see `SemiDiscrete`.

    Attributes:
        report: `steps`, `noises` (samples of all steps), `chi2` (the largest of the classes),
            `seconds`, `targets`.

    """

    def __init__(self, coupling: SemiDiscrete, data: TrainingSet, seed: int):
        self.coupling = coupling
        self.data = data
        self.seed = seed
        self.seconds = 0.0
        self.shape = data.images.shape[1:]
        targets, rows, labels = _targets(coupling, data)
        self.basis = _basis(coupling, targets)
        if self.basis is not None:
            targets = targets @ self.basis
        self.values, members = groups(labels, len(targets))
        self.cells = [
            Cells(targets, rows, member, stream(seed, g)) for g, member in enumerate(members)
        ]

    @property
    def report(self) -> dict[str, float]:  # type: ignore[override] # counted when asked for
        """The state of the fit so far."""
        steps = sum(float(cells.dual.step) for cells in self.cells)
        return {
            "steps": steps,
            "noises": steps * self.coupling.batch,
            "chi2": max(cells.dual.chi2 for cells in self.cells),
            "seconds": self.seconds,
            "targets": float(sum(len(cells.dual.targets) for cells in self.cells)),
        }

    @torch.no_grad()
    def assign(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The index of the image of every noise sample.

        Args:
            noise: `[n, ...]` of the images' shape, unit variance, finite.
            labels: `[n]` or `[n, k]`, the classes wanted; needed with `per_class`, else ignored.

        Returns:
            `[n]` int64 on the device of the noise; `images[index[i]]` goes with `noise[i]`.

        Raises:
            CouplingError: another shape, noise that is not finite, missing or unknown labels.

        """
        projected = self.project(noise)
        index = torch.empty(len(noise), dtype=torch.int64, device=projected.device)
        for cells, rows in zip(self.cells, self._rows(len(noise), labels), strict=True):
            index[rows] = cells.assign(projected[rows])
        return index.to(noise.device)

    @torch.no_grad()
    def scores(
        self, noise: Tensor, labels: Tensor | None = None, at_once: int = SCORES
    ) -> Iterator[Scores]:
        """The score of every image for every noise sample, in chunks of `at_once` scores.

        Further arguments and errors are those of `assign`.
        """
        projected = self.project(noise)
        for cells, rows in zip(self.cells, self._rows(len(noise), labels), strict=True):
            dual = cells.dual
            index = cells.first
            potential = dual.average.to(projected)
            for part in rows.to(projected.device).split(max(1, at_once // len(index))):
                values = torch.addmm(potential, projected[part], dual.targets.T)
                yield Scores(part, values, index, dual.weights)

    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """Each noise sample as given, with its image; the images drawn do not matter."""
        return DatasetPairing(self.assign(noise, labels), noise)

    def take(self, images: Tensor, index: Tensor) -> Tensor:
        """The images of an index of `assign`; see `mirrored`."""
        return self.mirrored(images, index.to(images.device))

    def mirrored(self, images: Tensor, index: Tensor) -> Tensor:
        """The images `[m, ...]` of an index of `assign`: with `flips` mirrored from n on."""
        n = len(images)
        flipped = (index >= n).reshape(-1, *[1] * (images.dim() - 1))
        chosen = images[index % n]
        return torch.where(flipped, chosen.flip(-1), chosen)

    def project(self, noise: Tensor) -> Tensor:
        """The noise `[n, ...]` as `[n, K]`, the space of the scores, on the device of the fit."""
        require(
            noise.shape[1:] == self.shape,
            f"noise {list(noise.shape)} for images [n, {list(self.shape)}]",
        )
        flat = flatten_finite(noise, "noise").to(self.cells[0].dual.targets)
        if self.basis is None:
            return flat
        # Under autocast the product would be computed in half precision.
        with torch.autocast(flat.device.type, enabled=False):
            return flat @ self.basis

    def run(self, save: Callable[[], None]) -> None:
        """Fit every class to `max_chi2`; saves when a class is checked and at the end.

        Raises:
            CouplingError: `steps` were not enough.

        """
        options = self.coupling
        for g, cells in enumerate(self.cells):
            dual = cells.dual
            which = f"class {g + 1} of {len(self.cells)}: " if len(self.cells) > 1 else ""
            with progress_bar(f"{which}semi-dual", options.steps, dual.step) as bar:
                self._solve(dual, bar, save)
            save()
            way_out = "raise steps (a checkpoint resumes) or max_chi2, or try another rate"
            if dual.stalled:
                way_out = (
                    "more steps do not help: raise batch or max_chi2, lower rate, or pass float64"
                    " images"
                )
            result = f"chi-square {dual.chi2:.3g} > {options.max_chi2:g} after {dual.step} steps"
            require(dual.chi2 <= options.max_chi2, f"{options}: {which}{result}: {way_out}")

    def _solve(self, dual: Solver, bar: Any, save: Callable[[], None]) -> None:
        """Solve one problem, with a progress bar, and count the seconds."""
        options = self.coupling
        last = time.perf_counter()

        # At every step, so that a fit killed later has the right time in its last file.
        def count_time() -> None:
            nonlocal last
            now = time.perf_counter()
            self.seconds += now - last
            last = now

        def progress() -> None:
            count_time()
            bar.update(dual.step - bar.n)
            if dual.is_due:
                bar.set_postfix(chi2=f"{dual.chi2:.3g}")
                save()

        dual.solve(options.steps, options.batch, options.rate, options.max_chi2, progress)
        if dual.step == 0 and not self.seconds:
            count_time()  # a closed form takes no step

    def state_dict(self) -> dict[str, Tensor]:
        """Potentials and progress of all classes one after the other, and the seed."""
        duals = [cells.dual for cells in self.cells]
        state = stamp(self.data, self.coupling) | {
            "potential": torch.cat([dual.potential for dual in duals]).cpu(),
            "average": torch.cat([dual.average for dual in duals]).cpu(),
        }
        for key, dtype in PROGRESS.items():
            of_classes = [getattr(dual, key) for dual in duals]
            state[key] = torch.tensor(of_classes, dtype=dtype, device="cpu")
        state["seed"] = torch.tensor(self.seed, device="cpu")
        state["seconds"] = torch.tensor(self.seconds, dtype=torch.float64, device="cpu")
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state of the same images, labels and options; see `Fitted.load_state_dict`."""
        check_stamp(state, self.data, self.coupling)
        # Steps of two versions must not mix: their sizes and starts differ.
        is_finished = bool((state["chi2"] <= self.coupling.max_chi2).all())
        require(
            "head" in state or is_finished,
            "a fit of an earlier version cannot be continued: delete its file, such as"
            " .cache/semidiscrete-*.safetensors in the folder of the runs, and fit again",
        )
        self.seed = int(state["seed"])
        self.seconds = float(state["seconds"])
        first = 0
        for g, cells in enumerate(self.cells):
            dual = cells.dual
            part = slice(first, first + len(dual.targets))
            first = part.stop
            dual.potential = state["potential"][part].to(dual.weights, copy=True)
            dual.average = state["average"][part].to(dual.weights, copy=True)
            dual.seed = stream(self.seed, g)
            # Finished files of earlier versions may lack this and other entries.
            dual.confirmed = True
            for key in PROGRESS.keys() & state.keys():
                setattr(dual, key, state[key][g].item())

    def _rows(self, n: int, labels: Tensor | None) -> list[Tensor]:
        """The noise samples of every class; each is in one."""
        if not self.coupling.per_class:
            return [torch.arange(n, device="cpu")]
        require(
            labels is not None and len(labels) == n,
            f"{self.coupling}: per_class=true needs one label per noise sample",
        )
        wanted = labels.detach().cpu().reshape(n, -1)
        rows = [(wanted == value.reshape(1, -1)).all(1).nonzero()[:, 0] for value in self.values]
        require(
            sum(map(len, rows)) == n,
            f"{self.coupling}: a label that the training set does not hold",
        )
        return rows


def _targets(
    coupling: SemiDiscrete, data: TrainingSet
) -> tuple[Tensor, tuple[bytes, ...], Tensor | None]:
    """The targets `[N, d]`, their digests, and their labels if these matter."""
    images = data.images
    labels = data.labels if coupling.per_class else None
    if not coupling.flips:
        return images.flatten(1), data.rows, labels
    require(
        images.dim() > 2,
        f"{coupling}: flips=true needs images [n, ..., w], got {list(images.shape)}",
    )
    targets = torch.cat([images.flatten(1), images.flip(-1).flatten(1)])
    # The digest of a mirror image is not computed: a symmetric image may have two cells.
    rows = data.rows + tuple(row + b"mirrored" for row in data.rows)
    return targets, rows, None if labels is None else torch.cat([labels, labels])


def _basis(coupling: SemiDiscrete, targets: Tensor) -> Tensor | None:
    """The space that the scores are taken in, `[d, K]`, or None for all of it."""
    if coupling.project is None:
        return None
    coupling.check_values(targets.shape[1])
    return leading_components(targets, coupling.components)

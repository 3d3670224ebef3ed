"""Semi-discrete optimal transport: one potential for the whole training set, an exact map from
noise to images.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True, kw_only=True)
class SemiDiscrete(DatasetCoupling):
    """The optimal transport map from N(0, I) to the training set, for squared L2 or, the same map,
    -<x, y>.

    Unlike the plan of a mini-batch it does not depend on the batch size: noise x goes with the
    image of largest <x, y_j> + h_j. The potential h is fitted once: in closed form on the line,
    else by averaged stochastic gradient steps, or by Newton steps where those stall (see
    `couplings.dataset._solver`). The fit ends when the images come equally often: when the
    unbiased chi-square of their frequencies is at most `max_chi2`.

    Options: max_chi2: where the fit stops; gains in quality saturate at about 0.05 (arXiv
        2509.25519). steps: a fit that needs more is refused, never cut short; with a checkpoint it
        can be resumed. A Newton step
            counts as the gradient steps that use as much noise.
        batch: noise samples per step.
        rate: of the steps, in units of the images' length; see `Solver.descend`.
        project: `pca:K` measures <x, y> in the K leading principal components, K / d of the work:
            500 hold 98 % of the variance of CIFAR-10. The noise keeps its law.
        flips: fit on 2n targets, the images and their mirror images; `assign` then returns indices
            up to 2n - 1, which `mirrored` turns into images.
        per_class: one potential for each label; `fit` and `assign` then need labels.

    Source: Mousavi-Hosseini et al. 2025 (arXiv 2509.25519); Kong et al. 2025 (arXiv 2510.15038).
    """

    max_chi2: float = 0.01
    steps: int = 10_000
    batch: int = 4096
    rate: float = 0.2
    project: str | None = None
    flips: bool = False
    per_class: bool = False

    def __post_init__(self):
        super().__post_init__()
        require(self.max_chi2 > 0, f"{self.name}: max_chi2 must be above 0, got {self.max_chi2}")
        require(self.steps > 0, f"{self.name}: steps must be above 0, got {self.steps}")
        require(self.batch > 1, f"{self.name}: batch must be above 1, got {self.batch}")
        require(self.rate > 0, f"{self.name}: rate must be above 0, got {self.rate}")
        known = self.project is None or PROJECT.fullmatch(self.project)
        require(bool(known), f"{self.name}: project must be pca:K or none, got {self.project!r}")

    @property
    def problem(self) -> str:
        """The spec without `steps` and `max_chi2`, which a resumed fit may change."""
        return dataclasses.replace(
            self, steps=SemiDiscrete.steps, max_chi2=SemiDiscrete.max_chi2
        ).spec

    def begin(self, data: TrainingSet, seed: int) -> "SemiDiscreteMap":
        """The map with all potentials 0."""
        require(
            not self.per_class or data.labels is not None, f"{self}: per_class=true needs labels"
        )
        return SemiDiscreteMap(self, data, seed)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores <x, y> + h of some noise samples, all of one class where classes have potentials
    of their own.

    Attributes:
        rows: `[b]` int64, which noise samples.
        values: `[b, m]`, one column for each distinct image, on the device of the fit.
        index: `[m]` int64, the first of the images behind each column, as `assign` gives it.
        weights: `[m]` float64, the share of the images that are equal to it.

    """

    rows: Tensor
    values: Tensor
    index: Tensor
    weights: Tensor


class SemiDiscreteMap(Fitted):
    """The fitted map; see `SemiDiscrete`.

    Attributes: report: `steps`, `noises` (samples of all steps), `chi2` (the largest of the
        classes), `seconds`, `targets`.

    """

    def __init__(self, coupling: SemiDiscrete, data: TrainingSet, seed: int):
        self.coupling, self.seed = coupling, seed
        self._stamp_of = data
        images = data.images
        self.shape = images.shape[1:]
        targets = images.flatten(1)
        rows, labels = data.rows, data.labels if coupling.per_class else None
        if coupling.flips:
            require(
                images.dim() > 2,
                f"{coupling}: flips=true needs images [n, ..., w], got {list(images.shape)}",
            )
            targets = torch.cat([targets, images.flip(-1).flatten(1)])
            rows = rows + tuple(row + b"mirrored" for row in rows)
            labels = labels if labels is None else torch.cat([labels, labels])
        self.basis = _leading_components(targets, coupling.project)
        targets = targets if self.basis is None else targets @ self.basis
        self.values, members = groups(labels, len(targets))
        self.cells = [
            _Cells(targets, rows, member, stream(seed, g)) for g, member in enumerate(members)
        ]
        self.seconds = 0.0

    @property
    def report(self) -> dict[str, float]:
        """What the fit did so far."""
        steps = [float(cells.dual.step) for cells in self.cells]
        return {
            "steps": sum(steps),
            "noises": sum(steps) * self.coupling.batch,
            "chi2": max(cells.dual.chi2 for cells in self.cells),
            "seconds": self.seconds,
            "targets": float(sum(len(cells.dual.targets) for cells in self.cells)),
        }

    @torch.no_grad()
    def assign(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The index of the image of every noise sample.

        Args: noise: `[n, ...]` of the images' shape, unit variance, finite. labels: `[n]` or `[n,
            k]`, the classes wanted; needed with `per_class`, else not looked at.

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
    def scores(self, noise: Tensor, labels: Tensor | None = None) -> Iterator[Scores]:
        """How good every image is for every noise sample, chunk by chunk; arguments and errors as
        for `assign`.
        """
        projected = self.project(noise)
        for cells, rows in zip(self.cells, self._rows(len(noise), labels), strict=True):
            dual, index = cells.dual, cells.members[cells.offset]
            potential = dual.average.to(projected)
            for part in rows.to(projected.device).split(max(1, SCORES // len(index))):
                yield Scores(
                    part,
                    torch.addmm(potential, projected[part], dual.targets.T),
                    index,
                    dual.weights,
                )

    def couple(self, index: Tensor, noise: Tensor, labels: Tensor | None = None) -> DatasetPairing:
        """Each noise sample as given, with its image; of the images that were drawn only the labels
        matter.
        """
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
        targets = self.cells[0].dual.targets
        flat = flatten_finite(noise, "noise").to(targets)
        with torch.autocast(flat.device.type, enabled=False):
            return flat if self.basis is None else flat @ self.basis

    def run(self, save: Callable[[], None]) -> None:
        """Fit every class to `max_chi2`; saves when a class is checked and at the end.

        Raises:
            CouplingError: `steps` were not enough.

        """
        from tqdm import tqdm

        options = self.coupling
        for g, cells in enumerate(self.cells):
            dual, what = (
                cells.dual,
                (f"class {g + 1} of {len(self.cells)}: " if len(self.cells) > 1 else ""),
            )
            with tqdm(
                total=options.steps, initial=dual.step, desc=f"{what}semi-dual", disable=None
            ) as bar:
                self._solve(dual, bar, save)
            save()
            way_out = "raise steps (a checkpoint resumes) or max_chi2, or try another rate"
            if dual.stalled:
                way_out = (
                    "more steps do not help: raise batch or max_chi2, lower rate, or pass float64"
                    " images"
                )
            found = f"chi-square {dual.chi2:.3g} > {options.max_chi2:g} after {dual.step} steps"
            require(dual.chi2 <= options.max_chi2, f"{options}: {what}{found}: {way_out}")

    def _solve(self, dual: Solver, bar, save: Callable[[], None]) -> None:
        last, options = time.perf_counter(), self.coupling

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
            count_time()  # a closed form makes no progress step by step

    def state_dict(self) -> dict[str, Tensor]:
        """Potentials, averages, steps and chi-squares of all classes one after the other, and the
        seed.
        """
        duals = [cells.dual for cells in self.cells]
        return stamp(self._stamp_of, self.coupling) | {
            "potential": torch.cat([dual.potential for dual in duals]).cpu(),
            "average": torch.cat([dual.average for dual in duals]).cpu(),
            "step": torch.tensor([dual.step for dual in duals], device="cpu"),
            "chi2": torch.tensor([dual.chi2 for dual in duals], dtype=torch.float64, device="cpu"),
            "averaged": torch.tensor([dual.averaged for dual in duals], device="cpu"),
            "best": torch.tensor([dual.best for dual in duals], dtype=torch.float64, device="cpu"),
            "confirmed": torch.tensor([dual.confirmed for dual in duals], device="cpu"),
            "since": torch.tensor([dual.since for dual in duals], device="cpu"),
            "seed": torch.tensor(self.seed, device="cpu"),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64, device="cpu"),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state of the same images, labels and options; see `Fitted.load_state_dict`."""
        check_stamp(state, self._stamp_of, self.coupling)
        self.seed, self.seconds = int(state["seed"]), float(state["seconds"])
        first = 0
        for g, cells in enumerate(self.cells):
            dual = cells.dual
            part = slice(first, first := first + len(dual.targets))
            dual.potential = state["potential"][part].to(dual.weights, copy=True)
            dual.average = state["average"][part].to(dual.weights, copy=True)
            dual.step, dual.chi2 = int(state["step"][g]), float(state["chi2"][g])
            dual.seed = stream(self.seed, g)
            # Files of earlier versions hold gradient steps only, and chi-squares that no larger
            # check confirmed.
            dual.confirmed = bool(state["confirmed"][g]) if "confirmed" in state else True
            if "averaged" in state:
                dual.averaged, dual.since = int(state["averaged"][g]), int(state["since"][g])
                dual.best = float(state["best"][g])

    def _rows(self, n: int, labels: Tensor | None) -> list[Tensor]:
        """The noise samples of every class; each is in one."""
        if not self.coupling.per_class:
            return [torch.arange(n, device="cpu")]
        require(
            labels is not None and len(labels) == n,
            f"{self.coupling}: per_class=true needs a label a noise",
        )
        labels = labels.detach().cpu().reshape(n, -1)
        rows = [(labels == value.reshape(1, -1)).all(1).nonzero()[:, 0] for value in self.values]
        require(
            sum(map(len, rows)) == n,
            f"{self.coupling}: a label that the training set does not hold",
        )
        return rows


class _Cells:
    """The semi-dual of one class and the images behind its cells: equal images share one."""

    def __init__(self, targets: Tensor, rows: tuple[bytes, ...], members: Tensor, seed: int):
        seen: dict[bytes, int] = {}
        inverse = torch.tensor(
            [seen.setdefault(rows[i], len(seen)) for i in members.tolist()], device="cpu"
        )
        count = inverse.bincount()  # [m]
        order = inverse.argsort(stable=True)
        offset = count.cumsum(0) - count
        device = targets.device
        distinct = targets[members[order[offset]].to(device)]
        self.members, self.count, self.offset = (
            members[order].to(device),
            count.to(device),
            offset.to(device),
        )
        weights = self.count.double() / len(members)
        centre = (weights @ distinct.double()).to(distinct)
        self.dual = Solver(distinct - centre, weights, seed)

    def assign(self, noise: Tensor) -> Tensor:
        """An image `[b]` for every noise sample `[b, d]`; which one of equal images, the noise's
        last digits say.
        """
        cell = self.dual.cells(noise)
        digits = (noise.double().sum(1) * 4096).frac().abs()
        return self.members[self.offset[cell] + (digits * self.count[cell]).long()]


def _leading_components(targets: Tensor, project: str | None) -> Tensor | None:
    """The orthonormal basis `[d, K]` of `pca:K`, or None for no projection."""
    if project is None:
        return None
    k, d = int(PROJECT.fullmatch(project)[1]), targets.shape[1]
    require(k <= d, f"project={project}: the images have {d} values each: lower K")
    centred = targets - targets.mean(0)
    return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -k:].contiguous()

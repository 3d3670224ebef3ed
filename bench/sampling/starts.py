"""Prepares starts: their targets, the transport map to these, and the cost of the fit.

>>> prepared = prepare("expressway:sigma=0.5", dataset, seed, cache, device, sigma_max=80)
... # doctest: +SKIP
>>> latents = prepared.latents(noise, streams(seed, range(len(noise))))          # doctest: +SKIP
>>> ode = SigmaODE(denoise, labels)                                             # doctest: +SKIP
>>> heun(ode, latents, prepared.sigmas(steps, rho, sigma_min))                   # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bench import plugins
from bench.data import Dataset, Split, as_images
from bench.pairs.fit import fit
from bench.randomness import generator
from couplings import get
from couplings.dataset.semidiscrete import SemiDiscreteMap
from couplings.smooth import score_gap, smooth_map
from couplings.spec import format_spec
from models.starts.contract import Map, PreparedStart, Start

GAP_LATENTS = 1024  # that the median score gap, the unit of tau, is estimated from
# Chi-square at which a fit stops: of images a few times below what matters, so that the prior error
# is small. In the plane, with many targets and thin cells, less accuracy is enough.
IMAGES = "max_chi2=0.005"
PLANE = "max_chi2=0.05"
# Costs of a fit by their name in its report.
COSTS = {"seconds": "start_fit_seconds", "noises": "start_fit_noises", "chi2": "start_chi2"}

Generate = Callable[[], Split]
"""The model's own images, and the classes that were asked for."""


def parse(text: str) -> Start:
    """Build the start of a spec such as ``expressway:sigma=0.5``.

    Raises:
        ValueError: an unknown start or option, with the near matches, or a bad value.

    """
    start = plugins.build("start", text, ("models.starts",), Start)
    project = getattr(start, "project", None)
    if project is not None:
        get(f"semidiscrete:project={project}")  # refuses a projection that the fit would refuse
    return start


def streams(seed: int, rows: Sequence[int]) -> list[torch.Generator]:
    """Make the generators of these samples, on the CPU; the same for all starts."""
    return [generator(seed, "start", step=row) for row in rows]


def prepare(
    text: str,
    dataset: Dataset,
    seed: int,
    cache: Path,
    device: str,
    sigma_max: float,
    conditional: bool = False,
    coupled: bool = False,
    generate: Generate | None = None,
) -> PreparedStart:
    """Prepare the start of a spec; a map is read from ``cache`` or fitted.

    A fit that was stopped resumes.

    Args:
        text: the spec.
        dataset: the data.
        seed: of frozen noise and of the fit.
        cache: folder of fitted maps.
        device: of the targets and the map.
        sigma_max: level of the full sampler.
        conditional: fit one potential per class; ``latents`` of the start then needs classes
            ``[n]``.
        coupled: the denoiser was trained with a coupling; jumps to noised targets then warn.
        generate: for ``targets=model``.

    Raises:
        ValueError: a bad spec, a level above sigma_max, no ``generate`` though it is needed, or a
            fit that fails.

    """
    start = parse(text)
    # Rows, files and messages name a start by one spelling.
    spec = format_spec(start)
    sigma = start.level(sigma_max)
    if start.targets is None:
        return PreparedStart(spec, sigma, choice=start)
    if coupled:
        warnings.warn(
            f"{spec}: the targets are noised without a coupling, but the denoiser was trained with"
            " one: it has not learnt such points",
            stacklevel=2,
        )
    targets = find_targets(start, dataset, seed, generate)
    fitting = _Fitting(targets, dataset, seed, cache, device, conditional)
    place = start.place(fitting)
    return PreparedStart(
        spec,
        sigma,
        map=place,
        fresh=place is not None and start.noise == "fresh",
        choice=start,
        targets=targets,
        fitted=fitting.fitted,
        costs={"start_targets": float(len(targets)), **fitting.costs},
    )


def find_targets(
    start: Start, dataset: Dataset, seed: int, generate: Generate | None = None
) -> Split:
    """Find the targets as float images, noised once at the start's level if its noise is frozen.

    Raises:
        ValueError: ``targets=model`` without ``generate``.

    """
    if start.targets == "model":
        if generate is None:
            raise ValueError(f"{format_spec(start)}: targets=model needs the images of a model")
        split = generate()
    else:
        split = getattr(dataset, start.targets)
    images = as_images(split.images)
    if start.noise == "frozen":
        # One stream for all starts: those of one level share their targets, and so their fit.
        noise = torch.randn(images.shape, generator=generator(seed, "start-targets"))
        images = images + start.level() * noise
    return Split(images, split.labels)


@dataclass
class _Fitting:
    """The targets of one start, and the transport map to them if the start asks for it."""

    split: Split
    dataset: Dataset
    seed: int
    cache: Path
    device: str
    conditional: bool
    fitted: SemiDiscreteMap | None = None
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        return self.split.images.to(self.device)

    @property
    def labels(self) -> Tensor | None:
        return self.split.labels if self.conditional else None

    def transport(self, project: str | None = None, tau: float = 0.0) -> Map:
        self.fitted = self._fit(project)
        self.costs = {name: self.fitted.report[key] for key, name in COSTS.items()}
        return _transport_map(self.fitted, self.images, tau, self.seed)

    def _fit(self, project: str | None) -> SemiDiscreteMap:
        """Fit the map, or read it from its file.

        The file is found by the targets: another level, or other noise, is another fit.
        """
        images = self.split.images
        options = [PLANE if images[0].numel() < 3 else IMAGES]
        if project is not None:
            options.append(f"project={project}")
        if self.conditional:
            options.append("per_class=true")
        empty = Split(images[:0], self.split.labels[:0])
        # The fit is one of a data set: give it one of the targets, without held-out images.
        name = f"{self.dataset.name} targets"
        targets = Dataset(name, self.split, empty, self.dataset.num_classes)
        coupling = get(f"semidiscrete:{','.join(options)}")
        fitted = fit(coupling, targets, self.seed, self.cache, self.device)
        return cast(SemiDiscreteMap, fitted)


def _transport_map(fitted: SemiDiscreteMap, images: Tensor, tau: float, seed: int) -> Map:
    """Map latents to images, by the best score or by a softmax of all."""
    if not tau:
        return lambda noise, streams, labels: images[fitted.assign(noise, labels).to(images.device)]
    # The gap differs between classes, so each takes part in the median.
    labels = None
    if fitted.coupling.per_class:
        # As many latents of every class, one class after the other.
        repeats = -(-GAP_LATENTS // len(fitted.values))
        labels = fitted.values.repeat(repeats)[:GAP_LATENTS]
    stream = generator(seed, "start-gap")
    latents = torch.randn(GAP_LATENTS, *images.shape[1:], generator=stream)
    scale = tau * score_gap(fitted, latents.to(images), labels)
    return lambda noise, streams, labels: smooth_map(fitted, images, noise, scale, labels)

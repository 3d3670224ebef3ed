"""Starts made ready to sample with: their targets, the transport map to these, its cost, and how
good a prior it is.

>>> ready = prepare("expressway:sigma=0.5", dataset, seed, cache, device, sigma_max=80)           # doctest: +SKIP
>>> latents = ready.start.latents(noise, streams(seed, range(len(noise))))                        # doctest: +SKIP
>>> heun(denoise, latents, ready.start.sigmas(steps, rho, sigma_min), labels)                     # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.data import Dataset, Split, as_images
from bench.pairs.fit import fit
from bench.randomness import generator
from couplings import get
from couplings.dataset.semidiscrete import SemiDiscreteMap
from couplings.errors import unknown
from couplings.smooth import score_gap, smooth_map
from couplings.spec import build, format_spec, split_spec
from models.starts.contract import Map, Start
from models.starts.expressway import Expressway
from models.starts.kinds import KINDS, Plan
from models.starts.ot_prior import OTPrior
from models.starts.random_index import RandomIndex, random_index

GAP_NOISES = 1024  # behind the median score gap, which tau is measured in
# Where fits stop, as a chi-square: of images a few times less than matters, so that the prior error
# is small. In the plane, where targets are many and cells thin, less accuracy is enough.
IMAGES = ("max_chi2=0.005",)
PLANE = ("max_chi2=0.05",)

Generate = Callable[[], Split]
"""The model's own images, and the classes that were asked for."""


def parse(text: str) -> Plan:
    """The plan of a spec such as ``expressway:sigma=0.5``.

    Raises:
        ValueError: an unknown start or option, with the near matches, or a bad value.

    """
    name, options = split_spec(text)
    if name not in KINDS:
        raise unknown("start", name, KINDS)
    return build(KINDS[name], options)


def canonical(text: str) -> str:
    """The spec with its options in one order and without those that are the default; raises as
    ``parse``.
    """
    return format_spec(parse(text))


def streams(seed: int, rows: Sequence[int]) -> list[torch.Generator]:
    """What the starts of these samples draw from, on the CPU; the same for all starts."""
    return [generator(seed, "start", step=row) for row in rows]


@dataclass(frozen=True)
class Ready:
    """A start and what it took.

    Attributes: start: to sample with. plan: what it was made from. targets: where its map leads,
        ``[N, c, h, w]`` in [-1, 1] and noised where the noise is frozen; None without. fitted: the
        transport map; None without. costs: measurements by name: ``start_targets`` and, of a fit,
        ``start_fit_seconds``, ``start_fit_noises`` and
            ``start_chi2``. A fit read from its file costs what it took when it was made.

    """

    start: Start
    plan: Plan
    targets: Split | None = None
    fitted: SemiDiscreteMap | None = None
    costs: dict[str, float] = field(default_factory=dict)


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
) -> Ready:
    """The start of a spec, fitted anew or read from ``cache``; a fit that was stopped goes on.

    Args: text: the spec. dataset: the data. seed: of frozen noise and of the fit. cache: the folder
        of fitted maps. device: where the targets and the map live. sigma_max: the level of the full
        sampler. conditional: one potential for each class; ``latents`` of the start then needs
        classes ``[n]``. coupled: whether the denoiser was trained with a coupling; jumps to noised
        targets then warn. generate: for ``targets=model``.

    Raises: ValueError: a bad spec, a level above sigma_max, no ``generate`` where it is needed, or
        a fit that fails.

    """
    plan = parse(text)
    spec, sigma = format_spec(plan), plan.level(sigma_max)
    if not isinstance(plan, RandomIndex):
        return Ready(Start(spec, sigma), plan)
    if coupled:
        warnings.warn(
            f"{spec}: the targets are noised without a coupling, but the denoiser was trained with"
            " one: it has not learnt such points",
            stacklevel=2,
        )
    targets = find_targets(plan, dataset, seed, generate)
    costs, fitted, images = {"start_targets": float(len(targets))}, None, targets.images.to(device)
    if isinstance(plan, Expressway):
        fitted = _fit(plan, targets, dataset, seed, cache, device, conditional)
        place = _transport_map(plan, fitted, images, seed)
        names = {"seconds": "start_fit_seconds", "noises": "start_fit_noises", "chi2": "start_chi2"}
        costs |= {name: fitted.report[key] for key, name in names.items()}
    else:
        place = random_index(images, targets.labels if conditional else None)
    return Ready(Start(spec, sigma, place, plan.noise == "fresh"), plan, targets, fitted, costs)


def find_targets(
    plan: RandomIndex, dataset: Dataset, seed: int, generate: Generate | None = None
) -> Split:
    """The targets as float images, noised once at the level of the plan where its noise is frozen.

    Raises:
        ValueError: ``targets=model`` without ``generate``.

    """
    if plan.targets == "model":
        if generate is None:
            raise ValueError(f"{format_spec(plan)}: targets=model needs the images of a model")
        split = generate()
    else:
        split = getattr(dataset, plan.targets)
    images = as_images(split.images)
    if plan.noise == "frozen":
        images = images + plan.level() * torch.randn(
            images.shape, generator=generator(seed, "start-targets")
        )
    return Split(images, split.labels)


def _fit(
    plan: Expressway,
    targets: Split,
    dataset: Dataset,
    seed: int,
    cache: Path,
    device: str,
    conditional: bool,
) -> SemiDiscreteMap:
    """The transport map to the targets; its file is found by them, so that another level or noise
    is another fit.
    """
    options = list(PLANE if targets.images[0].numel() < 3 else IMAGES)
    options += [f"project={plan.project}"] * (plan.project is not None) + [
        "per_class=true"
    ] * conditional
    coupling = get(f"semidiscrete:{','.join(options)}")
    empty = Split(targets.images[:0], targets.labels[:0])
    return fit(
        coupling,
        Dataset(f"{dataset.name} targets", targets, empty, dataset.num_classes),
        seed,
        cache,
        device,
    )


def _transport_map(plan: Expressway, fitted: SemiDiscreteMap, images: Tensor, seed: int) -> Map:
    """From latents to images, by the best score or by a softmax of all."""
    if not _tau(plan):
        return lambda noise, streams, labels: images[fitted.assign(noise, labels).to(images.device)]
    count, labels = GAP_NOISES, None
    if fitted.coupling.per_class:
        labels = fitted.values.repeat(-(-count // len(fitted.values)))[:count]
    latents = torch.randn(count, *images.shape[1:], generator=generator(seed, "start-gap"))
    scale = _tau(plan) * score_gap(fitted, latents.to(images), labels)
    return lambda noise, streams, labels: smooth_map(fitted, images, noise, scale, labels)


def _tau(plan: Plan) -> float:
    return plan.tau if isinstance(plan, OTPrior) else 0.0

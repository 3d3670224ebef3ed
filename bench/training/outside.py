"""Networks that another program trained: any function of a noised image and its noise level."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.config import ConfigError, RunConfig
from bench.data import Dataset, as_images
from bench.randomness import generator
from bench.record import one_line
from bench.training.network import find_objective
from models.denoiser import Denoiser

PROBES = 2  # images by whose output a function without weights is recognised
HIGH = 3.0  # noise level of ``looks_wrong``: t = 3/4
FACTOR = 4.0  # by which the error there exceeds that of the mean image


class Outside(nn.Module):
    """A function of the user's as the raw network of a ``Denoiser``.

    Args:
        function: called as ``function(x, level)``, or ``function(x, level, labels)`` of a
            conditional one: x float32 ``[n, c, h, w]``, level ``[n]``, labels as in the data set.
            A module is set to evaluation mode and moved to the device of the evaluation.
        conditional: True if it takes labels.
        conditions: True if labels are numbers ``[n, k]`` rather than classes ``[n]``.

    """

    def __init__(
        self, function: Callable[..., Tensor], conditional: bool = False, conditions: bool = False
    ):
        super().__init__()
        # As an attribute a module is found by eval(), to() and state_dict().
        self.function = function
        self.conditional = conditional
        self.conditions = conditions

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        labels: Tensor | None,
        augment_labels: Tensor | None,  # noqa: ARG002 - images are not augmented here
    ) -> Tensor:
        """Output of the function ``[n, c, h, w]``."""
        if not self.conditional:
            return self.function(x, level)
        assert labels is not None
        # Denoisers take classes one-hot, most networks take their numbers.
        given = labels if self.conditions else labels.argmax(1)
        return self.function(x, level, given.expand(len(x), *given.shape[1:]))


def denoiser_of(
    function: Callable[..., Tensor], config: RunConfig, dataset: Dataset, device: str
) -> Denoiser:
    """The denoiser of a function, in evaluation mode on ``device``.

    Args:
        function: as for ``Outside``.
        config: ``training.objective`` says what the function predicts.
        dataset: the images that it generates.
        device: where it is called.

    Raises:
        ConfigError: it cannot be called, returns another shape, or is conditional though the data
            set has no labels.

    """
    # A class is an instance's recipe, and callable too: its result would be no image.
    if inspect.isclass(function) or not callable(function):
        raise ConfigError(f"models: {function!r} is no function or network; give a trained one")
    conditional = config.training.conditional
    if conditional and not dataset.has_conditions and dataset.num_classes < 2:
        raise ConfigError(f"conditional=True: {dataset.name} has no labels, so leave it out")
    raw = Outside(function, conditional, dataset.has_conditions)
    objective = find_objective(config.training, dataset)
    net = Denoiser(raw, objective, dataset.label_dim if conditional else 0).eval().to(device)
    probe = _probe(net, dataset, device)
    # The digest of the weights decides whether a run's measurements are its network's own.
    # Weights tell a network from its successor; a function without any is told by what it returns.
    if not raw.state_dict():
        raw.register_buffer("probe", probe)
    return net


@torch.no_grad()
def _probe(net: Denoiser, dataset: Dataset, device: str) -> Tensor:
    """Denoised test images at noise level 1 ``[PROBES, c, h, w]``: any error shows now, not after
    the features.
    """
    images = as_images(dataset.test.images[:PROBES]).to(device)
    labels = net.one_hot(dataset.test.labels[:PROBES].to(device))
    takes = "(x, level, labels)" if net.label_dim else "(x, level)"
    try:
        found = net(images, 1.0, labels)
    except Exception as error:
        raise ConfigError(
            f"models: the network cannot be called with {takes} on {device}: {one_line(error)};"
            f" x is {list(images.shape)}, level {[len(images)]}, and it returns the shape of x"
        ) from error
    if not found.isfinite().all():
        raise ConfigError("models: the network returns NaN or infinity at noise level 1")
    return found


@torch.no_grad()
def looks_wrong(net: Denoiser, dataset: Dataset, device: str, count: int = 256) -> bool:
    """True if high noise is removed far worse than by returning the mean image.

    That is so for a velocity of the opposite sign or direction of time, and for a prediction of
    another kind than the objective says.
    """
    images = as_images(dataset.test.images[:count]).to(device)
    noise = torch.randn(images.shape, generator=generator(0, "probe")).to(device)
    labels = net.one_hot(dataset.test.labels[:count].to(device))
    # Independent noise, which a network of coupled pairs removes less well: hence the wide margin.
    error = (net(images + HIGH * noise, HIGH, labels) - images).square().mean()
    spread = (images - images.mean(0)).square().mean()
    return bool(error > FACTOR * spread)


def digest_of(trainer: str) -> str:
    """SHA-256 that stands for the networks of a training by another program: that of its name.

    By name and not by content: a network that is trained further takes the place of the earlier
    one, next to which it would count as another seed.
    """
    return hashlib.sha256(f"trainer {trainer}".encode()).hexdigest()

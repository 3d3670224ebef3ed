"""Builds the denoiser of a run: a network by name, or the user's own, in its objective."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn

from bench import plugins
from bench.config import ConfigError, NetworkConfig, TrainingConfig
from bench.data import Dataset, StoredImages, as_images, in_parts
from bench.randomness import derive
from bench.record import UserError
from couplings import spec
from models.denoiser import Denoiser
from models.objectives.contract import Objective
from models.objectives.edm import EDM

AUGMENT_LABELS = 9  # of models.augment
# Options of the U-Nets of this repository; other networks have arch_options.
SIZES = ("model_channels", "channel_mult", "num_blocks", "attn_resolutions", "dropout")

# Options of an objective that the command line has too
SHARED = ("P_mean", "P_std", "sigma_data")


class NetworkError(UserError):
    """The network cannot be built; the message says why."""


def find_objective(training: TrainingConfig, dataset: Dataset | None = None) -> Objective:
    """Build the objective of a training, with the options that the command line has for it.

    Args:
        training: its spec, and the options ``--P-mean``, ``--P-std`` and ``--sigma-data``.
        dataset: needed for ``--sigma-data data``, which stays at the default without it.

    Raises:
        ValueError: as ``stated_objective``.

    """
    # Any: a frozen dataclass, which the base class does not say.
    objective: Any = stated_objective(training)
    given: dict[str, Any] = {}
    for field in fields(objective):
        if field.name in SHARED:
            given[field.name] = getattr(training, field.name)
    if given.get("sigma_data") == "data":
        given["sigma_data"] = TrainingConfig.sigma_data if dataset is None else deviation(dataset)
    return replace(objective, **given)


def stated_objective(training: TrainingConfig) -> Objective:
    """Build the objective as its spec states it, without the options of the command line.

    Raises:
        ValueError: an unknown objective or option, with the near matches, or a bad value; or an
            option of the command line that the objective does not have.

    """
    packages = ("models.objectives",)
    objective = plugins.build("objective", training.objective, packages, Objective)
    known = {field.name: field for field in fields(objective)}
    for name in SHARED:
        option = f"--{name.replace('_', '-')}"
        if name in known and getattr(objective, name) != known[name].default:
            raise ValueError(f"{training.objective}: set {name} with {option}")
        # It would change nothing, but make another run of the same numbers.
        if name not in known and getattr(training, name) != getattr(TrainingConfig, name):
            raise ValueError(
                f"{training.objective} has no {name}, leave {option} out"
                f" (its own options: {', '.join(known) or 'none'})"
            )
    return objective


def deviation(dataset: Dataset) -> float:
    """Standard deviation of all values of the training images, in [-1, 1]: EDM's sigma_data."""
    images = dataset.train.images
    # In float64: a mean of many float32 values loses digits.
    if not isinstance(images, StoredImages):
        return as_images(images).double().std().item()
    count = total = square = 0.0
    for part in in_parts(images):
        values = as_images(part).double()
        count += values.numel()
        total += values.sum().item()
        square += values.square().sum().item()
    return math.sqrt((square - total**2 / count) / (count - 1))


def find_builder(arch: str) -> Callable[..., nn.Module]:
    """Find the function that builds the raw network of ``--arch``.

    ``small`` is ``build`` in models/networks/small.py, ``my_project.net:Transformer`` an object in
    a module of the user's, which is called ``build`` unless named.

    Raises:
        ValueError: no such network; the message lists those there are.

    """
    name, _, attribute = arch.partition(":")
    module = plugins.load("network", name, "models.networks")
    builder = getattr(module, attribute or "build", None)
    if not callable(builder):
        raise NetworkError(f"--arch {arch}: {name} has no function or class {attribute or 'build'}")
    return builder


def is_own(network: NetworkConfig) -> bool:
    """True if the network is the user's, not one of this repository."""
    return "." in network.arch


def takes_sizes(network: NetworkConfig) -> bool:
    """True for the U-Nets of this repository, which are called with ``SIZES``."""
    if is_own(network):
        return False
    parameters = inspect.signature(find_builder(network.arch)).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def check_network(network: NetworkConfig) -> NetworkConfig:
    """Refuse an unknown network or option; return the network in canonical form.

    Whether its sizes fit the images shows with the data.

    Raises:
        ConfigError: with one line naming the option.

    """
    try:
        find_builder(network.arch)
        read_options(network)
    except ValueError as error:
        raise ConfigError(f"--arch: {error}") from None
    if network.arch_options and takes_sizes(network):
        raise ConfigError(
            f"--arch-options are for perceptrons and your own networks; {network.arch} has none,"
            " its sizes are --model-channels and the like"
        )
    if not network.channel_mult:
        raise ConfigError("--channel-mult needs at least one number, such as 1")
    if not 0 <= network.dropout < 1:
        raise ConfigError("--dropout must be in [0, 1)")
    return _canonical(network)


def _canonical(network: NetworkConfig) -> NetworkConfig:
    """Bring a network to one form for each way to build it.

    A perceptron ignores the sizes of U-Nets, which a preset may set, so they are left at their
    defaults; so are options that are given at theirs.
    """
    if is_own(network) or takes_sizes(network):
        return network
    parameters = inspect.signature(find_builder(network.arch)).parameters
    options = read_options(network)
    changed = []
    # In the order of the function, whatever the order of the words.
    for key, parameter in parameters.items():
        if key in options and options[key] != parameter.default:
            changed.append(f"{key}={options[key]}")
    return NetworkConfig(arch=network.arch, arch_options=tuple(changed))


def build_network(
    network: NetworkConfig,
    dataset: Dataset,
    conditional: bool,
    seed: int,
    augmented: bool = False,
    objective: Objective = EDM(),  # noqa: B008 - frozen
    drops_labels: bool = False,
) -> Denoiser:
    """Build the denoiser with the initial weights of ``seed``: the same ones for every coupling.

    One that is trained with dropped labels is given conditions with a last number 1. An absent
    condition is zeros, among which that number tells it from a condition that is 0.

    Raises:
        NetworkError: the images are not square, or the options make no network.

    """
    channels, height, width = dataset.image_shape
    if height != width:
        raise NetworkError(
            f"{dataset.name} has {height}x{width} images; the networks need square ones"
        )
    label_dim = dataset.label_dim if conditional else 0
    # Zeros are no class in one-hot labels, so classes need no such number.
    if conditional and drops_labels and dataset.has_conditions:
        label_dim += 1
    augment_dim = AUGMENT_LABELS if augmented else 0
    builder = find_builder(network.arch)
    options = read_options(network)
    # Layers draw their weights from torch's global generator: lend it to them, then restore it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        try:
            model = builder(height, channels, label_dim, augment_dim, **options)
        except Exception as error:
            if isinstance(error, ValueError) or not is_own(network):
                raise
            # Any error of the user's code: one line with its type is enough to find it.
            raise NetworkError(f"{network.arch}: {type(error).__name__}: {error}") from error
    return Denoiser(model, objective, label_dim)


def read_options(network: NetworkConfig) -> dict[str, Any]:
    """Read the options that the builder is called with.

    Those of ``arch_options`` have the types of its keyword-only parameters.

    Raises:
        ValueError: an unknown option, with the near matches, or a bad value.

    """
    if takes_sizes(network):
        return {name: getattr(network, name) for name in SIZES}
    if not network.arch_options:
        return {}
    _, options = spec.split_spec(f"network:{','.join(network.arch_options)}")
    return spec.read_options(find_builder(network.arch), options, name=network.arch)

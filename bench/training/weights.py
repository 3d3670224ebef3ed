"""Weights of the user's own: a file of tensors, for a network that ``--arch`` names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from bench.config import ConfigError, RunConfig
from bench.data import Dataset, as_images
from bench.record import one_line
from bench.training.network import build_network, find_objective
from models.denoiser import Denoiser

# Wrappers put these before the names of a network's tensors.
WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile


def load_weights(path: Path, config: RunConfig, dataset: Dataset) -> Denoiser:
    """The denoiser of a run's network and objective with the weights of a file, in eval mode.

    Args:
        path: a state dict of ``torch.save``, or safetensors.
        config: of the run: ``network``, ``training.objective`` and ``training.conditional`` say
            which network the weights are of, and what it predicts.
        dataset: the images that it generates.

    Raises:
        ConfigError: the file holds no weights, or those of another network; or the network cannot
            be called as ``Denoiser`` does.

    """
    tensors = _read(path)
    try:
        objective = find_objective(config.training, dataset)
        net = build_network(
            config.network,
            dataset,
            config.training.conditional,
            config.seed,
            augmented=bool(config.training.augment),
            objective=objective,
            drops_labels=config.training.label_dropout > 0,
        )
    except ValueError as error:
        raise ConfigError(f"--arch {config.network.arch}: {error}") from None
    _refuse_others(path, config.network.arch, net.model.state_dict(), tensors)
    net.model.load_state_dict(tensors)
    net.eval()
    _refuse_uncallable(net, config.network.arch, dataset)
    return net


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without the prefixes of wrappers."""
    content = _content(path)
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        # What training loops save: the weights are one entry of several.
        inside = [str(name) for name in others if isinstance(content[name], dict)]
        entry = f"checkpoint[{inside[0]!r}]" if inside else "net.state_dict()"
        raise ConfigError(
            f"--from-checkpoint {path}: it holds {', '.join(map(str, others[:4])) or 'nothing'}, no"
            f" tensors by name; save only the weights, torch.save({entry}, FILE)"
        )
    tensors = dict(content)
    for prefix in WRAPPERS:
        consume_prefix_in_state_dict_if_present(tensors, prefix)
    return tensors


def _content(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError:
        pass  # a file of torch.save
    try:
        # Of weights only: any other pickle could run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ConfigError(
            f"--from-checkpoint {path}: it is damaged, or holds more than weights, which could run"
            " code; save torch.save(net.state_dict(), FILE), or read a released pickle by python -m"
            " models.import_edm"
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise ConfigError(
            f"--from-checkpoint {path}: it cannot be read ({one_line(error)[:100]}); save it again,"
            " torch.save(net.state_dict(), FILE)"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"--from-checkpoint {path}: it holds a {type(content).__name__}; save a state dict,"
            " torch.save(net.state_dict(), FILE)"
        )
    return content


def _refuse_others(
    path: Path, arch: str, expected: dict[str, Tensor], given: dict[str, Tensor]
) -> None:
    """Refuse tensors of other names or shapes than the network's, or that are not finite."""
    missing = sorted(expected.keys() - given.keys())
    unknown = sorted(given.keys() - expected.keys())
    common = expected.keys() & given.keys()
    shapes = sorted(name for name in common if expected[name].shape != given[name].shape)
    problems = []
    if missing:
        problems.append(f"{missing[0]} is missing ({len(missing)} such)")
    if unknown:
        problems.append(f"{unknown[0]} is not in the network ({len(unknown)} such)")
    if shapes:
        name = shapes[0]
        problems.append(
            f"{name} is {list(given[name].shape)}, the network has {list(expected[name].shape)}"
            f" ({len(shapes)} such)"
        )
    if problems:
        raise ConfigError(
            f"--from-checkpoint {path} does not fit --arch {arch}: {'; '.join(problems)}; give the"
            " --arch, --arch-options and --conditional that it was trained with"
        )
    bad = sorted(name for name, value in given.items() if not value.isfinite().all())
    if bad:
        raise ConfigError(
            f"--from-checkpoint {path}: {bad[0]} holds NaN or infinity ({len(bad)} such); save an"
            " earlier state"
        )


@torch.no_grad()
def _refuse_uncallable(net: Denoiser, arch: str, dataset: Dataset) -> None:
    """Call the network once: that it cannot be called should not show after the features."""
    images = as_images(dataset.test.images[:2])
    try:
        net(images, 1.0, net.one_hot(dataset.test.labels[:2]))
    except Exception as error:
        raise ConfigError(
            f"--arch {arch} cannot be called: {one_line(error)}; it takes (x, c_noise, labels,"
            " augment_labels) and returns the shape of x"
        ) from error

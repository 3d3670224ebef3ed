"""Checks that need the images or files of a run; they too come before anything is trained."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ConfigError, GuidanceConfig, RunConfig
from bench.record import RunFolder, readable

if TYPE_CHECKING:
    from bench.data import Dataset
    from couplings import Coupling, DatasetCoupling
    from models.denoiser import Denoiser


def refuse_unwritable(runs_dir: Path) -> None:
    """Refuse a folder that can receive neither runs nor the report; nothing is created.

    Raises:
        ConfigError: it is no folder, it or the folder that it would be made in cannot be written,
            or a folder is in the place of a file of the report.

    """
    # The folder itself, or the nearest one above it that exists.
    there = next(path for path in (runs_dir, *runs_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(
            f"--runs {runs_dir}: {there} is not a folder; choose another one with --runs"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"--runs {runs_dir}: {there} cannot be written; choose another folder with --runs"
        )
    # `os.replace` cannot put a file in the place of a folder.
    for name in ("results.csv", "report.html", "noise-search.csv"):
        if (runs_dir / name).is_dir():
            raise ConfigError(
                f"{runs_dir / name} is a folder, where the report would be: move it away"
            )


def of_file(shared: RunConfig, path: Path) -> RunConfig:
    """The configuration of a run that measures the network in a file.

    It is one of ``models.import_edm``, or weights of the user's own. The run is called by the
    file's stem.

    Raises:
        ConfigError: there is no such file, or it cannot be read.

    """
    from models.import_edm import is_network_file

    digest = network_digest(path)
    own = not is_network_file(path)
    return replace(shared, coupling=readable(path.stem), checkpoint=digest, own_weights=own)


def stated_coupling(config: RunConfig) -> Coupling | DatasetCoupling | None:
    """The coupling that the network of a run was trained with, as far as it is known here.

    None for a network file, whose name says nothing of its training, and for a label that another
    program gave to a coupling of its own.
    """
    from couplings import CouplingError, get

    if not config.checkpoint:
        return get(config.coupling)
    if not config.trainer:
        return None
    try:
        return get(config.coupling)
    except CouplingError:
        return None


def network_digest(path: Path) -> str:
    """SHA-256 of the file of a network.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it is empty.

    """
    # Hashed whole: the name of the run depends on its content.
    try:
        content = path.read_bytes()
    except OSError as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError(
            f"--from-checkpoint {path}: {why}; pass weights, torch.save(net.state_dict(), FILE),"
            " or what python -m models.import_edm makes of a released pickle"
        ) from None
    if not content:
        raise ConfigError(
            f"--from-checkpoint {path}: the file is empty; save it, or have python -m"
            " models.import_edm make it, again"
        )
    return hashlib.sha256(content).hexdigest()


def network_of(config: RunConfig, path: Path, dataset: Dataset) -> Denoiser:
    """The network in the file of a run.

    Raises:
        ConfigError: it is no network, or not one for these images.

    """
    from bench.training.weights import load_weights
    from models.import_edm import ImportRefused, load_network

    if config.own_weights:
        return load_weights(path, config, dataset)
    try:
        net = load_network(path)
    except ImportRefused as error:
        raise ConfigError(str(error)) from None
    # Networks of models.import_edm take square images.
    made_for = (net.model.img_channels, net.model.img_resolution, net.model.img_resolution)
    if made_for != dataset.image_shape:
        raise ConfigError(
            f"{path} is for images {list(made_for)}, {dataset.name} has {list(dataset.image_shape)}"
        )
    # 0: a network without classes suits any images.
    if net.label_dim not in (0, dataset.label_dim):
        raise ConfigError(
            f"{path} knows {net.label_dim} classes, {dataset.name} has {dataset.label_dim}"
        )
    return net


def refuse_unfit(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a pool, classes, a network or a discriminator that do not suit the images.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    from bench.training.selection import refuse_selection

    _refuse_unfit_guidance(config.guidance, dataset)
    if config.checkpoint:
        return  # the file's network is checked when it is read
    if dataset.has_conditions:
        # Without --conditional too: couplings and encoders read the labels of the data set.
        _refuse_classes(config)
    elif config.training.conditional and dataset.num_classes < 2:
        raise ConfigError(
            f"--conditional: this {config.data} has no labels, so leave it out, or label the images"
        )
    check_pool(config.coupling, config.training.pool, dataset)
    refuse_selection(config, dataset)
    _refuse_unfit_network(config, dataset)


def refuse_model(
    config: RunConfig, folder: RunFolder, dataset: Dataset, coming: Collection[str] = ()
) -> None:
    """Refuse a coupling whose pairs are to be made by the network of no suitable run.

    Args:
        config: of the new run.
        folder: of the new run, among those of the others.
        dataset: its data.
        coming: names of runs that may be made before it.

    Raises:
        ConfigError: naming the coupling and the way out.

    """
    from bench.pairs.fit import fit_file
    from bench.training.checkpoints import NAMES
    from bench.training.model import named_run
    from bench.training.state import TrainingError
    from couplings import get

    if config.checkpoint:
        return
    coupling = get(config.coupling)
    if not getattr(coupling, "needs_model", False) or coupling.run in coming:
        return
    runs = folder.path.parent
    # A run that was begun, or whose pairs others have made, may need the model no more.
    fitted = fit_file(coupling, dataset, config.seed, runs / ".cache")
    if fitted.exists() or (folder.path / NAMES[0]).exists():
        return
    try:
        named_run(coupling, runs, dataset)
    except TrainingError as error:
        raise ConfigError(str(error)) from None


def _refuse_classes(config: RunConfig) -> None:
    """Refuse what needs classes for images whose labels are numbers.

    Raises:
        ConfigError: naming the option and the way out.

    """
    from couplings import get

    coupling = get(config.coupling)
    # No two images have one condition: each class would be a single image, coupled with nothing.
    if getattr(coupling, "within_class", False) or getattr(coupling, "per_class", False):
        raise ConfigError(
            f"--coupling {config.coupling}: {config.data} has conditions in place of classes; take"
            " conditional-cost:distance=squared, or --label-blind and a coupling without the option"
        )
    options = {
        "--guidance": config.guidance.kind != "none",
        "--start": config.training.conditional and bool(config.evaluation.start),
        "--class-law uniform": config.evaluation.class_law != "data",
    }
    for option, is_used in options.items():
        if is_used:
            raise ConfigError(
                f"{option}: {config.data} has conditions in place of classes, leave it out"
            )


def check_pool(spec: str, pool: int, dataset: Dataset) -> None:
    """Refuse a pool that the solver, or the memory of this machine, cannot handle, and images that
    a coupling of the data set cannot be fitted to.

    Args:
        spec: of the coupling.
        pool: images in a pool.
        dataset: that it is drawn from.

    Raises:
        ConfigError: with the sizes and the way out.

    """
    from couplings import CouplingError, get

    coupling = get(spec)
    d = math.prod(dataset.image_shape)
    try:
        coupling.check_values(d)
    except CouplingError as error:
        raise ConfigError(f"--coupling {error}") from None
    if coupling.kind != "batch":
        return
    # Images and noise in float32, on the host: a pool that is too large for a GPU fails without
    # harm.
    held = 2 * 4 * pool * d
    try:
        coupling.check_size(pool, d, dataset.train.labels, held=held)
    except CouplingError as error:
        raise ConfigError(f"--pool {pool}: {error}") from None


def pool_bytes(config: RunConfig, dataset: Dataset) -> int:
    """A low estimate of the memory that a run's pools take while they are coupled, in bytes."""
    from couplings import get

    d = math.prod(dataset.image_shape)
    held = 2 * 4 * config.training.pool * d
    if config.checkpoint:
        return 0  # nothing is trained
    coupling = get(config.coupling)
    if coupling.kind != "batch":
        return held
    at_once = coupling.solved_at_once(config.training.pool, dataset.train.labels)
    return held + coupling.peak_bytes(at_once, d)


def _refuse_unfit_network(config: RunConfig, dataset: Dataset) -> None:
    import torch

    from bench import data
    from bench.training.network import build_network, takes_sizes

    if config.training.augment and min(dataset.image_shape[1:]) < 2:
        raise ConfigError(
            f"--augment {config.training.augment:g}: it flips and turns images, and {config.data}"
            " has points; leave it out"
        )

    try:
        # Built without memory or values: only the shapes are checked.
        with torch.device("meta"):
            build_network(config.network, dataset, config.training.conditional, config.seed)
    except ValueError as error:
        option = "--channel-mult" if takes_sizes(config.network) else "--arch"
        hint = (
            ", or choose another --resolution"
            if data.plain_name(config.data) in data.OWN_IMAGES
            else ""
        )
        raise ConfigError(f"this network cannot be built, see {option}: {error}{hint}") from None


def _refuse_unfit_guidance(guidance: GuidanceConfig, dataset: Dataset) -> None:
    """Refuse guidance now, though the discriminator is trained last: hours later."""
    if guidance.kind != "discriminator":
        return
    from bench.guidance.images import GuideError, refuse_small
    from models.guidance.discriminator import EncoderRefused, load_encoder

    try:
        for count in (len(dataset.train), guidance.fakes or len(dataset.train)):
            refuse_small(count, guidance.held_out)
        if guidance.encoder is not None:
            load_encoder(Path(guidance.encoder), dataset.image_shape)
    except GuideError as error:
        raise ConfigError(str(error)) from None
    except EncoderRefused as error:
        raise ConfigError(f"--guidance.encoder: {error}") from None

"""The network of a finished run, as the model of couplings whose pairs a model makes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from bench import plugins
from bench.config import EvaluationConfig, RunConfig
from bench.config.read import from_dict
from bench.data import Dataset
from bench.record import RunFolder
from bench.training.checkpoints import TrainingError, load_checkpoint
from bench.training.noise_search import FOLDER as PILOTS
from bench.training.state import new_state, total_steps
from models.denoiser import Denoiser
from models.ode import CountNFE, FlowODE, SigmaODE
from models.samplers.heun import Heun
from models.schedules.contract import Schedule, flow_time


class RunModel:
    """Images of the sampling ODE by Heun's method, along the network's own schedule.

    Args:
        net: the denoiser, averaged over the training.
        evaluation: gives the range of sigma.
        nfe: network evaluations of an image, an odd number.
        device: of the denoiser.

    """

    def __init__(self, net: Denoiser, evaluation: EvaluationConfig, nfe: int, device: str):
        self.net = net
        self.evaluation = evaluation
        self.device = device
        self.sampler = Heun()
        self.steps = self.sampler.steps(nfe)
        self.evaluations = 0

    @torch.no_grad()
    def __call__(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """The images ``[b, c, h, w]`` of noise ``[b, c, h, w]``; labels as in the data set."""
        spec = self.net.objective.natural_schedule
        denoise = CountNFE(self.net)
        schedule = plugins.build("schedule", spec, ("models.schedules",), Schedule)
        if schedule.coordinates == "flow":
            # A network of EDM was not trained at infinite noise.
            top = flow_time(self.evaluation.sigma_max)
            highest = 1.0 if self.net.objective.at_pure_noise else top
            ode: Any = FlowODE(denoise, highest=highest)
            sigma_max = math.inf
        else:
            ode = SigmaODE(denoise)
            sigma_max = self.evaluation.sigma_max
        # Deterministic: the same noise gives the same image in a fit that resumes.
        times = schedule.times(self.steps, self.evaluation.sigma_min, sigma_max)
        if labels is not None:
            ode.labels = self.net.one_hot(labels.to(self.device))
        images = self.sampler(ode, noise.to(self.device), times).float()
        self.evaluations += len(noise) * denoise.nfe
        return images


def model_of(
    coupling: Any, runs: Path, dataset: Dataset, device: str, fitted: Path
) -> RunModel | None:
    """The model of ``open_model``; None if it cannot be opened, but ``fitted`` holds its pairs.

    Raises:
        TrainingError: as ``open_model``, and there is no file of a fit.

    """
    try:
        return open_model(coupling, runs, dataset, device)
    except TrainingError as error:
        # Pairs that are all made need no model, so its run may be gone.
        if not fitted.exists():
            raise
        tqdm.write(f"note: {error}; the pairs that it has made are used as they are")
        return None


def open_model(coupling: Any, runs: Path, dataset: Dataset, device: str) -> RunModel:
    """The model that a coupling names by its options ``run``, ``nfe`` and ``per_class``.

    Args:
        coupling: with ``needs_model``.
        runs: the folder of run folders.
        dataset: of the new run.
        device: where the network goes.

    Raises:
        TrainingError: no such run, not finished, of other data, or its labels do not fit.

    """
    folder, config = named_run(coupling, runs, dataset)
    content = load_checkpoint(folder, device)
    if content is None or content["step"] < total_steps(config):
        raise TrainingError(
            f"--coupling {coupling.spec}: {coupling.run} has not finished training: finish it first"
        )
    state = new_state(config, dataset, device)
    state.restore(content)
    net = cast("Denoiser", state.ema.net.eval())
    return RunModel(net, config.evaluation, coupling.nfe, device)


def named_run(coupling: Any, runs: Path, dataset: Dataset) -> tuple[RunFolder, RunConfig]:
    """The run that a coupling names, and its configuration; see ``open_model``.

    Raises:
        TrainingError: no such run, of other data, or its labels do not fit.

    """
    # Pilots have a folder of their own, below that of the runs which a coupling names.
    places = (runs, runs.parent) if runs.name == PILOTS else (runs,)
    found = [place for place in places if RunFolder(place / coupling.run).exists()]
    if not found:
        raise TrainingError(
            f"--coupling {coupling.spec}: no run {coupling.run} in {places[-1]}: name a finished"
            " run"
        )
    folder = RunFolder(found[0] / coupling.run)
    config = from_dict(folder.config())
    # Its images would be of another law, or of another shape.
    if folder.provenance()["data_checksum"] != dataset.checksum:
        raise TrainingError(
            f"--coupling {coupling.spec}: {coupling.run} was trained on other data: name a run of"
            " this data set"
        )
    # A conditional network without labels would be sampled at a class that does not exist.
    is_conditional = config.training.conditional
    if is_conditional != coupling.per_class:
        # Without per_class a conditional training would have no labels for its images.
        way_out = "add per_class=true"
        if not is_conditional:
            way_out = "leave per_class out unless this run is conditional"
        raise TrainingError(
            f"--coupling {coupling.spec}: {coupling.run} was trained"
            f" {'with' if is_conditional else 'without'} labels: {way_out}, or name another"
            f" run, trained {'without' if is_conditional else 'with'} --conditional"
        )
    return folder, config

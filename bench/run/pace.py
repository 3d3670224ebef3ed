"""Pace of a run on this machine, measured before the first one begins: time and memory of a few
training steps, of the network alone, and of a pool of each coupling.

Nothing that is measured here is kept, and no random stream of a run is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bench.config import Execution, RunConfig
from bench.data import Dataset, Split
from bench.pairs.pool import Pairs, draw_pool
from bench.pairs.velocity import following
from bench.process.ranks import Ranks
from bench.randomness import generator
from bench.run.sharing import metric_bytes
from bench.sampling.sample import CHUNK
from bench.sampling.setting import Setting
from bench.suitable import pool_bytes
from bench.training.state import TrainState, new_state
from bench.training.step import Stepper, tf32
from couplings import CouplingError, get
from models.augment import Augment
from models.blocks import recompute
from models.classifier_free import network_evaluations
from models.denoiser import Denoiser

FEW = 2  # images of the first step; a pair is the least that can be coupled
FACTOR = 4  # from one step to the next, larger one
ENOUGH_S = 0.4  # a step of this length is timed well enough
LONG_S = 2.0  # and calls that took this long together are not repeated
TIMES = 4  # calls of which the quickest counts
MOST_POOL = 1024  # images of the pool that a coupling is timed on; larger ones are extrapolated
# Peaks of a step are above what it keeps for its backward pass: gradients of activations, and
# buffers of convolutions.
OVERHEAD = 1.35
GUESSED_NFE = 80  # of the adaptive sampler
LAYERS = 5  # as large as the largest one, that sampling holds at a time
# Copies of the weights in float32: the weights, their gradients, two averages of Adam, the moving
# average
COPIES = 5


@dataclass(frozen=True)
class Pace:
    """Time and memory of a network on this machine.

    Attributes:
        train: seconds of training for an image, without its coupling.
        sample: seconds of an evaluation of the network for one image.
        memory: bytes of a process that trains it with batches as large as the run's.
        parameters: number of weights.
        couple: seconds of the coupling for an image, by the spec of each coupling.

    """

    train: float
    sample: float
    memory: float
    parameters: int
    couple: dict[str, float]


def measure(
    configs: Sequence[RunConfig], dataset: Dataset, device: str, execution: Execution
) -> Pace:
    """Measure the pace of some runs by their first one, in a few seconds or a few small steps.

    Args:
        configs: of the runs; all train the network of the first.
        dataset: to train on.
        device: that computes.
        execution: says how many images go through the network at once.

    """
    config = configs[0]
    base = _held_bytes()
    state = new_state(config, dataset, device)
    if execution.gradient_checkpointing:
        recompute(state.net)
    parameters = sum(weight.numel() for weight in state.net.parameters())
    split = dataset.train.to(device)
    at_once = min(execution.micro_batch or config.training.batch, config.training.batch)
    kept, largest = _kept_for_backward(config, state, _pairs(config, split, FEW), device)
    images, train = _train_seconds(config, state, split, at_once, device)
    sample = _sample_seconds(state, _pairs(config, split, images), device)
    # Sampling keeps nothing for a backward pass, but takes chunks of a size of its own.
    activations = max(OVERHEAD * kept * at_once, LAYERS * largest * CHUNK) / FEW
    pools = max(pool_bytes(each, dataset) for each in configs)
    measured = max(metric_bytes(each, dataset) for each in configs)
    memory = base + 4 * COPIES * parameters + max(activations + pools, measured)
    couple = {}
    for each in configs:
        if each.coupling not in couple:
            couple[each.coupling] = _couple_seconds(each, state, split, device)
    return Pace(train / images, sample, memory, parameters, couple)


def _pairs(config: RunConfig, split: Split, count: int) -> Pairs:
    """Pairs as the trainer draws them, augmented if the run is."""
    pairs = draw_pool(split, count, config.seed, 0, 0).pairs
    if not config.training.augment:
        return pairs
    augment = Augment(config.training.augment)
    changed = augment(pairs.images, generator(config.seed, "pace"))
    return replace(pairs, images=changed.images, augment_labels=changed.labels)


def _stepper(config: RunConfig, state: TrainState, batch: int, device: str) -> Stepper:
    training = replace(config.training, batch=batch)
    # Compiling takes minutes, which no estimate is worth.
    return Stepper(replace(config, training=training), state, Ranks(0, 1, device))


def _kept_for_backward(
    config: RunConfig, state: TrainState, pairs: Pairs, device: str
) -> tuple[float, float]:
    """Bytes that a step on some pairs keeps for its backward pass, in all and in the largest
    tensor.
    """
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in state.net.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # Layers share what they keep, and weights are counted on their own.
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    stepper = _stepper(config, state, len(pairs.images), device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        stepper(pairs)
    return sum(kept.values()), max(kept.values(), default=0)


def _train_seconds(
    config: RunConfig, state: TrainState, split: Split, most: int, device: str
) -> tuple[int, float]:
    """Number of images of a step, and its seconds: larger and larger steps until one is long
    enough, up to ``most`` images.
    """
    images = min(FEW, most)
    while True:
        stepper = _stepper(config, state, images, device)
        step = partial(stepper, _pairs(config, split, images))
        with tf32(config.training.precision == "tf32"):
            seconds = _least_seconds(step, device)
        if images == most or seconds > ENOUGH_S:
            return images, seconds
        images = min(FACTOR * images, most)


def _sample_seconds(state: TrainState, pairs: Pairs, device: str) -> float:
    """Seconds of an evaluation of the network for an image, as sampling asks for it."""
    net = cast(Denoiser, state.ema.net.eval())  # a copy of the denoiser
    labels = net.one_hot(pairs.labels)
    noise = pairs.noise[:CHUNK]

    def evaluate() -> None:
        with torch.no_grad():
            net(noise, 1.0, None if labels is None else labels[: len(noise)])

    return _least_seconds(evaluate, device) / len(noise)


def _couple_seconds(config: RunConfig, state: TrainState, split: Split, device: str) -> float:
    """Seconds of a batch coupling for an image; 0 for one of the training set, or of a user's own.

    Code of a user's may do anything, and must do it in its run only.
    """
    coupling = get(config.coupling)
    if coupling.kind != "batch" or "." in coupling.name:
        return 0.0
    average = cast(Denoiser, state.ema.net)  # a copy of the denoiser
    coupling = following(coupling, average)
    pool = config.training.pool
    count = min(pool, MOST_POOL)
    try:
        # Loads the solver's library.
        _pair(coupling, _pairs(config, split, FEW))
        seconds = _seconds(partial(_pair, coupling, _pairs(config, split, count)), device)
    except CouplingError:
        # The run itself says so, and the next one begins.
        return 0.0
    # Most solvers grow faster than the square of a pool; it is an estimate.
    return seconds * (pool / count) ** 2 / pool


def _pair(coupling: object, pairs: Pairs) -> None:
    coupling.pair(pairs.images, pairs.noise, pairs.labels, generator(0, "pace"))  # type: ignore


def _least_seconds(action: Callable[[], object], device: str) -> float:
    """The least time of up to ``TIMES`` calls: the first one chooses kernels, and other programs
    may interrupt any.
    """
    times = [_seconds(action, device)]
    while len(times) < TIMES and sum(times) < LONG_S:
        times.append(_seconds(action, device))
    return min(times)


def _seconds(action: Callable[[], object], device: str) -> float:
    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    wait()
    begun = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - begun


def _held_bytes() -> float:
    """Memory that this process holds; as much as usual where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.5e9
    return pages * 4096


def evaluations(config: RunConfig) -> float:
    """About how many evaluations of the network, each of one image, the measurements of a run take.

    Left out are the training of discriminators and classifiers, and metrics that do not sample.
    """
    evaluation = config.evaluation
    total = 0
    for sampler in evaluation.samplers:
        # An adaptive sampler chooses its evaluations.
        steps = evaluation.nfe if Setting(sampler).fixed_steps else (GUESSED_NFE,)
        # Weight 1 of classifier-free guidance is always sampled, the denoiser as it is.
        each = sum(network_evaluations(weight) for weight in (1.0, *evaluation.cfg))
        total += evaluation.samples * sum(steps) * each
    total += evaluation.trajectories * (2 * evaluation.reference_steps - 1)
    searched = evaluation.searched_schedules
    if searched:
        # The fixed one always, because all others are compared with it.
        cells = len({*searched, evaluation.fixed_schedule})
        # All samples again at the best schedule of each NFE, unless there is but one.
        again = evaluation.samples * (cells > 1)
        total += (evaluation.grid_samples * cells + again) * sum(evaluation.nfe)
    if evaluation.start:
        total += evaluation.samples * (1 + len(evaluation.start)) * sum(evaluation.start_nfe)
    if config.guidance.kind != "none":
        each = len(config.guidance.weights) * sum(config.guidance.nfe)
        total += evaluation.samples * each * len(config.guidance.noising)
    return total

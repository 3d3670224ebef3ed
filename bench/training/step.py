"""One training step: sigma, loss, gradient, Adam, moving average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bench.config import Execution, RunConfig
from bench.pairs.pool import Pairs
from bench.process.ranks import Ranks
from bench.randomness import derive, generator
from bench.training.compiled import Compiled, explained
from bench.training.curve import EVERY, Watch, add_errors
from bench.training.network import is_own
from bench.training.state import TrainState
from models.objectives.contract import Objective


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products round their factors to TF32 while this is open.

    Off otherwise: couplings on a GPU must not lose digits to the trainer's choice.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def draw_path_noise(
    objective: Objective, shape: tuple[int, ...], seed: int, step: int
) -> Tensor | None:
    """Draw the path's unit noise of a whole batch, float32 of ``shape`` on the CPU; None for an
    objective without any.
    """
    if not objective.path_sigma:
        return None
    stream = generator(seed, "path", 0, step)
    return torch.randn(shape, generator=stream, dtype=torch.float32, device="cpu")


def loss_weights(pairs: Pairs) -> dict[str, Tensor]:
    """The argument of ``Objective.loss`` for the weights of pairs; empty if they have none."""
    # Few couplings have any, so an objective of the user's own need not take them.
    return {} if pairs.weights is None else {"weights": pairs.weights}


def kept_labels(dropout: float, count: int, seed: int, step: int) -> Tensor:
    """Draw which labels of a whole batch stay: 1 or 0 for each ``[count, 1]``, on the CPU.

    The numbers have a stream of their own, so that all else is drawn as without label dropout.
    """
    stream = generator(seed, "label-dropout", 0, step)
    numbers = torch.rand(count, 1, generator=stream, dtype=torch.float32, device="cpu")
    return (numbers >= dropout).float()


def _moved(drawn: Tensor, device: str | torch.device) -> Tensor:
    """Move numbers drawn on the CPU to the device of the training, without waiting for it."""
    # A blocking copy waits for all that the GPU still has to compute. CUDA reads pageable memory
    # before the call returns, so the numbers need not be kept.
    return drawn.to(device, non_blocking=True)


class Stepper:
    """Takes steps of Adam, one mini-batch each.

    Args:
        config: of the run.
        state: the state that is trained; its step is counted up.
        ranks: the processes that share a batch; their gradients are averaged.
        execution: size of the micro-batches that go through the network at once, and whether the
            network is compiled.

    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainState,
        ranks: Ranks,
        execution: Execution = Execution(),  # noqa: B008 - frozen
    ):
        self.config = config
        self.state = state
        self.ranks = ranks
        self.share = config.training.batch // ranks.count
        self.micro_batch = min(execution.micro_batch or self.share, self.share)
        self.is_compiled = execution.compile
        self.denoise: Any = state.net
        # Shares of a network exchange their gradients themselves.
        self.is_replicated = ranks.count > 1 and not state.sharded
        if self.is_replicated:
            self.denoise = DistributedDataParallel(state.net)
        if execution.compile:
            self.denoise = Compiled(self.denoise, config.network.arch)

    def __call__(self, pairs: Pairs) -> Tensor:
        """Train on this rank's share of a batch; return its loss, a scalar on the device."""
        training = self.config.training
        state = self.state
        images_seen = state.step * training.batch
        # By images, not steps: the ramp is the same for every batch.
        for group in state.optimizer.param_groups:
            group["lr"] = training.lr * self._ramp(images_seen)
        state.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(pairs)
        for weight in state.net.parameters():
            if weight.grad is not None:
                # A stray overflow must not reach Adam's averages (as in Karras et al. 2022).
                torch.nan_to_num(weight.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=weight.grad)
        state.optimizer.step()
        state.ema.update(state.net, images_seen, training.batch)
        state.step += 1
        return loss

    def _ramp(self, images_seen: int) -> float:
        """Share of the learning rate at this step: it rises linearly from 0 to 1."""
        training = self.config.training
        return min(1.0, (images_seen + training.batch) / max(training.lr_ramp, 1))

    def _sigma(self, device: str) -> Tensor:
        """Draw the noise levels of this rank's share ``[share]``.

        Each rank draws those of the whole batch and takes its rows, so that the levels do not
        depend on how many processes share it.
        """
        stream = generator(self.config.seed, "sigma", 0, self.state.step)
        objective = self.state.net.objective
        sigma = objective.draw_sigma(self.config.training.batch, stream)
        first = self.ranks.rank * self.share
        return _moved(sigma[first : first + self.share], device)

    def _path_noise(self, images: Tensor) -> Tensor | None:
        """Draw the path's noise of this rank's share, as ``_sigma`` does; None without any."""
        objective = self.state.net.objective
        shape = (self.config.training.batch, *images.shape[1:])
        noise = draw_path_noise(objective, shape, self.config.seed, self.state.step)
        if noise is None:
            return None
        first = self.ranks.rank * self.share
        return _moved(noise[first : first + self.share], images.device)

    def _labels(self, labels: Tensor) -> Tensor | None:
        """Encode the labels of this rank's share, with zeros for those that are dropped."""
        training = self.config.training
        encoded = self.state.net.one_hot(labels)
        if encoded is None or not training.label_dropout:
            return encoded
        seed = self.config.seed
        kept = kept_labels(training.label_dropout, training.batch, seed, self.state.step)
        first = self.ranks.rank * self.share
        return encoded * _moved(kept[first : first + self.share], encoded.device)

    def _backward(self, pairs: Pairs) -> Tensor:
        """Leave the gradient of the mean loss in the weights, and return that loss.

        One micro-batch at a time: its size is a matter of memory, not of the result.
        """
        net = self.state.net
        sigma = self._sigma(str(pairs.images.device))
        path_noise = self._path_noise(pairs.images)
        labels = self._labels(pairs.labels)
        total = torch.zeros((), device=pairs.images.device)
        watched = self.state.step % EVERY == 0
        for first in range(0, self.share, self.micro_batch):
            rows = slice(first, first + self.micro_batch)
            part = pairs[rows]
            last = rows.stop >= self.share
            part_noise = None if path_noise is None else path_noise[rows]
            watch = Watch(self.denoise)
            with self._all_reduce_if(last), self._dropout_stream(first):
                loss = net.objective.loss(
                    watch if watched else self.denoise,
                    part.images,
                    part.noise,
                    sigma[rows],
                    None if labels is None else labels[rows],
                    part.augment_labels,
                    part_noise,
                    **loss_weights(part),
                )
                # The loss is a mean over its micro-batch; the last one may be smaller.
                loss = loss * (len(part.images) / self.share)
                with self._compiler():
                    loss.backward()
            total += loss.detach()
            # An objective of the user's own may call its network in another way.
            if watched and watch.output is not None and watch.output.shape == part.images.shape:
                target = net.objective.target(part.images, part.noise, part_noise)
                add_errors(self.state.level_sums, watch.output, target, sigma[rows])
        return total

    def _compiler(self) -> AbstractContextManager:
        """Turn an error of the compiler in the backward pass into one line; nothing without
        ``--compile``.
        """
        return explained(self.config.network.arch) if self.is_compiled else nullcontext()

    def _all_reduce_if(self, last: bool) -> AbstractContextManager:
        """Skip the gradient all-reduce until the last micro-batch (``no_sync``).

        Not with a sharded network: until then every process would hold the whole gradient.
        """
        if last or not self.is_replicated:
            return nullcontext()
        return self.denoise.no_sync()

    @contextmanager
    def _dropout_stream(self, first: int) -> Iterator[None]:
        """Seed dropout by step and rank; torch's dropout knows only the global generator.

        A network of the user's own may draw whatever its options are.
        """
        network = self.config.network
        if not (network.dropout or is_own(network)):
            yield
            return
        # Its own GPU only: by default every process would open a context on every GPU.
        gpus = [self.ranks.device] if self.ranks.device.startswith("cuda") else []
        seed = derive(self.config.seed, f"dropout/{first}", self.ranks.rank, self.state.step)
        with torch.random.fork_rng(gpus):
            torch.manual_seed(seed)
            yield

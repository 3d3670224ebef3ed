"""One training step: sigma, loss, gradient, Adam, moving average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from bench.config import Execution, RunConfig
from bench.pairs.pool import Pairs
from bench.process.ranks import Ranks
from bench.randomness import derive, generator
from bench.training.state import TrainState
from models.objectives.edm import draw_sigma, edm_loss


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products round their factors to TF32 for a while; couplings compute in float64 on
    a GPU.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


class Stepper:
    """One step of Adam on one mini-batch after the other.

    Args: config: of the run. state: what is trained; its step is counted up. ranks: the processes
        that share a batch; their gradients are averaged. execution: size of the parts that go
        through the network at once, and whether it is compiled.

    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainState,
        ranks: Ranks,
        execution: Execution = Execution(),  # noqa: B008 - frozen
    ):
        self.config, self.state, self.ranks = config, state, ranks
        self.share = config.training.batch // ranks.count
        self.micro_batch = min(execution.micro_batch or self.share, self.share)
        self.denoise = state.net
        if ranks.count > 1:
            self.denoise = DistributedDataParallel(state.net)
        if execution.compile:
            self.denoise = torch.compile(self.denoise)

    def __call__(self, pairs: Pairs) -> Tensor:
        """Train on this rank's share of a batch; its loss, a scalar on the device."""
        training, state = self.config.training, self.state
        images_seen = state.step * training.batch
        for group in state.optimizer.param_groups:
            group["lr"] = training.lr * min(
                1.0, (images_seen + training.batch) / max(training.lr_ramp, 1)
            )
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

    def _backward(self, pairs: Pairs) -> Tensor:
        """Leave the gradient of the mean loss; a micro-batch at a time, so that its size is a
        matter of memory.
        """
        training, state, net = self.config.training, self.state, self.state.net
        g = generator(self.config.seed, "sigma", 0, state.step)
        sigma = draw_sigma(
            training.batch, g, training.P_mean, training.P_std, str(pairs.images.device)
        )
        sigma = sigma[self.ranks.rank * self.share :][: self.share]
        total = torch.zeros((), device=pairs.images.device)
        for first in range(0, self.share, self.micro_batch):
            rows = slice(first, first + self.micro_batch)
            part = pairs[rows]
            labels = F.one_hot(part.labels, net.label_dim).float() if net.label_dim else None
            with self._gradients_stay_here(rows.stop < self.share), self._dropout_stream(first):
                loss = edm_loss(
                    self.denoise, part.images, part.noise, sigma[rows], labels, part.augment_labels
                )
                loss = loss * (len(part.images) / self.share)
                loss.backward()
            total += loss.detach()
        return total

    def _gradients_stay_here(self, wanted: bool) -> AbstractContextManager:
        """Until the last micro-batch, ranks need not hear of each other's gradients."""
        return self.denoise.no_sync() if wanted and self.ranks.count > 1 else nullcontext()

    @contextmanager
    def _dropout_stream(self, first: int) -> Iterator[None]:
        """Dropout's stream found by step; torch's dropout knows only the global generator."""
        if not self.config.network.dropout:
            yield
            return
        # Its own GPU alone: by default every process would open a context on every GPU.
        gpus = [self.ranks.device] if self.ranks.device.startswith("cuda") else []
        with torch.random.fork_rng(gpus):
            torch.manual_seed(
                derive(self.config.seed, f"dropout/{first}", self.ranks.rank, self.state.step)
            )
            yield

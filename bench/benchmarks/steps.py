"""Steps that the speed benchmark runs: the trainer's at a setting, and those of a plain loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.config import Execution, RunConfig
from bench.data import Dataset, Split
from bench.pairs.pool import Pairs
from bench.process.ranks import Ranks
from bench.randomness import derive, generator
from bench.training.network import AUGMENT_LABELS, build_network, find_objective
from bench.training.state import new_state
from bench.training.step import Stepper, draw_path_noise, tf32
from models.denoiser import Denoiser
from models.ode import CountNFE, SigmaODE
from models.samplers.heun import heun, heun_steps
from models.schedules.karras import karras_sigmas

if TYPE_CHECKING:
    from bench.benchmarks.settings import Setting


class PlainStepper:
    """Training steps of a straightforward loop, with the same numbers as the trainer's ``Stepper``.

    Karras et al. 2022, App. F: contiguous float32, Adam and the moving average one tensor after the
    other.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, device: str):
        training = config.training
        net = build_network(
            config.network,
            dataset,
            training.conditional,
            config.seed,
            training.augment > 0,
            find_objective(training),
        )
        self.config = config
        self.net = net.to(device).train()
        self.step = 0
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        # Neither fused nor foreach: that is what the trainer is compared with.
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=training.lr,
            weight_decay=training.weight_decay,
            foreach=False,
            fused=False,
        )

    def __call__(self, pairs: Pairs) -> Tensor:
        """Train on a batch; its loss, a scalar."""
        training = self.config.training
        seen = self.step * training.batch
        # As the trainer: the batch of this step counts.
        ramp = min(1, (seen + training.batch) / max(training.lr_ramp, 1))
        self.optimizer.param_groups[0]["lr"] = training.lr * ramp
        self.optimizer.zero_grad()
        loss = self._loss(pairs)
        loss.backward()
        for weight in self.net.parameters():
            # As in Karras et al.: a stray overflow must not reach Adam's averages.
            torch.nan_to_num(weight.grad, nan=0, posinf=1e5, neginf=-1e5, out=weight.grad)
        self.optimizer.step()
        self._update_average(seen)
        self.step += 1
        return loss.detach()

    def _loss(self, pairs: Pairs) -> Tensor:
        seed = self.config.seed
        net = self.net
        images = pairs.images
        g = generator(seed, "sigma", 0, self.step)
        sigma = net.objective.draw_sigma(len(images), g, str(images.device))
        labels = net.one_hot(pairs.labels)
        path_noise = draw_path_noise(net.objective, tuple(images.shape), seed, self.step)
        if path_noise is not None:
            path_noise = path_noise.to(images.device)
        dropout = self.config.network.dropout > 0
        # Dropout draws from the global generator only.
        with torch.random.fork_rng(enabled=dropout):
            if dropout:
                torch.manual_seed(derive(seed, "dropout/0", 0, self.step))
            return net.objective.loss(
                net, images, pairs.noise, sigma, labels, pairs.augment_labels, path_noise
            )

    def _update_average(self, seen: int) -> None:
        """Moving average of the weights, after ``seen`` images."""
        training = self.config.training
        # Early on, a long half-life would keep the initial weights in the average.
        halflife = max(min(training.ema_halflife, seen * training.ema_rampup), 1e-8)
        beta = 0.5 ** (training.batch / halflife)
        pairs = zip(self.average.parameters(), self.net.parameters(), strict=True)
        with torch.no_grad():
            for averaged, weight in pairs:
                averaged.copy_(weight.lerp(averaged, beta))


@dataclass
class Runner:
    """A setting at work: its step, its network, and all that training keeps between steps."""

    step: Callable[[Pairs], Tensor]
    denoise: Callable[..., Tensor]
    net: Denoiser
    average: nn.Module
    optimizer: torch.optim.Optimizer
    tf32: bool = False
    nfe: int | None = None  # evaluations that the last samples took

    def kept_mb(self) -> float:
        """Size of weights, average and the optimizer's tensors, in MB."""
        # Gradients are not among them: they are freed after every step.
        tensors = [*self.net.state_dict().values(), *self.average.state_dict().values()]
        for slots in self.optimizer.state.values():
            tensors += [slot for slot in slots.values() if isinstance(slot, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6

    def train(self, pairs: Pairs) -> None:
        """One step."""
        with tf32(self.tf32):
            self.step(pairs)

    def sample(self, pairs: Pairs, nfe: int) -> None:
        """Sample from a batch's noise and labels, and count the evaluations."""
        counted = CountNFE(self.denoise)
        labels = self.net.one_hot(pairs.labels)
        # Dropout would draw, and cost time that samples of bench.run do not take.
        self.net.eval()
        with torch.no_grad(), tf32(self.tf32):
            ode = SigmaODE(counted, labels)
            heun(ode, pairs.noise, karras_sigmas(heun_steps(nfe)))
        self.net.train()
        self.nfe = counted.nfe

    def release_gradients(self) -> None:
        """Free the gradients of the last step: the other settings need the memory."""
        self.optimizer.zero_grad(set_to_none=True)


def start(setting: Setting, batches: Batches) -> Runner:
    """A setting before its first step."""
    config = batches.config
    dataset = batches.dataset()
    device = batches.device
    if setting.plain:
        plain = PlainStepper(config, dataset, device)
        return Runner(plain, plain.net, plain.net, plain.average, plain.optimizer)
    # The trainer of bench.run itself, not a copy of it.
    config = replace(config, training=replace(config.training, precision=setting.precision))
    state = new_state(config, dataset, device)
    stepper = Stepper(config, state, Ranks(0, 1, device), Execution(compile=setting.compiled))
    return Runner(
        stepper,
        stepper.denoise,
        state.net,
        state.ema.net,
        state.optimizer,
        setting.precision == "tf32",
    )


@dataclass(frozen=True)
class Batches:
    """Random batches ``[batch, *shape]``, the same for all settings."""

    config: RunConfig
    shape: tuple[int, int, int]
    classes: int
    device: str

    def dataset(self) -> Dataset:
        """A data set of one random batch, to build a network for."""
        pairs = self.draw(0)
        split = Split(pairs.images, pairs.labels)
        return Dataset(self.config.data, split, split, self.classes)

    def draw(self, number: int) -> Pairs:
        """The batch of a round: pixels uniform in [-1, 1], unit noise, random labels, no
        augmentation.
        """
        n = self.config.training.batch
        g = generator(self.config.seed, "speed", 0, number)
        images = torch.rand(n, *self.shape, generator=g) * 2 - 1
        noise = torch.randn(n, *self.shape, generator=g)
        labels = torch.randint(self.classes, (n,), generator=g)
        augment_labels = None
        if self.config.training.augment:
            # The network has inputs for them, so its cost includes them.
            augment_labels = torch.zeros(n, AUGMENT_LABELS, device=self.device)
        device = self.device
        return Pairs(images.to(device), noise.to(device), labels.to(device), augment_labels)

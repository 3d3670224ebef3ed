"""What the speed benchmark runs: the trainer at a setting, a plain loop to compare it with, and clocks for both."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import memory
from bench.arm import refuse_unfit
from bench.config import Execution, RunConfig
from bench.couplers import Pairs
from bench.data import Dataset, Split
from bench.randomness import derive, generator
from bench.ranks import Ranks
from bench.train import AUGMENT_LABELS, Stepper, build_network, new_state, tf32
from models.precondition import draw_sigma, edm_loss
from models.samplers import CountNFE, heun
from models.schedule import heun_steps, karras_sigmas

if TYPE_CHECKING:
    from bench.speed import Command, Setting, Tally


class PlainStepper:
    """One step after the other as a straightforward loop takes it, with the numbers of ``bench.train.Stepper``.

    Karras et al. 2022, App. F: contiguous float32, Adam and the moving average one tensor after the other.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, device: str):
        training = config.training
        net = build_network(config.network, dataset, training.conditional, config.seed, training.augment > 0)
        self.config, self.net, self.step = config, net.to(device).train(), 0
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=training.lr, foreach=False, fused=False)

    def __call__(self, pairs: Pairs) -> Tensor:
        """Train on a batch; its loss."""
        training, seed, net = self.config.training, self.config.seed, self.net
        seen = self.step * training.batch
        self.optimizer.param_groups[0]["lr"] = training.lr * min(1, (seen + training.batch) / max(training.lr_ramp, 1))
        self.optimizer.zero_grad()
        g = generator(seed, "sigma", 0, self.step)
        sigma = draw_sigma(training.batch, g, training.P_mean, training.P_std, str(pairs.images.device))
        labels = F.one_hot(pairs.labels, net.label_dim).float() if net.label_dim else None
        dropout = self.config.network.dropout > 0
        with torch.random.fork_rng(enabled=dropout):  # dropout knows the global generator alone
            if dropout:
                torch.manual_seed(derive(seed, "dropout/0", 0, self.step))
            loss = edm_loss(net, pairs.images, pairs.noise, sigma, labels, pairs.augment_labels)
            loss.backward()
        for weight in net.parameters():
            torch.nan_to_num(weight.grad, nan=0, posinf=1e5, neginf=-1e5, out=weight.grad)
        self.optimizer.step()
        halflife = max(min(training.ema_halflife, seen * training.ema_rampup), 1e-8)
        beta = 0.5 ** (training.batch / halflife)
        with torch.no_grad():
            for averaged, weight in zip(self.average.parameters(), net.parameters(), strict=True):
                averaged.copy_(weight.lerp(averaged, beta))
        self.step += 1
        return loss.detach()


@dataclass
class Runner:
    """A setting at work: its step, its network, and all that training keeps beside a step."""

    step: Callable[[Pairs], Tensor]
    denoise: Callable[..., Tensor]
    net: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    tf32: bool = False
    nfe: int | None = None  # evaluations that the last samples took

    def kept_mb(self) -> float:
        """Size of weights, average and the optimizer's tensors, in MB."""
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
        counted, classes = CountNFE(self.denoise), self.net.label_dim
        labels = F.one_hot(pairs.labels, classes).float() if classes else None
        self.net.eval()
        with torch.no_grad(), tf32(self.tf32):
            heun(counted, pairs.noise, karras_sigmas(heun_steps(nfe)), labels)
        self.net.train()
        self.nfe = counted.nfe

    def release_gradients(self) -> None:
        """Give back what a step leaves behind: the other settings need the memory."""
        self.optimizer.zero_grad(set_to_none=True)


def start(setting: Setting, batches: Batches) -> Runner:
    """A setting before its first step."""
    config, dataset, device = batches.config, batches.dataset(), batches.device
    if setting.plain:
        plain = PlainStepper(config, dataset, device)
        return Runner(plain, plain.net, plain.net, plain.average, plain.optimizer)
    config = replace(config, training=replace(config.training, precision=setting.precision))
    state = new_state(config, dataset, device)
    stepper = Stepper(config, state, Ranks(0, 1, device), Execution(compile=setting.compiled))
    return Runner(stepper, stepper.denoise, state.net, state.ema.net, state.optimizer, setting.precision == "tf32")


@dataclass(frozen=True)
class Batches:
    """Random batches ``[batch, *shape]``, the same for all settings."""

    config: RunConfig
    shape: tuple[int, int, int]
    classes: int
    device: str

    def dataset(self) -> Dataset:
        """A data set of one random batch: what a network is built for."""
        pairs = self.draw(0)
        split = Split(pairs.images, pairs.labels)
        return Dataset(self.config.data, split, split, self.classes)

    def draw(self, number: int) -> Pairs:
        """The batch of a round: pixels uniform in [-1, 1], unit noise, random labels, no augmentation."""
        n, g = self.config.training.batch, generator(self.config.seed, "speed", 0, number)
        images = torch.rand(n, *self.shape, generator=g) * 2 - 1
        noise = torch.randn(n, *self.shape, generator=g)
        labels = torch.randint(self.classes, (n,), generator=g)
        augment_labels = torch.zeros(n, AUGMENT_LABELS, device=self.device) if self.config.training.augment else None
        return Pairs(images.to(self.device), noise.to(self.device), labels.to(self.device), augment_labels)


@dataclass
class Contest:
    """All settings at work on the same batches. One that raises keeps its numbers and takes no further round.

    Raises:
        ConfigError: the network cannot be built for these images.

    """

    command: Command
    batches: Batches
    tallies: Sequence[Tally]
    runners: dict[str, Runner] = field(default_factory=dict)

    def __post_init__(self):
        refuse_unfit(self.batches.config, self.batches.dataset())

    @property
    def steps(self) -> int:
        """How many times ``measure`` comes back."""
        return len(self.tallies) * (1 + self.command.rounds + self.command.sample_rounds)

    def measure(self) -> Iterator[str]:
        """Measure every setting, round by round, and say after each step what it was.

        The order moves on from round to round, so that none is always first. ``tallies`` hold all that was measured.
        """
        for tally in self.tallies:
            self._attempt(tally, self._warm_up)
            yield f"warm-up, {tally.setting.name}"
        for what, action, rounds in (
            ("training", self._train, self.command.rounds),
            ("sampling", self._sample, self.command.sample_rounds),
        ):
            for number in range(1, rounds + 1):
                pairs, first = self.batches.draw(number), number % len(self.tallies)
                for tally in [*self.tallies[first:], *self.tallies[:first]]:
                    if tally.setting.name in self.runners:
                        self._attempt(tally, action, pairs, number)
                    yield f"{what}, {tally.setting.name}"

    def _attempt(self, tally: Tally, action: Callable[..., None], *args: object) -> None:
        try:
            action(tally, *args)
        except RuntimeError as error:  # out of memory, or nothing to compile with
            self.runners.pop(tally.setting.name, None)
            tally.note = next(iter(str(error).strip().splitlines()), type(error).__name__)

    def _warm_up(self, tally: Tally) -> None:
        """Two steps, the first of which loads libraries and compiles, and the memory of the second."""
        runner = self.runners[tally.setting.name] = start(tally.setting, self.batches)
        tally.parameters = sum(weight.numel() for weight in runner.net.parameters())
        pairs = self.batches.draw(0)
        tally.first_step_s = seconds(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()
        peak = peak_mb(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()
        tally.train_mb = None if peak is None else peak + runner.kept_mb()

    def _train(self, tally: Tally, pairs: Pairs, number: int) -> None:
        runner = self.runners[tally.setting.name]
        tally.train[number] = seconds(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()

    def _sample(self, tally: Tally, pairs: Pairs, number: int) -> None:
        runner = self.runners[tally.setting.name]
        if number == 1:  # to warm up
            runner.sample(pairs, 3)
        took = seconds(self.batches.device, lambda: runner.sample(pairs, self.command.nfe))
        tally.sample[number], tally.nfe = took, runner.nfe


def seconds(device: str, action: Callable[[], None]) -> float:
    """Wall time of an action, the device's work included."""
    _finish(device)
    start = time.perf_counter()
    action()
    _finish(device)
    return time.perf_counter() - start


def peak_mb(device: str, action: Callable[[], None]) -> float | None:
    """The most memory that an action held beside what was held before, in MB; None on a CPU without Linux and glibc."""
    if device.startswith("cuda"):
        _finish(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        _finish(device)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = memory.reset_peak()
    action()
    return (memory.status("VmHWM") - before) / 1e6 if before is not None else None


def _finish(device: str) -> None:
    """Kernels run behind a GPU's back: wait for them."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()

"""The loop of torchcfm's documentation, with its own coupling or with PairedLoader.

    pip install -c constraints.txt '.[peers]'
    python examples/torchcfm_loop.py            # eight Gaussians to moons, on a CPU

torchcfm pairs inside ``sample_location_and_conditional_flow``. With PairedLoader the pairs come
from the loader, so the matcher is the one without a coupling, ``ConditionalFlowMatcher``. The table
has the loss of both over the last quarter, and the median time of a step. Steps of both alternate,
so that whatever else the machine does slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchcfm.conditional_flow_matching import (
    ConditionalFlowMatcher,
    ExactOptimalTransportConditionalFlowMatcher,
)
from torchcfm.models import MLP
from torchcfm.utils import sample_8gaussians, sample_moons

from couplings.loader import PairedLoader

SIGMA = 0.1
WARM_UP = 10  # steps that are not timed
Flow = tuple[Tensor, Tensor, Tensor]


class Moons(IterableDataset):
    """Batches of moons ``[batch, 2]``, for ever."""

    def __init__(self, batch: int):
        self.batch = batch

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield sample_moons(self.batch)


def torchcfm_batches(batch: int) -> Iterator[Flow]:
    """Time, place and velocity of batches that torchcfm pairs."""
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=SIGMA)
    while True:
        x0 = sample_8gaussians(batch)
        x1 = sample_moons(batch)
        yield matcher.sample_location_and_conditional_flow(x0, x1)


def paired_batches(batch: int, seed: int) -> Iterator[Flow]:
    """The same of batches that PairedLoader pairs, each as a pool of its own as in torchcfm."""
    matcher = ConditionalFlowMatcher(sigma=SIGMA)
    # The data set yields whole batches: batch_size=None hands them on as they are.
    loader = DataLoader(Moons(batch), batch_size=None)

    def source(shape: torch.Size, generator: torch.Generator) -> Tensor:
        return sample_8gaussians(shape[0])

    for x1, x0 in PairedLoader(loader, "lapjv", seed=seed, source=source):
        yield matcher.sample_location_and_conditional_flow(x0, x1)


class Training:
    """A network of torchcfm's example, its optimizer, and what its steps gave and cost."""

    def __init__(self, batches: Iterator[Flow], seed: int, clock: Callable[[], float]):
        torch.manual_seed(seed)
        self.net: nn.Module = MLP(dim=2, time_varying=True)
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.batches = batches
        self.clock = clock
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take one step; the time includes the pairing."""
        begin = self.clock()
        t, x_t, velocity = next(self.batches)
        predicted = self.net(torch.cat([x_t, t[:, None]], dim=-1))
        loss = (predicted - velocity).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        self.seconds.append(self.clock() - begin)


def compare(
    steps: int, batch: int, seed: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Training]:
    """Both trainings from equal weights, step by step in turn."""
    trainings = {
        "torchcfm": Training(torchcfm_batches(batch), seed, clock),
        "PairedLoader": Training(paired_batches(batch, seed), seed, clock),
    }
    for _ in range(steps):
        for training in trainings.values():
            training.step()
    return trainings


def main(args: list[str] | None = None) -> dict[str, list[float]]:
    """Print the losses of every seed and the time per step; the losses by loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of the process, where others share the cores"
    )
    options = parser.parse_args(args)
    clock = time.process_time if options.cpu_time else time.perf_counter
    losses: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        for name, training in compare(options.steps, options.batch, seed, clock).items():
            last = training.losses[-max(1, options.steps // 4) :]
            losses.setdefault(name, []).append(statistics.mean(last))
            seconds.setdefault(name, []).extend(training.seconds[WARM_UP:])
    print(f"{'loop':<14}{'loss':>10}{'std. error':>12}{'ms per step':>13}")
    for name, found in losses.items():
        error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
        median = 1e3 * statistics.median(seconds[name] or [float("nan")])
        print(f"{name:<14}{statistics.mean(found):>10.4f}{error:>12.4f}{median:>13.2f}")
    return losses


if __name__ == "__main__":
    main()

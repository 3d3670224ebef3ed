"""Flow matching in a loop of your own: random pairing against optimal transport, in a minute.

    python examples/paired_loader.py

The loop follows torchcfm's examples: noise x0, data x1, a point between them, its velocity. Only
the loader differs. The data are eight Gaussians in the plane; the error is the squared W2 distance
between generated points and held-out ones, in few Euler steps and in many.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from couplings import get
from couplings.loader import PairedLoader

STEPS = (1, 2, 4, 8, 32)  # of Euler's method, in each of which the network is evaluated once
POINTS = 1024  # generated for the error


@dataclass(frozen=True)
class Result:
    """A training: its mean loss over the last quarter, and the squared W2 error by Euler steps."""

    loss: float
    errors: dict[int, float]
    solver_seconds: float


def eight_gaussians(n: int, seed: int) -> Tensor:
    """Points ``[n, 2]`` of eight Gaussians on a circle, with deviation 1 in each coordinate."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    centre = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    return centre + 0.1 * torch.randn(n, 2, generator=generator)


class Velocity(nn.Module):
    """The velocity v(x, t) of a point ``[n, 2]`` at time t ``[n, 1]``."""

    def __init__(self, width: int = 128):
        super().__init__()
        hidden = [nn.Linear(width, width), nn.SiLU()]
        self.layers = nn.Sequential(nn.Linear(3, width), nn.SiLU(), *hidden, nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity ``[n, 2]``."""
        return self.layers(torch.cat([x, t], 1))


def train(coupling: str, steps: int, batch: int, pool: int, seed: int) -> Result:
    """Train with one coupling; all else, weights and batches included, is the same for all."""
    torch.manual_seed(seed)
    net = Velocity()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    # Without the last short batch, so that every pool is full.
    data = TensorDataset(eight_gaussians(16_384, seed=0))
    loader = DataLoader(data, batch, shuffle=True, drop_last=True)
    pairs = PairedLoader(loader, coupling, pool=pool, seed=seed)
    losses: list[float] = []
    solver_seconds = 0.0
    while len(losses) < steps:
        for number, (x1, x0) in enumerate(pairs):
            if number % pool == 0:
                solver_seconds += pairs.report["seconds"]
            t = torch.rand(len(x1), 1)
            x_t = (1 - t) * x0 + t * x1
            loss = (net(x_t, t) - (x1 - x0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    last = losses[-max(1, steps // 4) :]
    return Result(sum(last) / len(last), errors(net), solver_seconds)


@torch.no_grad()
def errors(net: Velocity) -> dict[int, float]:
    """Squared W2 between generated and held-out points, by Euler steps."""
    real = eight_gaussians(POINTS, seed=1)
    noise = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(2))
    found = {}
    for steps in STEPS:
        x = noise.clone()
        for step in range(steps):
            x += net(x, torch.full((POINTS, 1), step / steps)) / steps
        # The cost of an optimal pairing of two sets is the squared W2 distance between them.
        found[steps] = get("lapjv").pair(x, real).report["cost_after"]
    return found


def main(args: list[str] | None = None) -> dict[str, Result]:
    """Train with each coupling, print a table, return its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--couplings", nargs="+", default=["random", "lapjv"])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pool", type=int, default=2, help="batches that are coupled at once")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    header = "".join(f"{f'W2^2 at {steps}':>13}" for steps in STEPS)
    print(f"{'coupling':<12}{'loss':>8}{header}{'solver':>10}", flush=True)
    results = {}
    for coupling in options.couplings:
        result = train(coupling, options.steps, options.batch, options.pool, options.seed)
        row = "".join(f"{error:>13.4f}" for error in result.errors.values())
        solver = f"{result.solver_seconds:.1f} s"
        print(f"{coupling:<12}{result.loss:>8.3f}{row}{solver:>10}", flush=True)
        results[coupling] = result
    return results


if __name__ == "__main__":
    main()

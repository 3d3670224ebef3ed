"""Flow matching in your own loop: random pairs against optimal-transport pairs, eight Gaussians.

python examples/flow_matching.py        about a minute on a CPU
"""

import argparse
import math

import torch
from torch import nn

from couplings import get


def draw_data(count: int, generator: torch.Generator) -> torch.Tensor:
    """Points `[count, 2]` around eight centres on a circle of radius 2."""
    angle = torch.randint(8, (count,), generator=generator) * (2 * math.pi / 8)
    centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + 0.1 * torch.randn(count, 2, generator=generator)


def train(coupling: str, steps: int, batch: int = 512) -> nn.Module:
    """A velocity network, trained on pairs of a coupling along straight paths."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 128), nn.SiLU())
    net.extend([nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2)])
    chosen = get(coupling)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        data = draw_data(batch, generator)
        noise = torch.randn(batch, 2, generator=generator)
        # These two lines are all that a coupling changes.
        pairing = chosen.pair(data, noise, generator=generator)
        noise = noise[pairing.index]
        t = torch.rand(batch, 1, generator=generator)  # 0 is noise, 1 is data
        velocity = net(torch.cat([(1 - t) * noise + t * data, t], 1))
        loss = (velocity - (data - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


@torch.no_grad()
def sample(net: nn.Module, noise: torch.Tensor, nfe: int) -> torch.Tensor:
    """Points `[count, 2]` by Euler's method with `nfe` evaluations of the network."""
    x = noise
    for step in range(nfe):
        x = x + net(torch.cat([x, torch.full_like(x[:, :1], step / nfe)], 1)) / nfe
    return x


def compare(steps: int, count: int, evaluations: tuple[int, ...]) -> dict[str, list[float]]:
    """Coupling to the exact W2 distance between samples and data, at each number of evaluations."""
    generator = torch.Generator().manual_seed(1)
    data = draw_data(count, generator)
    noise = torch.randn(count, 2, generator=generator)
    table = {}
    for coupling in ("random", "lapjv"):
        net = train(coupling, steps)
        samples = [sample(net, noise, nfe) for nfe in evaluations]
        # The cost of the optimal assignment is the squared distance.
        costs = [get("lapjv").pair(data, x).report["cost_after"] for x in samples]
        table[coupling] = [math.sqrt(cost) for cost in costs]
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="training steps (default: 1000)")
    evaluations = (1, 2, 4, 8, 16, 32)
    print("W2 by NFE " + "".join(f"{nfe:8d}" for nfe in evaluations))
    for name, distances in compare(parser.parse_args().steps, 2000, evaluations).items():
        print(f"{name:10}" + "".join(f"{distance:8.3f}" for distance in distances))

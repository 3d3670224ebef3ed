"""Flow matching with Hugging Face Accelerate: the loader is prepared first, then paired.

pip install accelerate
accelerate launch examples/accelerate_loop.py    # or python; seconds on a CPU
"""

from __future__ import annotations

import argparse
import math

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from couplings.loader import PairedLoader


def points(n: int) -> Tensor:
    """Points ``[n, 2]`` of eight Gaussians on a circle."""
    angle = torch.randint(8, (n,)) * (math.pi / 4)
    return math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2)


def train(coupling: str, epochs: int, seed: int = 0) -> list[float]:
    """The loss of every step of this process."""
    set_seed(seed)
    accelerator = Accelerator(cpu=True)
    net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(points(2048)), 128, shuffle=True, drop_last=True)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    # After prepare, which shards the images over the ranks and moves them to the device: each rank
    # then couples its own. over_ranks=True would couple those of all ranks as one.
    pairs = PairedLoader(loader, coupling, pool=2, seed=seed)
    losses = []
    for _ in range(epochs):
        for x1, x0 in pairs:
            t = torch.rand(len(x1), 1, device=x1.device)
            x_t = (1 - t) * x0 + t * x1
            loss = (net(torch.cat([x_t, t], 1)) - (x1 - x0)).square().mean()
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return losses


def main(args: list[str] | None = None) -> dict[str, float]:
    """Train with random pairs and with optimal ones; mean loss of the last epoch of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args(args).epochs
    found = {}
    for coupling in ("random", "lapjv"):
        losses = train(coupling, epochs)
        last = losses[-16:]
        found[coupling] = sum(last) / len(last)
        print(f"{coupling:<8} loss {found[coupling]:.3f}", flush=True)
    return found


if __name__ == "__main__":
    main()

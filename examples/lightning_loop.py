"""Flow matching with PyTorch Lightning: PairedLoader in the place of the training loader.

pip install pytorch-lightning
python examples/lightning_loop.py           # eight Gaussians in the plane, seconds on a CPU
"""

from __future__ import annotations

import argparse
import math

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from couplings.loader import PairedLoader


class FlowMatching(lightning.LightningModule):
    """A velocity network; a batch is (images, noise), whatever paired them."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of a batch."""
        x1, x0 = batch
        t = torch.rand(len(x1), 1, device=x1.device)
        x_t = (1 - t) * x0 + t * x1
        loss = (self.net(torch.cat([x_t, t], 1)) - (x1 - x0)).square().mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def points(n: int) -> Tensor:
    """Points ``[n, 2]`` of eight Gaussians on a circle."""
    angle = torch.randint(8, (n,)) * (math.pi / 4)
    return math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2)


def train(coupling: str, epochs: int, seed: int = 0) -> list[float]:
    """The loss of every step."""
    lightning.seed_everything(seed, verbose=False)
    loader = DataLoader(TensorDataset(points(2048)), 128, shuffle=True, drop_last=True)
    # Lightning takes any iterable. It moves batches to its device after they were paired, and
    # replaces the sampler of plain DataLoaders only: with several ranks pass a DistributedSampler.
    pairs = PairedLoader(loader, coupling, pool=2, seed=seed)
    module = FlowMatching()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, pairs)
    return module.losses


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

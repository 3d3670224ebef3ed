"""The state of a training: weights, optimizer, moving average, and how a new one is built."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from bench.config import NetworkConfig, RunConfig
from bench.data import Dataset
from bench.pairs.cost import CouplingCost
from bench.randomness import derive
from models.ema import EMA
from models.networks import archs as networks
from models.objectives.edm import EDMDenoiser

AUGMENT_LABELS = 9


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the way out."""


@dataclass
class TrainState:
    """All that a resumed run needs; random streams are found by step, so none is stored."""

    net: EDMDenoiser
    ema: EMA
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    cost: CouplingCost = field(default_factory=CouplingCost)
    # The state of a dataset coupling that learns, else None
    coupling: dict[str, Tensor] | None = None
    # {"images", "loss"} at every look at the loss
    history: list[dict[str, float]] = field(default_factory=list)
    # Of the steps since the last look, scalars on the device
    losses: list[Tensor] = field(default_factory=list)
    # That trained it: with pools of their own, other pools would be drawn with more or fewer
    processes: int = 1

    def to_bytes(self) -> bytes:
        """Serialise the state."""
        buffer = io.BytesIO()
        content = {
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "cost": asdict(self.cost),
            "coupling": self.coupling,
            "history": self.history,
            "losses": torch.stack(self.losses) if self.losses else None,
            "processes": self.processes,
        }
        torch.save(content, buffer)
        return buffer.getvalue()

    def restore(self, content: dict) -> None:
        """Take over a saved state."""
        self.net.load_state_dict(content["net"])
        self.ema.net.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.seconds = content["step"], content["seconds"]
        self.cost, self.coupling = CouplingCost(**content["cost"]), content["coupling"]
        self.history, self.processes = content["history"], content["processes"]
        losses = content.get("losses")  # checkpoints of old have none
        self.losses = [] if losses is None else list(losses)


def build_network(
    config: NetworkConfig, dataset: Dataset, conditional: bool, seed: int, augmented: bool = False
) -> EDMDenoiser:
    """The denoiser with the initial weights of ``seed``: the same ones for every coupling."""
    channels, height, width = dataset.image_shape
    if height != width:
        raise TrainingError(
            f"{dataset.name} has {height}x{width} images; the networks need square ones"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        return getattr(networks, config.arch)(
            img_resolution=height,
            img_channels=channels,
            label_dim=dataset.num_classes if conditional else 0,
            augment_dim=AUGMENT_LABELS if augmented else 0,
            model_channels=config.model_channels,
            channel_mult=config.channel_mult,
            num_blocks=config.num_blocks,
            attn_resolutions=config.attn_resolutions,
            dropout=config.dropout,
        )


def new_state(config: RunConfig, dataset: Dataset, device: str) -> TrainState:
    """The state before the first step."""
    training = config.training
    net = build_network(
        config.network, dataset, training.conditional, config.seed, training.augment > 0
    )
    net = net.to(
        device,
        memory_format=torch.channels_last if device.startswith("cuda") else torch.contiguous_format,
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=training.lr, fused=True)
    ema = EMA(net, training.ema_halflife, training.ema_rampup)
    net.dtype = torch.bfloat16 if training.precision == "bfloat16" else torch.float32
    return TrainState(net.train(), ema, optimizer)


def total_steps(config: RunConfig) -> int:
    """Steps in the budget, at least one."""
    return max(1, round(config.training.images / config.training.batch))

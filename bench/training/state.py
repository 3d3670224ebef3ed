"""The state of a training: weights, optimizer, moving average."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.data import Dataset
from bench.pairs.cost import CouplingCost
from bench.record import UserError
from bench.training.curve import Entry, new_sums
from bench.training.network import build_network, find_objective
from models.denoiser import Denoiser
from models.ema import EMA


class TrainingError(UserError):
    """Training cannot continue; the message names the way out."""


@dataclass
class Selected:
    """The weights of least validation loss so far.

    Attributes:
        loss: that of training, on the validation split.
        images: training images that the weights had seen.
        weights: by name.

    """

    loss: float
    images: int
    weights: dict[str, Tensor]


@dataclass
class TrainState:
    """Everything that a resumed run needs; random streams are found by step, so none is stored.

    Attributes:
        net: the denoiser in training.
        ema: moving average of its weights.
        optimizer: AdamW, with its averages.
        step: steps taken so far.
        seconds: spent in training so far, over all sessions.
        cost: of the coupling so far.
        coupling: state of a dataset coupling that learns during the training, or the pairing of
            the last pool by one that follows the model; else None.
        history: images, loss and error by noise level at each check of the loss; see
            ``bench.training.curve``.
        losses: of the steps since the last check, scalars on the device.
        level_sums: errors by noise level since the last check, of this process.
        processes: number of processes that trained it. With pools per process, another number
            would draw other pools.
        selected: weights of least validation loss so far; None without a selection.
        sharded: True if each process holds a share of it; see ``bench.training.sharded``.

    """

    net: Denoiser
    ema: EMA
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    cost: CouplingCost = field(default_factory=CouplingCost)
    coupling: dict[str, Tensor] | None = None
    history: list[Entry] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    level_sums: Tensor = field(default_factory=new_sums)
    processes: int = 1
    selected: Selected | None = None
    sharded: bool = False

    def content(self) -> dict:
        """All that a checkpoint holds; of a sharded state the share of this process."""
        return {
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "cost": asdict(self.cost),
            "coupling": self.coupling,
            "history": self.history,
            "losses": torch.stack(self.losses) if self.losses else None,
            "level_sums": self.level_sums,
            "processes": self.processes,
            # Not `asdict`, which would copy the weights.
            "selected": dict(vars(self.selected)) if self.selected else None,
        }

    def restore(self, content: dict) -> None:
        """Replace the state by a saved one."""
        self.net.load_state_dict(content["net"])
        self.ema.net.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = content["step"]
        self.seconds = content["seconds"]
        self.cost = CouplingCost(**content["cost"])
        self.coupling = content["coupling"]
        self.history = content["history"]
        self.processes = content["processes"]
        # Checkpoints of earlier versions have no losses.
        losses = content.get("losses")
        self.losses = [] if losses is None else list(losses)
        # Nor errors by noise level.
        self.level_sums = content.get("level_sums", self.level_sums)
        selected = content.get("selected")
        self.selected = Selected(**selected) if selected else None


def new_state(config: RunConfig, dataset: Dataset, device: str) -> TrainState:
    """Make the state before the first step."""
    training = config.training
    net = build_network(
        config.network,
        dataset,
        training.conditional,
        config.seed,
        augmented=training.augment > 0,
        objective=find_objective(training, dataset),
        drops_labels=training.label_dropout > 0,
    )
    net = placed(net, device)
    # AdamW without decay is Adam, bit for bit.
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True
    )
    # Before the dtype is set: samples are drawn from the average in float32.
    ema = EMA(net, training.ema_halflife, training.ema_rampup)
    net.dtype = torch.bfloat16 if training.precision == "bfloat16" else torch.float32
    return TrainState(net.train(), ema, optimizer, level_sums=new_sums(device))


def placed(net: Denoiser, device: str) -> Denoiser:
    """Move a network to a device, in the memory layout that suits it there."""
    # GPUs convolve images in this layout without converting them at every layer.
    on_gpu = device.startswith("cuda")
    layout = torch.channels_last if on_gpu else torch.contiguous_format
    # No overload in torch's stubs has both.
    return net.to(device, memory_format=layout)  # type: ignore[call-overload]


def total_steps(config: RunConfig) -> int:
    """Number of steps in the budget, at least one."""
    return max(1, round(config.training.images / config.training.batch))

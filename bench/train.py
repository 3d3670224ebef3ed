"""The EDM trainer (Karras et al. 2022), the same for every coupling; a killed run resumes to the same weights."""

from __future__ import annotations

import io
import math
import os
import time
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config import NetworkConfig, RunConfig
from bench.couplers import Pairs
from bench.data import Dataset
from bench.fit import fit
from bench.pairs import CouplingCost, PairStream
from bench.randomness import derive, generator
from bench.record import RunFolder, write_bytes
from couplings import Coupling, Fitted, get
from models import networks
from models.ema import EMA
from models.precondition import EDMDenoiser, draw_sigma, edm_loss

CHECK_EVERY = 50  # steps between looks at the loss: each look waits for the device
CHECKPOINT_SECONDS = 15.0


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
    coupling: dict[str, Tensor] | None = None  # the state of a dataset coupling that learns, else None
    history: list[dict[str, float]] = field(default_factory=list)  # {"images", "loss"} at every look at the loss

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
        self.history = content["history"]


def build_network(config: NetworkConfig, dataset: Dataset, conditional: bool, seed: int) -> EDMDenoiser:
    """The denoiser with the initial weights of ``seed``: the same ones for every coupling."""
    channels, height, width = dataset.image_shape
    if height != width:
        raise TrainingError(f"{dataset.name} has {height}x{width} images; the networks need square ones")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        return getattr(networks, config.arch)(
            img_resolution=height,
            img_channels=channels,
            label_dim=dataset.num_classes if conditional else 0,
            augment_dim=0,
            model_channels=config.model_channels,
            channel_mult=config.channel_mult,
            num_blocks=config.num_blocks,
            attn_resolutions=config.attn_resolutions,
            dropout=config.dropout,
        )


def new_state(config: RunConfig, dataset: Dataset, device: str) -> TrainState:
    """The state before the first step."""
    training = config.training
    net = build_network(config.network, dataset, training.conditional, config.seed).to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=training.lr, fused=True)
    return TrainState(net, EMA(net, training.ema_halflife, training.ema_rampup), optimizer)


def total_steps(config: RunConfig) -> int:
    """Steps in the budget, at least one."""
    return max(1, round(config.training.images / config.training.batch))


def train(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    device: str,
    progress: bool = True,
    workers: int = 0,
) -> TrainState:
    """Train a denoiser, or go on with what the folder's checkpoint holds, and leave the final checkpoint there.

    Raises:
        CouplingError: a pool, or the fit of a dataset coupling, cannot be solved.
        TrainingError: the loss is no longer finite; the last good checkpoint stays.

    """
    training, steps = config.training, total_steps(config)
    state = new_state(config, dataset, device)
    if content := load_checkpoint(folder, device):
        state.restore(content)
    if state.step >= steps:
        return state
    stream = PairStream(
        dataset.train,
        coupling_of(config, dataset, folder, device, state),
        pool=training.pool,
        batch=training.batch,
        seed=config.seed,
        start_step=state.step,
        stop_step=steps,
        cost=state.cost,
        scope=training.pool_scope,
        workers=workers,
        pin=device == "cuda",
    )
    bar = tqdm(
        total=steps * training.batch,
        initial=state.step * training.batch,
        desc=f"train {config.coupling} seed {config.seed}",
        unit="img",
        unit_scale=True,
        disable=None if progress else True,
    )
    with stream, bar:
        _run_steps(config, state, stream, folder, device, steps, bar)
    return state


def coupling_of(
    config: RunConfig, dataset: Dataset, folder: RunFolder, device: str, state: TrainState
) -> Coupling | Fitted:
    """The coupling that the stream needs: a dataset coupling is fitted first, or goes on from what it learned."""
    coupling = get(config.coupling)
    if coupling.kind == "batch":
        return coupling
    fitted = fit(coupling, dataset, config.seed, folder.path.parent / ".cache", device)
    state.cost.fit_seconds = fitted.report["seconds"]
    if state.coupling is not None:
        fitted.load_state_dict(state.coupling)
    return fitted


def _run_steps(config, state: TrainState, stream: PairStream, folder: RunFolder, device, steps, bar) -> None:
    batch = config.training.batch
    losses: list[Tensor] = []
    clock = saved = time.perf_counter()
    for pairs in stream:
        losses.append(train_step(config, state, pairs.to(device)))
        bar.update(batch)
        last = state.step == steps
        if state.step % CHECK_EVERY and not last:
            continue
        loss = torch.stack(losses).mean().item()
        losses.clear()
        _refuse_nonfinite(loss, state, folder)
        state.history.append({"images": state.step * batch, "loss": loss})
        bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
        now = time.perf_counter()
        if last or now - saved > CHECKPOINT_SECONDS:
            state.seconds += now - clock
            state.coupling = stream.state
            save_checkpoint(folder, state)
            clock = saved = time.perf_counter()
        if last:
            return


def train_step(config: RunConfig, state: TrainState, pairs: Pairs) -> Tensor:
    """One step of Adam on one mini-batch; returns the loss, a scalar on the device, and counts the step."""
    training, net = config.training, state.net
    device = pairs.images.device
    images_seen = state.step * training.batch
    for group in state.optimizer.param_groups:
        group["lr"] = training.lr * min(1.0, (images_seen + training.batch) / max(training.lr_ramp, 1))
    g = generator(config.seed, "sigma", 0, state.step)
    sigma = draw_sigma(len(pairs.images), g, training.P_mean, training.P_std, device)
    labels = F.one_hot(pairs.labels, net.label_dim).float() if net.label_dim else None
    loss = _with_dropout_stream(config, state.step, lambda: edm_loss(net, pairs.images, pairs.noise, sigma, labels))
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    state.ema.update(net, images_seen, training.batch)
    state.step += 1
    return loss.detach()


def _with_dropout_stream(config: RunConfig, step: int, forward) -> Tensor:
    """Run the forward pass with dropout's stream found by step; torch's dropout knows only the global generator."""
    if not config.network.dropout:
        return forward()
    with torch.random.fork_rng():
        torch.manual_seed(derive(config.seed, "dropout", 0, step))
        return forward()


def _refuse_nonfinite(loss: float, state: TrainState, folder: RunFolder) -> None:
    finite = torch.stack([p.isfinite().all() for p in state.net.parameters()]).all().item()
    if finite and math.isfinite(loss):
        return
    raise TrainingError(
        f"the loss is no longer finite at step {state.step}; the last good checkpoint is kept in {folder.run_id}: "
        "try a smaller --lr or a longer --lr-ramp"
    )


def save_checkpoint(folder: RunFolder, state: TrainState) -> None:
    """Write the checkpoint atomically; the one before it stays as checkpoint-previous.pt."""
    newest = folder.path / "checkpoint.pt"
    data = state.to_bytes()
    if newest.exists():
        os.replace(newest, folder.path / "checkpoint-previous.pt")
    write_bytes(newest, data)


def load_checkpoint(folder: RunFolder, device: str) -> dict | None:
    """The newest checkpoint that can be read, or None where there is none.

    Raises:
        TrainingError: there are checkpoints and none can be read.

    """
    paths = [folder.path / name for name in ("checkpoint.pt", "checkpoint-previous.pt")]
    damaged = []
    for path in (path for path in paths if path.exists()):
        try:
            content = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
            damaged.append(f"{path.name} ({type(error).__name__})")
            continue
        for name in damaged:
            tqdm.write(f"warning: {folder.path / name} cannot be read; going on from {path.name}")
        return content
    if damaged:
        raise TrainingError(
            f"no checkpoint in {folder.run_id} can be read ({', '.join(damaged)}): restore one, or move the folder away"
        )
    return None

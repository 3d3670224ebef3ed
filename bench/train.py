"""The EDM trainer (Karras et al. 2022), the same for every coupling; a killed run resumes to the same weights."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from bench.checkpoints import Keeper, TrainingError, load_checkpoint
from bench.config import Execution, NetworkConfig, RunConfig
from bench.couplers import Pairs
from bench.data import Dataset
from bench.defaults import plain_torch
from bench.fit import fit
from bench.pairs import CouplingCost, PairStream
from bench.randomness import derive, generator
from bench.ranks import Ranks
from bench.record import RunFolder
from bench.signals import EndSignals
from couplings import Coupling, Fitted, get
from models import networks
from models.augment import Augment
from models.ema import EMA
from models.precondition import EDMDenoiser, draw_sigma, edm_loss

CHECK_EVERY = 50  # steps between looks at the loss: each look waits for the device
CHECKPOINT_SECONDS = 15.0
AUGMENT_LABELS = 9
MOST_NONFINITE = 0.5  # share of the steps between two looks whose losses may overflow before a run is given up


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
    losses: list[Tensor] = field(default_factory=list)  # of the steps since the last look, scalars on the device
    processes: int = 1  # that trained it: with pools of their own, other pools would be drawn with more or fewer

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
        raise TrainingError(f"{dataset.name} has {height}x{width} images; the networks need square ones")
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
    net = build_network(config.network, dataset, training.conditional, config.seed, training.augment > 0)
    net = net.to(device, memory_format=torch.channels_last if device.startswith("cuda") else torch.contiguous_format)
    optimizer = torch.optim.Adam(net.parameters(), lr=training.lr, fused=True)
    ema = EMA(net, training.ema_halflife, training.ema_rampup)
    net.dtype = torch.bfloat16 if training.precision == "bfloat16" else torch.float32
    return TrainState(net.train(), ema, optimizer)


def total_steps(config: RunConfig) -> int:
    """Steps in the budget, at least one."""
    return max(1, round(config.training.images / config.training.batch))


@plain_torch()
def train(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    ranks: Ranks,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    progress: bool = True,
) -> TrainState:
    """Train a denoiser, or go on with what the folder's checkpoint holds, and leave the final checkpoint there.

    All ranks train; rank 0 keeps the folder. The state is the same on all of them.

    Raises:
        CouplingError: a pool, or the fit of a dataset coupling, cannot be solved.
        TrainingError: the loss is no longer finite; the last good checkpoint stays. Or the checkpoint is not one that
            these processes can go on from.

    """
    training, steps = config.training, total_steps(config)
    state = new_state(config, dataset, ranks.device)
    if content := load_checkpoint(folder, ranks.device):
        state.restore(content)
    ranks.wait()
    _check_ranks_agree(state, ranks)
    if state.step >= steps:
        return state
    _take_on(state, ranks, training.pool_scope)
    coupling = coupling_of(config, dataset, folder, ranks, state)
    stream = PairStream(
        dataset.train.to(ranks.device),
        coupling,
        pool=training.pool,
        batch=training.batch,
        seed=config.seed,
        rank=ranks.rank,
        ranks=ranks.count,
        scope=training.pool_scope,
        start_step=state.step,
        stop_step=steps,
        cost=state.cost,
        workers=_workers(execution, ranks.device),
        augment=Augment(training.augment) if training.augment else None,
    )
    bar = tqdm(
        total=steps * training.batch,
        initial=state.step * training.batch,
        desc=f"train {config.coupling} seed {config.seed}",
        unit="img",
        unit_scale=True,
        disable=None if progress and ranks.first else True,
    )
    with stream, bar, tf32(training.precision == "tf32"):
        _run_steps(config, state, stream, folder, Stepper(config, state, ranks, execution), bar)
    return state


def _check_ranks_agree(state: TrainState, ranks: Ranks) -> None:
    first = ranks.share(state.step)
    if state.step != first:
        raise TrainingError(
            f"process {ranks.rank} found a checkpoint of step {state.step}, the first one of step {first}: "
            "--runs must name a folder that all processes share"
        )


def _take_on(state: TrainState, ranks: Ranks, scope: str) -> None:
    """Go on with these processes, if the run drawn so far is theirs to go on with."""
    if state.step and scope == "rank" and state.processes != ranks.count:
        raise TrainingError(
            f"this training was begun by {state.processes} processes that couple pools of their own, so {ranks.count} "
            "would draw its images again: go on with as many, or begin anew with other --runs"
        )
    state.processes = ranks.count


def _workers(execution: Execution, device: str) -> int:
    return int(device.startswith("cuda")) if execution.workers is None else execution.workers


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products round their factors to TF32 for a while; couplings compute in float64 on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def coupling_of(
    config: RunConfig, dataset: Dataset, folder: RunFolder, ranks: Ranks, state: TrainState
) -> Coupling | Fitted:
    """The coupling that the stream needs: a dataset coupling is fitted first, or goes on from what it learned."""
    coupling = get(config.coupling)
    if coupling.kind == "batch":
        return coupling
    fitted = fit(coupling, dataset, config.seed, folder.path.parent / ".cache", ranks.device)
    state.cost.fit_seconds = fitted.report["seconds"]
    if state.coupling is not None:
        fitted.load_state_dict(state.coupling)
    return fitted


def _run_steps(
    config: RunConfig, state: TrainState, stream: PairStream, folder: RunFolder, stepper: Stepper, bar: tqdm
) -> None:
    batch, steps, ranks = config.training.batch, total_steps(config), stepper.ranks
    with EndSignals() as end:
        keeper = Keeper(state, stream, folder if ranks.first else None, end)
        for pairs in stream.batches(meanwhile=keeper.leave_if_asked):
            state.losses.append(stepper(pairs))
            bar.update(batch)
            last = state.step == steps
            look = last or state.step % CHECK_EVERY == 0
            if look:
                loss = _look(state.losses, state, ranks, folder)
                state.losses.clear()
                state.history.append({"images": state.step * batch, "loss": loss})
                bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            elif ranks.count > 1 or end.noted is None:  # several save together, at a look
                continue
            due = last or end.noted is not None or keeper.seconds > CHECKPOINT_SECONDS
            if ranks.share(due):
                keeper.save()
                ranks.wait()  # none leaves before all is on disk
                end.deliver()
            if last:
                return


class Stepper:
    """One step of Adam on one mini-batch after the other.

    Args:
        config: of the run.
        state: what is trained; its step is counted up.
        ranks: the processes that share a batch; their gradients are averaged.
        execution: size of the parts that go through the network at once, and whether it is compiled.

    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainState,
        ranks: Ranks,
        execution: Execution = Execution(),  # noqa: B008 - frozen
    ):
        self.config, self.state, self.ranks = config, state, ranks
        self.share = config.training.batch // ranks.count
        self.micro_batch = min(execution.micro_batch or self.share, self.share)
        self.denoise = state.net
        if ranks.count > 1:
            self.denoise = DistributedDataParallel(state.net)
        if execution.compile:
            self.denoise = torch.compile(self.denoise)

    def __call__(self, pairs: Pairs) -> Tensor:
        """Train on this rank's share of a batch; its loss, a scalar on the device."""
        training, state = self.config.training, self.state
        images_seen = state.step * training.batch
        for group in state.optimizer.param_groups:
            group["lr"] = training.lr * min(1.0, (images_seen + training.batch) / max(training.lr_ramp, 1))
        state.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(pairs)
        for weight in state.net.parameters():
            if weight.grad is not None:
                # A stray overflow must not reach Adam's averages (as in Karras et al. 2022).
                torch.nan_to_num(weight.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=weight.grad)
        state.optimizer.step()
        state.ema.update(state.net, images_seen, training.batch)
        state.step += 1
        return loss

    def _backward(self, pairs: Pairs) -> Tensor:
        """Leave the gradient of the mean loss; a micro-batch at a time, so that its size is a matter of memory."""
        training, state, net = self.config.training, self.state, self.state.net
        g = generator(self.config.seed, "sigma", 0, state.step)
        sigma = draw_sigma(training.batch, g, training.P_mean, training.P_std, str(pairs.images.device))
        sigma = sigma[self.ranks.rank * self.share :][: self.share]
        total = torch.zeros((), device=pairs.images.device)
        for first in range(0, self.share, self.micro_batch):
            rows = slice(first, first + self.micro_batch)
            part = pairs[rows]
            labels = F.one_hot(part.labels, net.label_dim).float() if net.label_dim else None
            with self._gradients_stay_here(rows.stop < self.share), self._dropout_stream(first):
                loss = edm_loss(self.denoise, part.images, part.noise, sigma[rows], labels, part.augment_labels)
                loss = loss * (len(part.images) / self.share)
                loss.backward()
            total += loss.detach()
        return total

    def _gradients_stay_here(self, wanted: bool) -> AbstractContextManager:
        """Until the last micro-batch, ranks need not hear of each other's gradients."""
        return self.denoise.no_sync() if wanted and self.ranks.count > 1 else nullcontext()

    @contextmanager
    def _dropout_stream(self, first: int) -> Iterator[None]:
        """Dropout's stream found by step; torch's dropout knows only the global generator."""
        if not self.config.network.dropout:
            yield
            return
        # Its own GPU alone: by default every process would open a context on every GPU.
        gpus = [self.ranks.device] if self.ranks.device.startswith("cuda") else []
        with torch.random.fork_rng(gpus):
            torch.manual_seed(derive(self.config.seed, f"dropout/{first}", self.ranks.rank, self.state.step))
            yield


def _look(losses: list[Tensor], state: TrainState, ranks: Ranks, folder: RunFolder) -> float:
    """The mean of the losses that are finite.

    Raises:
        TrainingError: too many are not, on any rank.

    """
    found = torch.stack(losses)
    finite = found.isfinite()
    summary = torch.stack([found[finite].sum(), finite.sum(), torch.tensor(float(len(found)), device=found.device)])
    if ranks.count > 1:
        torch.distributed.all_reduce(summary)
    total, good, count = summary.tolist()
    if count - good > MOST_NONFINITE * count or not good:
        raise TrainingError(
            f"the loss is no longer finite at step {state.step}; the last good checkpoint is kept in {folder.run_id}: "
            "try a smaller --lr, a longer --lr-ramp, or --precision float32"
        )
    if good < count:
        tqdm.write(f"warning: {count - good:.0f} of the last {count:.0f} losses were not finite; they were left out")
    return total / good

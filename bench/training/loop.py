"""The EDM trainer (Karras et al. 2022), the same for every coupling.

A killed run resumes to the same weights.
"""

from __future__ import annotations

from typing import cast

import torch
from tqdm import tqdm

from bench.config import Execution, RunConfig
from bench.data import Dataset
from bench.pairs.cost import CouplingCost, evenness
from bench.pairs.fit import fit, fit_file
from bench.pairs.stream import PairStream
from bench.pairs.velocity import following
from bench.process.defaults import plain_torch
from bench.process.progress import Progress
from bench.process.ranks import Ranks
from bench.process.signals import CHECKPOINT_SECONDS, EndSignals
from bench.record import Measurement, RunFolder
from bench.training.checkpoints import Keeper, TrainingError, load_checkpoint
from bench.training.curve import Entry, means
from bench.training.model import model_of
from bench.training.selection import Selection
from bench.training.sharded import shard
from bench.training.state import Selected, TrainState, new_state, placed, total_steps
from bench.training.step import Stepper, tf32
from bench.training.trackers import Log
from couplings import Coupling, Fitted, get
from models.augment import Augment
from models.blocks import recompute
from models.denoiser import Denoiser

CHECK_EVERY = 50  # steps between checks of the loss: each check waits for the device
TAKEN = ("ms", "share", "wait_share", "fit_seconds")  # rows ``coupling_...`` of the training
# Share of the steps between two checks whose losses may overflow before a run is given up
MOST_NONFINITE = 0.5


@plain_torch()
def train(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    ranks: Ranks,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    progress: bool = True,
    check_every: int = CHECK_EVERY,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    log: Log | None = None,
) -> TrainState:
    """Train a denoiser, or resume from the folder's checkpoint, and leave the final checkpoint.

    All ranks train, and the state is the same on all of them; rank 0 keeps the folder.

    Args:
        config: of the run.
        dataset: to train on.
        folder: receives the checkpoints.
        ranks: the processes that share each batch.
        execution: workers, micro-batches, compilation, how processes share the network.
        progress: True to show a progress bar.
        check_every: steps between checks that the loss is finite.
        checkpoint_seconds: least time between two checkpoints; 0 saves at every check.
        log: receives loss, gain and times at the checks.

    Raises:
        CouplingError: a pool, or the fit of a dataset coupling, cannot be solved.
        TrainingError: the loss is no longer finite; the last good checkpoint stays. Or these
            processes cannot resume from the checkpoint.

    """
    training = config.training
    steps = total_steps(config)
    sharded = execution.strategy == "fsdp"
    # A network that is to be shared out may be larger than a device.
    place = "cpu" if sharded else ranks.device
    state = _newest(config, dataset, folder, place)
    # Rank 0 must not write a new checkpoint while others still read the old one.
    ranks.wait()
    _check_ranks_agree(state, ranks)
    log = log or Log((), config, folder)
    log.begin(state.step * training.batch)
    if state.step >= steps:
        # It was trained already, and waits on the CPU.
        if sharded:
            placed(cast("Denoiser", state.ema.net), ranks.device)
        return state
    _check_resumable(state, ranks, training.pool_scope)
    state.processes = ranks.count
    stream = PairStream(
        dataset.train.to(ranks.device),
        _coupling(config, dataset, folder, ranks, state),
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
        labelled=training.conditional,
        resumed=state.coupling,
    )
    bar = Progress(
        f"train {config.coupling} seed {config.seed}",
        steps * training.batch,
        "img",
        "images",
        initial=state.step * training.batch,
        shown=progress and ranks.first,
    )
    # Before it is sharded: what is computed again must not gather its weights once more.
    if execution.gradient_checkpointing and not recompute(state.net):
        raise TrainingError(
            f"--gradient-checkpointing: --arch {config.network.arch} has no blocks to compute again"
            " (nn.ModuleList, nn.ModuleDict or nn.Sequential); leave it out"
        )
    if sharded:
        shard(state, ranks)
    # After the stream, whose warm-up fails first if a solver's library is missing.
    stepper = Stepper(config, state, ranks, execution)
    selection = None
    if training.select_every:
        selection = Selection(config, dataset.validation.to(ranks.device), state.net)
    with stream, bar, tf32(training.precision == "tf32"):
        _run_steps(
            stepper, stream, selection, folder, steps, bar, check_every, checkpoint_seconds, log
        )
    if sharded:
        # Each process samples by itself, so it needs the whole average.
        state = _newest(config, dataset, folder, place)
        placed(cast("Denoiser", state.ema.net), ranks.device)
    return state


def _newest(config: RunConfig, dataset: Dataset, folder: RunFolder, device: str) -> TrainState:
    """The state of the newest checkpoint, or the one before the first step."""
    # The network exists before the checkpoint is read: its values go into it.
    state = new_state(config, dataset, device)
    if content := load_checkpoint(folder, device):
        state.restore(content)
    return state


def _check_ranks_agree(state: TrainState, ranks: Ranks) -> None:
    first = ranks.share(state.step)
    if state.step != first:
        raise TrainingError(
            f"process {ranks.rank} found a checkpoint of step {state.step}, the first one of step"
            f" {first}: --runs must name a folder that all processes share"
        )


def _check_resumable(state: TrainState, ranks: Ranks, scope: str) -> None:
    """Refuse to resume with another number of processes if each couples its own pools.

    With more or fewer of them, other pools would be drawn: images of the last ones again.
    """
    if state.step and scope == "rank" and state.processes != ranks.count:
        raise TrainingError(
            f"this training was begun by {state.processes} processes that couple pools of their"
            f" own, so {ranks.count} would draw its images again: resume with as many, or begin"
            " again with other --runs"
        )


def _workers(execution: Execution, device: str) -> int:
    """Number of processes that couple pools: by default one if a GPU trains, for the cores are free
    then.
    """
    if execution.workers is not None:
        return execution.workers
    return 1 if device.startswith("cuda") else 0


def _coupling(
    config: RunConfig, dataset: Dataset, folder: RunFolder, ranks: Ranks, state: TrainState
) -> Coupling | Fitted:
    """The coupling for the stream.

    A dataset coupling is fitted, and gets its saved state; one that follows the model gets the
    average of the weights, which samples are drawn from.
    """
    coupling = get(config.coupling)
    seed = config.seed
    device = ranks.device
    if coupling.kind == "batch":
        if coupling.follows_model and ranks.count > 1 and config.training.pool_scope == "rank":
            # The first process writes the checkpoint, and would know its own pairs only.
            raise TrainingError(
                f"{coupling} with {ranks.count} processes that pair pools of their own cannot be"
                " resumed: pass --pool-scope global"
            )
        steps = total_steps(config)
        # The average is a copy of the denoiser, so it is one.
        average = cast(Denoiser, state.ema.net)
        return following(coupling, average, lambda: state.step / steps)
    runs = folder.path.parent
    # Next to the run folders: all runs of a comparison share the fit.
    cache = runs / ".cache"
    model = None
    if coupling.needs_model:
        file = fit_file(coupling, dataset, seed, cache)
        model = model_of(coupling, runs, dataset, device, file)
    fitted = fit(coupling, dataset, seed, cache, device, model)
    # Before it gets its state: what it learned in training is no part of the fit.
    state.cost.add_fit(fitted.report)
    if state.coupling is not None:
        fitted.load_state_dict(state.coupling)
    return fitted


def _run_steps(
    stepper: Stepper,
    stream: PairStream,
    selection: Selection | None,
    folder: RunFolder,
    steps: int,
    bar: Progress,
    check_every: int,
    checkpoint_seconds: float,
    log: Log,
) -> None:
    state = stepper.state
    ranks = stepper.ranks
    batch = stepper.config.training.batch
    with EndSignals() as end:
        keeper = Keeper(state, stream, folder if ranks.first else None, end, log, batch)
        for pairs in stream.batches(meanwhile=keeper.leave_if_asked):
            state.losses.append(stepper(pairs))
            bar.update(batch)
            last = state.step == steps
            if selection is not None:
                _select(selection, state, last)
            checking = last or state.step % check_every == 0
            if checking:
                loss = checked_loss(state, ranks, folder)
                levels = means(state.level_sums)
                state.level_sums.zero_()
                state.history.append({"images": state.step * batch, "loss": loss, **levels})
                bar.note(f"loss {loss:.3g}")
                if log.is_open:
                    log.values(live_values(state, loss, levels), state.step * batch)
            # A single process saves as soon as a signal asks for it, or if steps are so slow that
            # the checks are far apart. Several processes must save after the same step, so they
            # decide together, at a check.
            overdue = ranks.count == 1 and 0 < checkpoint_seconds < keeper.seconds
            asked = end.noted is not None or (overdue and not checking and _is_finite(state))
            if checking or (asked and ranks.count == 1):
                due = last or asked or keeper.seconds > checkpoint_seconds
                if ranks.share(due):
                    keeper.save()
                    ranks.wait()  # no process leaves before the checkpoint is on disk
                    keeper.leave()


def _is_finite(state: TrainState) -> bool:
    """True if the newest loss is finite: a diverged state must not replace a good checkpoint."""
    return bool(state.losses[-1].isfinite())


def _select(selection: Selection, state: TrainState, last: bool) -> None:
    """Keep the weights if they are the best ones so far; the best ones are left by the last step.

    Every process finds the same weights.
    """
    if last or selection.is_due(state.step):
        state.selected = selection.better(state.ema, state.step, state.selected)
    if last and state.selected is not None:
        # What samples are drawn from, and what the final checkpoint holds.
        state.ema.net.load_state_dict(state.selected.weights)


def checked_loss(state: TrainState, ranks: Ranks, folder: RunFolder) -> float:
    """The mean of the finite losses since the last check, over all ranks; forgets these losses.

    Raises:
        TrainingError: too many are not finite, on any rank.

    """
    losses = torch.stack(state.losses)
    state.losses.clear()
    finite = losses.isfinite()
    total_count = torch.tensor(float(len(losses)), device=losses.device)
    # In one tensor, so that ranks exchange one message and the device is waited for once.
    summary = torch.stack([losses[finite].sum(), finite.sum(), total_count])
    if ranks.count > 1:
        torch.distributed.all_reduce(summary)
    total, good, count = summary.tolist()
    if count - good > MOST_NONFINITE * count or not good:
        raise TrainingError(
            f"the loss is no longer finite at step {state.step}; the last good checkpoint is kept"
            f" in {folder.run_id}: try a smaller --lr, a longer --lr-ramp, or --precision float32"
        )
    if good < count:
        tqdm.write(
            f"warning: {count - good:.0f} of the last {count:.0f} losses were not finite; they were"
            " ignored"
        )
    return total / good


def live_values(state: TrainState, loss: float, levels: Entry) -> dict[str, float]:
    """Values that trackers show: the mean loss since the last check, the mean error by noise level
    since then, and the coupling so far.
    """
    cost = state.cost
    values = {"loss": loss, "learning_rate": state.optimizer.param_groups[0]["lr"]}
    for level, error in levels.items():
        # MLflow takes no other signs in a name than dots, dashes and slashes.
        words = level.replace("<", "below").replace(">", "above")
        values[f"loss_by_level/{words}"] = error
    if cost.pools:
        values["coupling/solver_seconds"] = cost.solver_seconds
        values["coupling/wait_seconds"] = cost.wait_seconds
    # The share of the transport cost of random pairs that the coupling saves
    if cost.cost_before:
        values["coupling/saved"] = 1 - cost.cost_after / cost.cost_before
    for key, mean, _ in cost.means():
        values[f"coupling/{key}"] = mean
    return values


def training_measurements(
    cost: CouplingCost, seconds: float, images: int, selected: Selected | None = None
) -> list[Measurement]:
    """Rows on the training and its coupling.

    Args:
        cost: of the coupling; transport costs are mean squared distances of a pair.
        seconds: of the training, over all sessions.
        images: that it took.
        selected: the weights that are measured; None for the last ones.

    """
    # The number of pools stands in the column n, where others have images.
    n = cost.pools
    rows = [
        Measurement("transport_cost", cost.cost_after / n, n=n),
        Measurement("transport_cost_independent", cost.cost_before / n, n=n),
        Measurement("coupling_ms", cost.median_ms, n=n),
        Measurement("coupling_share", cost.solver_seconds / seconds, n=n),
        Measurement("coupling_wait_share", cost.wait_seconds / seconds, n=n),
    ]
    if cost.fit_seconds:
        rows.append(Measurement("coupling_fit_seconds", cost.fit_seconds))
    rows += report_measurements(cost)
    if selected is not None:
        rows.append(Measurement("selected_images", selected.images, n=images))
    # Last: bench.evaluate takes a run with this row for trained.
    rows.append(Measurement("images_per_s", images / seconds, n=images))
    rows.append(Measurement("train_seconds", seconds, n=images))
    return rows


def report_measurements(cost: CouplingCost) -> list[Measurement]:
    """Rows on what the coupling did: the mean over pools of each key of its reports, as
    ``coupling_<key>``, those of its fit, as ``coupling_fit_<key>``, and how often images came.
    """
    rows = []
    for key, mean, pools in cost.means():
        # A user's coupling may report what a row of the training is called, such as ``ms``.
        name = f"report_{key}" if key in TAKEN else key
        rows.append(Measurement(f"coupling_{name}", mean, n=pools))
    for key, value in cost.fit.items():
        rows.append(Measurement(f"coupling_fit_{key}", value))
    if cost.uses is not None and len(cost.uses) > 1:
        pairs = int(cost.uses.sum())
        for key, value in evenness(cost.uses).items():
            rows.append(Measurement(f"coupling_{key}", value, n=pairs))
    return rows

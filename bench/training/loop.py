"""The EDM trainer (Karras et al. 2022), the same for every coupling; a killed run resumes to the
same weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from bench.config import Execution, RunConfig
from bench.data import Dataset
from bench.pairs.cost import CouplingCost
from bench.pairs.fit import fit
from bench.pairs.stream import PairStream
from bench.process.defaults import plain_torch
from bench.process.ranks import Ranks
from bench.process.signals import EndSignals
from bench.record import Measurement, RunFolder
from bench.training.checkpoints import Keeper, TrainingError, load_checkpoint
from bench.training.state import TrainState, new_state, total_steps
from bench.training.step import Stepper, tf32
from couplings import Coupling, Fitted, get
from models.augment import Augment

CHECK_EVERY = 50  # steps between looks at the loss: each look waits for the device
CHECKPOINT_SECONDS = 15.0
# Share of the steps between two looks whose losses may overflow before a run is given up
MOST_NONFINITE = 0.5


@plain_torch()
def train(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    ranks: Ranks,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    progress: bool = True,
) -> TrainState:
    """Train a denoiser, or go on with what the folder's checkpoint holds, and leave the final
    checkpoint there.

    All ranks train; rank 0 keeps the folder. The state is the same on all of them.

    Raises: CouplingError: a pool, or the fit of a dataset coupling, cannot be solved.
        TrainingError: the loss is no longer finite; the last good checkpoint stays. Or the
        checkpoint is not one that
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
            f"process {ranks.rank} found a checkpoint of step {state.step}, the first one of step"
            f" {first}: --runs must name a folder that all processes share"
        )


def _take_on(state: TrainState, ranks: Ranks, scope: str) -> None:
    """Go on with these processes, if the run drawn so far is theirs to go on with."""
    if state.step and scope == "rank" and state.processes != ranks.count:
        raise TrainingError(
            f"this training was begun by {state.processes} processes that couple pools of their"
            f" own, so {ranks.count} would draw its images again: go on with as many, or begin anew"
            " with other --runs"
        )
    state.processes = ranks.count


def _workers(execution: Execution, device: str) -> int:
    return int(device.startswith("cuda")) if execution.workers is None else execution.workers


def coupling_of(
    config: RunConfig, dataset: Dataset, folder: RunFolder, ranks: Ranks, state: TrainState
) -> Coupling | Fitted:
    """The coupling that the stream needs: a dataset coupling is fitted first, or goes on from what
    it learned.
    """
    coupling = get(config.coupling)
    if coupling.kind == "batch":
        return coupling
    fitted = fit(coupling, dataset, config.seed, folder.path.parent / ".cache", ranks.device)
    state.cost.fit_seconds = fitted.report["seconds"]
    if state.coupling is not None:
        fitted.load_state_dict(state.coupling)
    return fitted


def _run_steps(
    config: RunConfig,
    state: TrainState,
    stream: PairStream,
    folder: RunFolder,
    stepper: Stepper,
    bar: tqdm,
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


def _look(losses: list[Tensor], state: TrainState, ranks: Ranks, folder: RunFolder) -> float:
    """The mean of the losses that are finite.

    Raises:
        TrainingError: too many are not, on any rank.

    """
    found = torch.stack(losses)
    finite = found.isfinite()
    summary = torch.stack(
        [found[finite].sum(), finite.sum(), torch.tensor(float(len(found)), device=found.device)]
    )
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
            " left out"
        )
    return total / good


def training_measurements(cost: CouplingCost, seconds: float, images: int) -> list[Measurement]:
    """What training and its coupling cost and gained; transport costs are mean squared distances of
    a pair.
    """
    pools = {"n": cost.pools}
    return [
        Measurement("transport_cost", cost.cost_after / cost.pools, **pools),
        Measurement("transport_cost_independent", cost.cost_before / cost.pools, **pools),
        Measurement("coupling_ms", cost.median_ms, **pools),
        Measurement("coupling_share", cost.solver_seconds / seconds, **pools),
        Measurement("coupling_wait_share", cost.wait_seconds / seconds, **pools),
        *([Measurement("coupling_fit_seconds", cost.fit_seconds)] if cost.fit_seconds else []),
        Measurement("images_per_s", images / seconds, n=images),
        Measurement("train_seconds", seconds, n=images),
    ]

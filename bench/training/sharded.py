"""Fully sharded data parallelism: every process keeps a share of the state of a training.

PyTorch's FSDP2 (Zhao et al. 2023, arXiv 2304.11277) gathers the weights of one block at a time and
spreads the gradients again. Checkpoints hold whole tensors, as those of a single process do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bench.config import ConfigError, Execution, RunConfig
from bench.process.ranks import Ranks
from bench.training.state import TrainState
from couplings import get
from models.blocks import blocks


def refuse_strategy(execution: Execution, count: int, config: RunConfig) -> None:
    """Refuse what several processes cannot train together, and to shard among one.

    Args:
        execution: of the run.
        count: number of its processes.
        config: of the run, checked.

    Raises:
        ConfigError: naming the option and the way out.

    """
    # A network from a file pairs nothing, and its coupling may be any label.
    follows = not config.checkpoint and getattr(get(config.coupling), "follows_model", False)
    # The first process writes the checkpoint, and would know its own pairs only.
    if follows and count > 1 and config.training.pool_scope == "rank":
        raise ConfigError(
            f"{config.coupling} with {count} processes that pair pools of their own cannot be"
            " resumed: pass --pool-scope global"
        )
    if execution.strategy != "fsdp":
        return
    if count == 1:
        raise ConfigError(
            "--strategy fsdp needs several processes: start with torchrun --nproc-per-node N -m"
            " bench.run ..., or leave it out"
        )
    # Compiled as a whole, the network would be gathered as a whole.
    if execution.compile:
        raise ConfigError("--strategy fsdp takes no --compile yet: leave one of them out")
    # The first process would evaluate a network of which it holds a share.
    if follows:
        raise ConfigError(
            f"--strategy fsdp takes no {config.coupling}, which evaluates the network for its"
            " pairs: take --strategy ddp"
        )


def shard(state: TrainState, ranks: Ranks) -> None:
    """Spread weights, Adam's averages and the moving average over the processes.

    Args:
        state: whole, the same on every process, and on the CPU: no device need hold all of it.
        ranks: the processes; each keeps its share on its device.

    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(torch.device(ranks.device).type, (ranks.count,))
    whole = list(state.net.parameters())
    for net in (state.net, state.ema.net):
        for block in blocks(net):
            fully_shard(block, mesh=mesh)
        # Also after a forward pass without a backward pass, or the moving average would leave
        # whole weights behind where the next update expects shares.
        fully_shard(net, mesh=mesh, reshard_after_forward=True)
        _move_buffers(net, ranks.device)
    _shard_optimizer(state.optimizer, whole, list(state.net.parameters()))
    if state.selected is not None:
        shares = state.ema.net.state_dict()
        for name, value in state.selected.weights.items():
            state.selected.weights[name] = _like(value, shares[name])
    state.losses = [loss.to(ranks.device) for loss in state.losses]
    state.level_sums = state.level_sums.to(ranks.device)
    state.sharded = True


def gathered(content: Any, keep: bool) -> Any:
    """Gather the whole tensors of a nested content; every process must call it.

    Args:
        content: dictionaries and lists that hold shares and other values.
        keep: True to have the whole tensors, on the CPU; the others only send their shares.

    """
    # Here, as most runs have no shares: it takes a while to import.
    from torch.distributed.tensor import DTensor

    def whole(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        # One tensor at a time: a device need not hold two of them.
        full = value.full_tensor()
        return full.cpu() if keep else None

    return tree_map(whole, content)


def _move_buffers(net: nn.Module, device: str) -> None:
    for buffer in net.buffers():
        # In place: layers keep their buffers by name, and some share one.
        buffer.data = buffer.data.to(device)


def _shard_optimizer(
    optimizer: torch.optim.Optimizer, before: list[nn.Parameter], after: list[nn.Parameter]
) -> None:
    """Give an optimizer the shares of its parameters, and shares of what it knows of them."""
    # The trainer's optimizer has one group, of all weights in their order.
    (group,) = optimizer.param_groups
    group["params"] = after
    for old, new in zip(before, after, strict=True):
        # Empty before the first step.
        if known := optimizer.state.pop(old, None):
            # The number of steps is one value; fused Adam wants it where the weights are.
            step = known.pop("step").to(new.device)
            shares = {name: _like(value, new) for name, value in known.items()}
            optimizer.state[new] = {"step": step, **shares}


def _like(value: Tensor, target: Tensor) -> Tensor:
    """The share of a whole tensor that ``target`` is of its own, or all of it if that is whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    value = value.to(target.device)
    if not isinstance(target, DTensor):
        return value
    # Every process has the same tensor and cuts out its share: nothing is sent.
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)

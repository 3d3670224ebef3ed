"""One coupling for the pools of all ranks of torch.distributed: gather, solve once, scatter.

    from couplings.distributed import pair_global
    group = torch.distributed.new_group(backend="gloo")             # once, on every rank
    noise = pair_global(get("lapjv"), images, noise, labels, generator, group).noise

The larger the pool, the straighter the paths, and k ranks with n pairs each make a pool of k n.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, distributed

from couplings.contract import Coupling, Pairing
from couplings.dataset.contract import DatasetCoupling, Fitted
from couplings.errors import CouplingError, require
from couplings.pool import check_pool

# In quotes, because builds of torch without distributed lack the name.
Group: TypeAlias = "distributed.ProcessGroup | None"


@dataclass(frozen=True, eq=False)
class GlobalPairing:
    """The result of `pair_global`, for the `n` images of this rank.

    Attributes:
        noise: `[n, ...]`, `noise[i]` goes with `images[i]`; device and dtype of the noise that this
            rank gave.
        index: `[n]` int64, into the noise of all ranks, concatenated in rank order.
        report: of the whole pool, the same on every rank: that of `Pairing`, `ranks`, and
            `gather_seconds` (the time to bring the pool to rank 0 once all ranks had come).

    """

    noise: Tensor
    index: Tensor
    report: dict[str, float]


def pair_global(
    coupling: Coupling,
    images: Tensor,
    noise: Tensor,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
    group: Group = None,
) -> GlobalPairing:
    """Choose a noise sample for every image among those of all ranks. All ranks must call it.

    Rank 0 of the group gathers the pools, solves, and scatters the noise, exactly as one process
    with the whole pool would pair it. The other ranks wait: if all solved, each would need the
    memory of the whole problem, and ranks on one machine would compete for its cores. The group's
    timeout must exceed the solver's time.

    Without an initialised process group this is `coupling.pair`, so that a script runs on one
    process as it is.

    With gloo, CUDA tensors travel through the host's memory, and the pool is solved on the GPU of
    rank 0. With nccl, which is untested, tensors must be on CUDA, and `torch.cuda.set_device` must
    have been called in this thread. Calls from a background thread need their own group, so that
    they never mix with the collectives of the training.

    Args:
        coupling: the same batch coupling on every rank, or anything with its `pair`.
        images: `[n, ...]`; n may differ between ranks and be 0, the rest may not.
        noise: the same shape and device.
        labels: `[n]` or `[n, k]`, on all ranks or on none.
        generator: the source of all randomness on rank 0; ignored on the others.
        group: the ranks to couple over; None for all.

    Raises:
        CouplingError: `Coupling.pair` refuses the pool, a dataset coupling, or ranks that do not
            fit together; all ranks raise it, with one message.

    """
    if not (distributed.is_available() and distributed.is_initialized()):
        _check_coupling(coupling)
        pairing = coupling.pair(images, noise, labels, generator)
        report = pairing.report | {"ranks": 1.0, "gather_seconds": 0.0}
        return GlobalPairing(pairing.of(noise), pairing.index, report)
    # Before anything is moved, because a rank that raised later would leave the others waiting.
    sizes = _agree(coupling, images, noise, labels, group)
    ranks = _Ranks(sizes, _wire(images.device, group), group)
    start = time.perf_counter()
    all_images = ranks.gather(images)
    all_noise = ranks.gather(noise)
    all_labels = None if labels is None else ranks.gather(labels)
    gather_seconds = time.perf_counter() - start

    def solve() -> tuple[tuple[Tensor, Tensor], dict[str, float]]:
        pairing = coupling.pair(all_images, all_noise, all_labels, generator)
        times = {"ranks": float(len(sizes)), "gather_seconds": gather_seconds}
        return (pairing.of(all_noise), pairing.index), pairing.report | times

    solved, report = _on_first(solve, group)
    chosen, index = solved or (None, None)
    own_index = torch.empty(len(images), dtype=torch.int64, device=images.device)
    return GlobalPairing(
        ranks.scatter(chosen, torch.empty_like(noise)), ranks.scatter(index, own_index), report
    )


def pair_shared(
    coupling: Coupling,
    images: Tensor,
    noise: Tensor,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
    group: Group = None,
) -> Pairing:
    """`coupling.pair` for a pool that every rank holds; rank 0 of the group solves.

    All ranks of the group must call it, and get the same pairing.

    Raises:
        CouplingError: `Coupling.pair` refuses the pool on rank 0; all ranks raise it, with one
            message.

    """

    def solve() -> tuple[None, Pairing]:
        pairing = coupling.pair(images, noise, labels, generator)
        # Without the noise, which every rank holds.
        weights = None if pairing.weights is None else pairing.weights.cpu()
        bare = replace(pairing, index=pairing.index.cpu(), weights=weights, given_noise=None)
        return None, bare

    _, pairing = _on_first(solve, group)
    weights = None if pairing.weights is None else pairing.weights.to(images.device)
    index = pairing.index.to(images.device)
    return replace(pairing, index=index, weights=weights, given_noise=noise)


@dataclass(frozen=True)
class _Part:
    """The part of the pool that one rank has, as the other ranks see it.

    Attributes:
        error: in one line, if the part cannot be paired.
        size: its pairs.
        alike: names and values of the properties that all ranks must have in common.

    """

    error: str | None
    size: int = 0
    alike: tuple[tuple[str, str], ...] = ()


def _agree(
    coupling: Coupling, images: Tensor, noise: Tensor, labels: Tensor | None, group: Group
) -> list[int]:
    """The sizes of all ranks' parts, in rank order; all ranks raise if one of them must stop."""
    ranks = distributed.get_world_size(group)
    require(
        ranks > 0,
        "this process is not in the group: call pair_global on the ranks of the group only",
    )
    try:
        part = _describe(coupling, images, noise, labels, group)
    except Exception as error:  # noqa: BLE001 - any error: the other ranks wait for this one
        part = _Part(_line(error))
    parts: list[Any] = [None] * ranks
    distributed.all_gather_object(parts, part, group)
    for rank, each in enumerate(parts):
        require(each.error is None, f"rank {rank}: {each.error}")
    # Only now, because a part with an error has no properties to compare.
    for rank, each in enumerate(parts):
        for (what, first), (_, here) in zip(parts[0].alike, each.alike, strict=True):
            require(
                first == here,
                f"ranks differ in {what}: {first} on rank 0, {here} on rank {rank}: make them"
                " alike",
            )
    return [each.size for each in parts]


def _describe(
    coupling: Coupling, images: Tensor, noise: Tensor, labels: Tensor | None, group: Group
) -> _Part:
    """The part of this rank; refuses what `Coupling.pair` would refuse on any rank."""
    _check_coupling(coupling)
    check_pool(images, noise, labels, None)
    _wire(images.device, group)
    labels_are = "none"
    if labels is not None:
        shape = ", ".join(["n", *map(str, labels.shape[1:])])
        labels_are = f"{labels.dtype} [{shape}]"
    alike = {
        "the coupling": str(getattr(coupling, "spec", type(coupling).__name__)),
        "the device": images.device.type,
        "the shape of an image": str(list(images.shape[1:])),
        "the dtype of images": str(images.dtype),
        "the dtype of noise": str(noise.dtype),
        "labels": labels_are,
    }
    return _Part(None, len(images), tuple(alike.items()))


def _check_coupling(coupling: Coupling) -> None:
    is_of_data_set = isinstance(coupling, DatasetCoupling | Fitted)
    require(
        not is_of_data_set,
        "a dataset coupling needs no pool of all ranks: call its assign or couple on every rank",
    )
    require(
        not getattr(coupling, "weighs_losses", False),
        f"{coupling} pairs as drawn and weighs losses: it needs no pool of all ranks; call its pair"
        " on every rank",
    )
    require(
        hasattr(coupling, "pair"),
        f"{coupling!r} is no coupling: pass get('lapjv') or another batch coupling",
    )


def _on_first(action: Callable[[], tuple[Any, Any]], group: Group) -> tuple[Any, Any]:
    """Run an action on rank 0 and share the second of the two values that it returns.

    The first value, which may hold large tensors, is None on the other ranks. All ranks raise the
    error of the action.
    """
    result = None
    shared = None
    problem: Exception | None = None
    if distributed.get_rank(group) == 0:
        try:
            result, shared = action()
        except Exception as error:  # noqa: BLE001 - any error: the other ranks wait for this one
            problem = error
    message: list[Any] = [_line(problem), shared]
    distributed.broadcast_object_list(message, group=group, group_src=0)
    line, shared = message
    if line is not None:
        raise CouplingError(line) from problem
    return result, shared


def _line(error: Exception | None) -> str | None:
    """The message of an error, as every rank can raise it."""
    if error is None:
        return None
    if isinstance(error, CouplingError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _wire(device: torch.device, group: Group) -> torch.device:
    """The device that tensors must be on for the group to move them."""
    backends = dict(pair.split(":") for pair in distributed.get_backend_config(group).split(","))
    # Gloo's support of CUDA tensors varies between operations and builds.
    if device.type == "cuda" and backends.get("cuda") == "nccl":
        return device
    require(
        "cpu" in backends,
        f"{device} tensors, but the group moves {', '.join(backends)} only: pass a gloo group",
    )
    return torch.device("cpu")


@dataclass(frozen=True)
class _Ranks:
    """The ranks of a group with `sizes` pairs each, whose tensors travel on the device `wire`."""

    sizes: list[int]
    wire: torch.device
    group: Group

    @property
    def is_first(self) -> bool:
        return distributed.get_rank(self.group) == 0

    def gather(self, part: Tensor) -> Tensor | None:
        """The parts `[sizes[k], ...]` as one tensor, on the device of rank 0's; None elsewhere."""
        sent = part.detach().to(self.wire).contiguous()
        if not self.is_first:
            self._move(distributed.isend, {0: sent})
            return None
        pool = sent.new_empty(sum(self.sizes), *sent.shape[1:])
        mine, *others = pool.split(self.sizes)
        mine.copy_(sent)
        # Straight into the pool, without a copy of each part.
        self._move(distributed.irecv, dict(enumerate(others, 1)))
        return pool.to(part.device)

    def scatter(self, whole: Tensor | None, part: Tensor) -> Tensor:
        """`part`, filled with this rank's rows of the tensor that rank 0 holds."""
        if not self.is_first:
            received = torch.empty(part.shape, dtype=part.dtype, device=self.wire)
            self._move(distributed.irecv, {0: received})
            return part.copy_(received)
        mine, *others = whole.to(self.wire).split(self.sizes)
        self._move(distributed.isend, dict(enumerate(others, 1)))
        return part.copy_(mine)  # a view would keep the whole pool in memory

    def _move(self, operation: Callable, tensors: dict[int, Tensor]) -> None:
        """Send contiguous tensors to ranks of the group, or receive them in place."""
        moves = []
        for rank, tensor in tensors.items():
            if tensor.numel():
                # As bytes: backends know few dtypes.
                data = tensor.view(-1).view(torch.uint8)
                moves.append(distributed.P2POp(operation, data, group=self.group, group_peer=rank))
        # Refused for an empty list, which a rank without pairs has.
        if not moves:
            return
        for work in distributed.batch_isend_irecv(moves):
            work.wait()

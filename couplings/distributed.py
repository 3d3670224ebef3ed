"""One coupling for the pools of all ranks of torch.distributed: gather, solve once, scatter.

    from couplings.distributed import pair_global
    group = torch.distributed.new_group(backend="gloo")             # once, on every rank
    noise = pair_global(get("lapjv"), images, noise, labels, generator, group).noise

The larger the pool, the straighter the paths, and k ranks with n pairs each make a pool of k n.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from couplings.contract import Coupling, Pairing
from couplings.dataset.contract import DatasetCoupling, Fitted
from couplings.errors import CouplingError, require
from couplings.pool import check_pool

Solved = tuple[Tensor, Tensor, dict[str, float]]  # the noises as paired, their index, the report


@dataclass(frozen=True, eq=False)
class GlobalPairing:
    """What `pair_global` returns, for the `n` images of this rank.

    Attributes: noise: `[n, ...]`, `noise[i]` goes with `images[i]`; device and dtype of the noise
        that this rank gave. index: `[n]` int64, into the noises of all ranks, one after the other
        in rank order. report: of the whole pool, the same on every rank: that of `Pairing`,
        `ranks`, and `gather_seconds` (to
            bring the pool to rank 0 once all ranks had come).

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
    group: distributed.ProcessGroup | None = None,
) -> GlobalPairing:
    """Choose a noise for every image among the noises of all ranks. All ranks of the group must
    call it.

    Rank 0 of the group collects the pools, solves, and hands out the noises, exactly as one process
    with the whole pool would pair it. The other ranks wait: were all to solve, each would need the
    memory of the whole problem, and ranks on one machine would take the cores from each other. The
    group's timeout must exceed the solver's time.

    Without an initialised process group this is `coupling.pair`, so that a script runs on one
    process as it is.

    With gloo, CUDA tensors travel through the host's memory, and the pool is solved on the GPU of
    rank 0. With nccl, which is untested, tensors must be on CUDA, and `torch.cuda.set_device` must
    have been called in this thread. Calls from a background thread need a group of their own, so
    that they never mix with the collectives of the training.

    Args: coupling: the same batch coupling on every rank, or anything with its `pair`. images: `[n,
        ...]`; n may differ between ranks and be 0, the rest may not. noise: the same shape and
        device. labels: `[n]` or `[n, k]`, on all ranks or on none. generator: the source of all
        randomness on rank 0; those of the other ranks are not looked at. group: the ranks to couple
        over; None for all.

    Raises: CouplingError: what `Coupling.pair` refuses, a dataset coupling, or ranks that do not
        fit together; all ranks
            raise it, with one message.

    """
    if not (distributed.is_available() and distributed.is_initialized()):
        _check_coupling(coupling)
        pairing = coupling.pair(images, noise, labels, generator)
        report = pairing.report | {"ranks": 1.0, "gather_seconds": 0.0}
        return GlobalPairing(noise.detach()[pairing.index], pairing.index, report)
    ranks = _Ranks(
        _agree(coupling, images, noise, labels, group), _wire(images.device, group), group
    )
    start = time.perf_counter()
    pool = [part if part is None else ranks.gather(part) for part in (images, noise, labels)]
    known = {"ranks": float(len(ranks.sizes)), "gather_seconds": time.perf_counter() - start}
    chosen, index, report = ranks.first_does(lambda: _solve(coupling, pool, generator, known))
    return GlobalPairing(
        ranks.scatter(chosen, torch.empty_like(noise)),
        ranks.scatter(index, torch.empty(len(images), dtype=torch.int64, device=images.device)),
        report,
    )


def pair_shared(
    coupling: Coupling,
    images: Tensor,
    noise: Tensor,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
    group: distributed.ProcessGroup | None = None,
) -> Pairing:
    """`coupling.pair` for a pool that every rank holds, as one drawn from a common seed: rank 0 of
    the group solves.

    All ranks of the group must call it, and get the same pairing.

    Raises:
        CouplingError: what `Coupling.pair` refuses on rank 0; all ranks raise it, with one message.

    """
    first = distributed.get_rank(group) == 0
    pairing, error = (
        _attempt(lambda: coupling.pair(images, noise, labels, generator)) if first else (None, None)
    )
    word = [_line(error), pairing and pairing.index.cpu(), pairing and pairing.report]
    distributed.broadcast_object_list(word, group=group, group_src=0)
    message, index, report = word
    if message is not None:
        raise CouplingError(message) from error
    return Pairing(index.to(images.device), report)


def _solve(
    coupling: Coupling,
    pool: list[Tensor | None],
    generator: torch.Generator | None,
    known: dict[str, float],
) -> Solved:
    """Pair the whole pool; `known` joins the report."""
    pairing = coupling.pair(*pool, generator)
    return pool[1][pairing.index], pairing.index, pairing.report | known


def _check_coupling(coupling: Coupling) -> None:
    fitted = isinstance(coupling, DatasetCoupling | Fitted)
    require(
        not fitted,
        "a dataset coupling needs no pool of all ranks: call its assign or couple on every rank",
    )
    require(
        hasattr(coupling, "pair"),
        f"{coupling!r} is no coupling: pass get('lapjv') or another batch coupling",
    )


@dataclass(frozen=True)
class _Part:
    """What a rank tells the others of its part of the pool: what is wrong with it, its size, what
    must be alike.
    """

    error: str | None
    size: int = 0
    alike: tuple[tuple[str, str], ...] = ()


def _agree(
    coupling: Coupling,
    images: Tensor,
    noise: Tensor,
    labels: Tensor | None,
    group: distributed.ProcessGroup | None,
) -> list[int]:
    """The sizes of all ranks' parts, in rank order; all ranks raise if one of them cannot go on."""
    ranks = distributed.get_world_size(group)
    require(
        ranks > 0,
        "this process is not in the group: call pair_global on the ranks of the group only",
    )
    part, error = _attempt(lambda: _describe(coupling, images, noise, labels, group))
    parts = [None] * ranks
    distributed.all_gather_object(parts, part or _Part(_line(error)), group)
    for rank, part in enumerate(parts):
        require(part.error is None, f"rank {rank}: {part.error}")
    for rank, part in enumerate(parts):
        for (what, first), (_, here) in zip(parts[0].alike, part.alike, strict=True):
            require(
                first == here,
                f"ranks differ in {what}: {first} on rank 0, {here} on rank {rank}: make them"
                " alike",
            )
    return [part.size for part in parts]


def _describe(
    coupling: Coupling,
    images: Tensor,
    noise: Tensor,
    labels: Tensor | None,
    group: distributed.ProcessGroup | None,
) -> _Part:
    _check_coupling(coupling)
    check_pool(images, noise, labels, None)
    _wire(images.device, group)
    alike = {
        "the coupling": str(getattr(coupling, "spec", type(coupling).__name__)),
        "the device": images.device.type,
        "the shape of an image": str(list(images.shape[1:])),
        "the dtype of images": str(images.dtype),
        "the dtype of noise": str(noise.dtype),
        "labels": (
            "none"
            if labels is None
            else f"{labels.dtype} [n{''.join(f', {k}' for k in labels.shape[1:])}]"
        ),
    }
    return _Part(None, len(images), tuple(alike.items()))


def _attempt(action: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """The result or the error of an action."""
    try:
        return action(), None
    except Exception as error:  # noqa: BLE001 - whatever it is, the other ranks wait for word of it
        return None, error


def _line(error: Exception | None) -> str | None:
    """What every rank can say of an error."""
    if error is None or isinstance(error, CouplingError):
        return error and str(error)
    return f"{type(error).__name__}: {error}"


def _wire(device: torch.device, group: distributed.ProcessGroup | None) -> torch.device:
    """Where tensors of a device must be for the group to move them."""
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
    group: distributed.ProcessGroup | None

    @property
    def is_first(self) -> bool:
        return distributed.get_rank(self.group) == 0

    def gather(self, part: Tensor) -> Tensor | None:
        """The parts `[sizes[k], ...]` in one `[sum(sizes), ...]`, on the device of rank 0's; None
        on other ranks.
        """
        sent = part.detach().to(self.wire).contiguous()
        if not self.is_first:
            self._move(distributed.isend, {0: sent})
            return None
        pool = sent.new_empty(sum(self.sizes), *sent.shape[1:])
        mine, *others = pool.split(self.sizes)
        mine.copy_(sent)
        self._move(distributed.irecv, dict(enumerate(others, 1)))
        return pool.to(part.device)

    def scatter(self, whole: Tensor | None, part: Tensor) -> Tensor:
        """`part`, filled with this rank's rows of what rank 0 holds."""
        if not self.is_first:
            received = torch.empty(part.shape, dtype=part.dtype, device=self.wire)
            self._move(distributed.irecv, {0: received})
            return part.copy_(received)
        mine, *others = whole.to(self.wire).split(self.sizes)
        self._move(distributed.isend, dict(enumerate(others, 1)))
        return part.copy_(mine)  # a view would keep the whole pool in memory

    def first_does(
        self, solve: Callable[[], Solved]
    ) -> tuple[Tensor | None, Tensor | None, dict[str, float]]:
        """What `solve` returns, its tensors on rank 0 alone, its report on all ranks; its error
        too.
        """
        solved, error = _attempt(solve) if self.is_first else (None, None)
        chosen, index, report = solved or (None, None, None)
        word = [_line(error), report]
        distributed.broadcast_object_list(word, group=self.group, group_src=0)
        message, report = word
        if message is not None:
            raise CouplingError(message) from error
        return chosen, index, report

    def _move(self, operation: Callable, tensors: dict[int, Tensor]) -> None:
        """Send contiguous tensors to ranks of the group, or receive them in place."""
        moves = [
            # As bytes: backends know few dtypes.
            distributed.P2POp(
                operation, tensor.view(-1).view(torch.uint8), group=self.group, group_peer=rank
            )
            for rank, tensor in tensors.items()
            if tensor.numel()
        ]
        for work in distributed.batch_isend_irecv(moves) if moves else ():
            work.wait()

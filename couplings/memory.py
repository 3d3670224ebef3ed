"""Memory for a pool: the bytes that may still be allocated, and the error if they are too few."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch

from couplings.errors import CouplingError, require

WAY_OUT = "take a smaller pool, hiref, or semidiscrete"
# How PyTorch on the CPU and XLA, which raise a bare RuntimeError, say that memory ran out.
SHORTAGE = ("DefaultCPUAllocator", "RESOURCE_EXHAUSTED")


def check_fits(what: str, n: int, needed: int, available: float) -> None:
    """Refuse to couple n images at once if that needs more bytes than are available.

    Raises:
        CouplingError: with both sizes and the way out.

    """
    require(
        needed <= available,
        f"{what}: coupling {n:,} images at once takes {gigabytes(needed)}, {gigabytes(available)}"
        f" are available: {WAY_OUT}",
    )


@contextmanager
def shortage_explained(what: str, n: int) -> Iterator[None]:
    """Turn the errors of libraries that run out of memory into the error of a coupling.

    Raises:
        CouplingError: an allocation within failed.

    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        raise CouplingError(f"{what}: memory ran out for a pool of {n:,}: {WAY_OUT}") from error


def is_shortage(error: Exception) -> bool:
    """True if an error of Python, NumPy, PyTorch or XLA means that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in SHORTAGE)


def gigabytes(size: float) -> str:
    """Bytes in words, such as `160 GB` or `0.4 GB`."""
    size /= 1e9
    return f"{size:,.0f} GB" if size >= 10 else f"{size:.1f} GB"


def available_bytes(device: torch.device | str = "cpu", root: Path = Path("/")) -> float:
    """The bytes that may still be allocated for a pool; infinity if the system does not say.

    On the host it is the least of what Linux can free and of what the limits on the process leave:
    those of its control groups, versions 1 and 2, which containers and SLURM set, and that of its
    address space (`ulimit -v`). A pool on a GPU is solved partly there and partly on the host, so
    it has the memory of both.

    Args:
        device: the CPU or a CUDA device.
        root: the folder that holds `proc` and `sys`.

    """
    free = _table(root / "proc/meminfo").get("MemAvailable", math.inf) * 1024
    host = min(free, _address_space_left(root), *_left_by_groups(root))
    if torch.device(device).type == "cuda":
        return host + _free_on_gpu(device)
    return host


def _free_on_gpu(device: torch.device | str) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch keeps what it has freed and gives it out again.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _left_by_groups(root: Path) -> Iterator[float]:
    """The bytes that each control group leaves this process, and the groups above them."""
    for line in _lines(root / "proc/self/cgroup"):
        # Version 1 has a line for each kind of resource, version 2 one line without kinds.
        _, _, rest = line.partition(":")
        kinds, colon, path = rest.partition(":")
        if not colon:
            continue  # no line of this file
        mount = root / "sys/fs/cgroup"
        limit = "memory.max"
        usage = "memory.current"
        if "memory" in kinds.split(","):
            mount = mount / "memory"
            limit = "memory.limit_in_bytes"
            usage = "memory.usage_in_bytes"
        elif kinds:
            continue  # another resource
        group = PurePosixPath(path.lstrip("/"))
        # A group is bound by those above it, too. In a container the path may be the host's, of
        # which only the mount itself is seen: the last parent.
        for above in (group, *group.parents):
            yield _left_by_group(mount / above, limit, usage)


def _left_by_group(group: Path, limit: str, usage: str) -> float:
    """The bytes that the limit of one control group leaves; infinity without one."""
    bounds = _lines(group / limit)
    used = _lines(group / usage)
    is_limited = bounds and used and bounds[0].isdigit() and used[0].isdigit()
    if not is_limited:  # no such group, or "max"
        return math.inf
    # Cached files count as used and are dropped when memory is needed. Under version 1 only
    # `total_` counts subgroups.
    held = _table(group / "memory.stat")
    cached = 0
    for kind in ("inactive_file", "active_file"):
        cached += held.get(f"total_{kind}", held.get(kind, 0))
    return max(0, int(bounds[0]) - int(used[0]) + cached)


def _address_space_left(root: Path) -> float:
    """The bytes that `ulimit -v` leaves; infinity without it."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines(root / "proc/self/statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return math.inf
    # The first number of statm is the size of the address space, in pages.
    return max(0, limit - int(pages[0].split()[0]) * resource.getpagesize())


def _table(path: Path) -> dict[str, int]:
    """Lines such as `MemAvailable: 123 kB` or `active_file 123`, with their numbers unchanged."""
    rows = [line.split() for line in _lines(path)]
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _lines(path: Path) -> list[str]:
    """The lines of a small file of the system; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

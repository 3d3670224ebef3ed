"""Whether memory can hold a pool: what may still be allocated, and the error where that is too
little.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch

from couplings.errors import CouplingError, require

WAY_OUT = "take a smaller pool, or semidiscrete"
# How PyTorch on the CPU and XLA, which raise a bare RuntimeError, say that memory ran out.
_SHORTAGE = ("DefaultCPUAllocator", "RESOURCE_EXHAUSTED")


def check_fits(what: str, n: int, needed: int, available: float) -> None:
    """Refuse to couple n images at once where that needs more bytes than are available.

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
    """Turn what a library raises where memory runs out into the error of a coupling.

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
    """Whether an error of Python, NumPy, PyTorch or XLA means that memory ran out."""
    typed = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return typed or any(words in str(error) for words in _SHORTAGE)


def gigabytes(size: float) -> str:
    """Bytes as a reader wants them: `160 GB`, `0.4 GB`."""
    size /= 1e9
    return f"{size:,.0f} GB" if size >= 10 else f"{size:.1f} GB"


def available_bytes(device: torch.device | str = "cpu", root: Path = Path("/")) -> float:
    """The bytes that may still be allocated for a pool on a device; infinity where the system does
    not say.

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
    return host + _free_on_gpu(device) if torch.device(device).type == "cuda" else host


def _free_on_gpu(device: torch.device | str) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch keeps what it has freed and gives it out again.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _left_by_groups(root: Path) -> Iterator[float]:
    """The bytes that each control group leaves this process, and the groups above them."""
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        kinds, colon, path = rest.partition(":")
        if not colon:
            continue  # no line of this file
        if not kinds:
            base, limit, usage = mount, "memory.max", "memory.current"
        elif "memory" in kinds.split(","):
            base, limit, usage = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        # In a container the path may be the host's, of which only the mount itself is seen: the
        # last parent.
        for above in (group, *group.parents):
            yield _left_by_group(base / above, limit, usage)


def _left_by_group(group: Path, limit: str, usage: str) -> float:
    bounds, used = _lines(group / limit), _lines(group / usage)
    numbers = bounds and used and bounds[0].isdigit() and used[0].isdigit()
    if not numbers:  # no such group, or "max"
        return math.inf
    # Cached files count as used and are dropped when memory is needed. Under version 1 only
    # `total_` counts subgroups.
    held = _table(group / "memory.stat")
    cached = sum(
        held.get(f"total_{kind}", held.get(kind, 0)) for kind in ("inactive_file", "active_file")
    )
    return max(0, int(bounds[0]) - int(used[0]) + cached)


def _address_space_left(root: Path) -> float:
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines(root / "proc/self/statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return math.inf
    return max(0, limit - int(pages[0].split()[0]) * resource.getpagesize())


def _table(path: Path) -> dict[str, int]:
    """Lines such as `MemAvailable: 123 kB` or `active_file 123`, the numbers as they stand."""
    rows = [line.split() for line in _lines(path)]
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _lines(path: Path) -> list[str]:
    """The lines of a small file of the system; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

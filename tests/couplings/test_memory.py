"""Pools that a solver cannot count, or that memory cannot hold, are refused before anything is
allocated.
"""

import json
import math
import subprocess
import sys

import pytest
import torch

from couplings import Coupling, CouplingError, Pool, get, names
from couplings.cost import LARGEST_EIGENPROBLEM, principal_axes
from couplings.memory import available_bytes

BATCH = [name for name in names() if isinstance(get(name), Coupling)]
GIB = 2**30
# One process for all: a library's first solve is not measured, and freed memory is given back
# before each.
PEAKS = """
import json, sys, torch
from bench.benchmarks.memory import reset_peak, status
from couplings import get

n, d = 1200, 8
generator = torch.Generator().manual_seed(0)
images, noise = torch.randn(2, n, d, generator=generator)
labels, found = torch.zeros(n, dtype=torch.int64), {}
for spec in sys.argv[1:]:
    coupling = get(spec)
    coupling.pair(images[:16], noise[:16], labels[:16], generator)
    before = reset_peak()
    coupling.pair(images, noise, labels, generator)
    found[spec] = [coupling.peak_bytes(n, d), None if before is None else status("VmHWM") - before]
print(json.dumps(found))
"""


def system(root, **files):
    """A folder that stands for the root of a Linux system; names have / for double underscores."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_an_unknown_system_refuses_nothing(tmp_path):
    assert available_bytes(root=tmp_path) == math.inf


def test_what_linux_can_free_is_available(tmp_path):
    assert (
        available_bytes(
            root=system(tmp_path, proc__meminfo="MemTotal: 99 kB\nMemAvailable:   7 kB\n")
        )
        == 7 * 1024
    )


def test_control_groups_of_version_2_and_those_above_them_bound_it(tmp_path):
    root = system(
        tmp_path,
        proc__meminfo="MemAvailable: 99999999 kB\n",
        proc__self__cgroup="0::/slurm/job/step\n",
    )
    groups = tmp_path / "sys/fs/cgroup"
    system(groups / "slurm/job/step", **{"memory.max": "max\n", "memory.current": "5\n"})
    assert available_bytes(root=root) == 99999999 * 1024
    stat = "anon 1\ninactive_file 20\nactive_file 3\n"
    system(
        groups / "slurm/job",
        **{"memory.max": "1000\n", "memory.current": "600\n", "memory.stat": stat},
    )
    assert available_bytes(root=root) == 1000 - 600 + 23


def test_control_groups_of_version_1_bound_it_also_where_the_path_is_the_hosts(tmp_path):
    root = system(tmp_path, proc__self__cgroup="5:cpu:/x\n4:memory:/docker/abc\n")
    files = {"memory.limit_in_bytes": "1000\n", "memory.usage_in_bytes": "900\n"}
    system(
        tmp_path / "sys/fs/cgroup/memory",
        **files,
        **{"memory.stat": "active_file 1\ntotal_active_file 50\n"},
    )
    assert available_bytes(root=root) == 150


@pytest.mark.parametrize("n", [46_341, 50_000])
def test_lapjv_refuses_what_it_cannot_count(n):
    with pytest.raises(CouplingError, match=r"46,340.*hiref, or semidiscrete"):
        get("lapjv").check_size(n, 1, available=math.inf)
    get("lapjv").check_size(46_340, 1, available=math.inf)
    rows = torch.zeros(1, 1).expand(n, 1)  # no n x n matrix is made of it, nor are there n rows
    with pytest.raises(CouplingError, match="46,340"):
        get("lapjv").pair(rows, rows)
    with pytest.raises(CouplingError, match="46,340"):
        get("lapjv").solve(Pool(rows, rows))


def test_a_class_at_a_time_counts_the_largest_class():
    labels = torch.tensor([0, 1, 1, 1])
    get("lapjv:within_class=true").check_size(60_000, 1, labels, available=math.inf)
    with pytest.raises(CouplingError, match="not 60,000"):
        get("lapjv:within_class=true").check_size(80_000, 1, labels, available=math.inf)
    get("conditional-cost").check_size(40, 1, labels, available=12 * 30**2)
    with pytest.raises(CouplingError, match="30 images"):
        get("conditional-cost").check_size(40, 1, labels, available=12 * 30**2 - 1)
    with pytest.raises(CouplingError, match="40 images"):
        get("conditional-cost:weight=1").check_size(40, 1, labels, available=12 * 30**2)


@pytest.mark.parametrize("spec", ["sinkhorn", "ott-sinkhorn", "partial"])
def test_draws_of_bounded_size_are_refused_before_the_solution(spec):
    with pytest.raises(CouplingError, match="at most 16,?384"):
        get(spec).check_size(20_000, 1, available=math.inf)
    rows = torch.zeros(1, 1).expand(20_000, 1)
    with pytest.raises(CouplingError, match="at most 16,?384"):
        get(spec).solve(Pool(rows, rows, generator=torch.Generator()))
    get("partial:share=1").check_size(20_000, 1, available=math.inf)


def test_principal_components_that_lapack_cannot_count_are_refused():
    side = LARGEST_EIGENPROBLEM + 1
    assert 1 + 6 * (side - 1) + 2 * (side - 1) ** 2 < 2**31 <= 1 + 6 * side + 2 * side**2
    with pytest.raises(CouplingError, match="smaller pool"):
        principal_axes(torch.zeros(1, 1).expand(side, side), 1)


@pytest.mark.parametrize("name", BATCH)
def test_a_pool_that_memory_cannot_hold_is_refused_with_the_sizes(name):
    coupling = get(name)
    n = 10_000
    d = 3
    needed = coupling.peak_bytes(n, d)
    coupling.check_size(n, d, available=needed)
    if needed:
        with pytest.raises(
            CouplingError,
            match=r"10,000 images .* takes .* GB, .* GB are available: .*semidiscrete",
        ):
            coupling.check_size(n, d, available=needed - 1)
    with pytest.raises(CouplingError, match="takes 500 GB, 24 GB are available"):
        coupling.check_size(n, d, held=500 * 10**9 - needed, available=24e9)


LIMITED = """
import resource, sys, torch
from couplings import get

images = torch.zeros(40_000, 1)
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    coupling = Huge() if sys.argv[2] == "huge" else get(sys.argv[2])
    coupling.pair(images, images, generator=torch.Generator())
except ValueError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="RLIMIT_AS bounds allocations on Linux only"
)
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hungarian", "40,000 images at once takes 19 GB"),
        ("lapjv", "takes 6.4 GB"),
        ("huge", "memory ran out"),
    ],
)
def test_no_allocation_error_of_a_library_gets_through(spec, words):
    """The estimate refuses the pool, or an allocation fails that no estimate covers."""
    own = """
from couplings import Coupling, Pairing
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Huge(Coupling):
    def solve(self, pool):
        return Pairing((pool.images @ pool.noise.T).argmin(1))
"""
    command = [sys.executable, "-c", own + LIMITED, str(5 * GIB), spec]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("CouplingError"), done.stderr[-2000:]
    assert words in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_other_errors_are_not_taken_for_a_shortage():
    class Odd(type(get("random"))):
        def solve(self, pool):
            raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        Odd().pair(torch.zeros(3, 1), torch.zeros(3, 1))


SPECS = [
    "random",
    "lapjv",
    "lapjv:cost=l2",
    "lapjv:cost=angular",
    "hungarian",
    "greedy",
    "stable",
    "unbalanced",
    "sinkhorn:replace=true",
]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_estimates_are_low_and_of_the_right_size():
    """A pool that fits must never be refused, and one of many times the memory always."""
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, *SPECS],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    for spec, (estimate, peak) in json.loads(done.stdout).items():
        if peak is None:
            pytest.skip("this system resets no peaks")
        assert estimate <= 1.03 * peak, spec
        assert estimate >= 0.2 * peak or spec == "random", spec


@pytest.mark.parametrize("lines", ["", "nonsense\n", "0:\n", "0::/a\n", "4:memory\n"])
def test_odd_files_of_control_groups_bound_nothing(tmp_path, lines):
    root = system(tmp_path, proc__meminfo="MemAvailable: 7 kB\n", proc__self__cgroup=lines)
    system(tmp_path / "sys/fs/cgroup/a", **{"memory.max": "1000\n", "memory.current": "unknown\n"})
    assert available_bytes(root=root) == 7 * 1024

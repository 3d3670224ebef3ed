"""Who may import whom: the walls between the rooms of the house."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("couplings", "models", "bench", "slurm", "reports")
ALLOWED = {
    "couplings": {"couplings"},
    "models": {"models"},
    "bench": {"bench", "couplings", "models"},
    "slurm": {"slurm", "bench"},
    "reports": {"reports", "bench"},
}
# Doors: what one file, and no other, may import beyond its room's rule.
DOORS = {"bench/run.py": {"reports"}, "bench/solve.py": {"reports"}}
# Of bench, the outer rooms see the configuration and the records; a job has a run to call.
BENCH_FACE = {
    "slurm": {"bench.arm", "bench.check", "bench.config", "bench.process", "bench.record"},
    "reports": {"bench.process", "bench.record"},
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ROOMS}


FILES = [str(p.relative_to(ROOT)) for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES)
def test_a_room_imports_only_what_it_may(file):
    room = file.split("/")[0]
    rooms = {name.split(".")[0] for name in imported(ROOT / file)}
    assert rooms <= ALLOWED[room] | DOORS.get(file, set())


@pytest.mark.parametrize("file", [f for f in FILES if f.split("/")[0] in BENCH_FACE])
def test_the_outer_rooms_see_only_the_face_of_bench(file):
    face = BENCH_FACE[file.split("/")[0]]
    for name in imported(ROOT / file):
        if name.split(".")[0] == "bench" and name != "bench":
            assert ".".join(name.split(".")[:2]) in face, name


def test_there_is_something_to_guard():
    assert {f.split("/")[0] for f in FILES} == set(ROOMS)


@pytest.mark.parametrize(
    "module", ["bench.run", "bench.solve", "bench.speed", "slurm.submit", "couplings"]
)
def test_heavy_libraries_wait_until_they_are_needed(module):
    heavy = [
        "jax",
        "ott",
        "ot",
        "lapjv",
        "submitit",
        "pandas",
        "seaborn",
        "matplotlib",
        "torchvision",
    ]
    if module != "couplings":
        heavy.append("torch")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"

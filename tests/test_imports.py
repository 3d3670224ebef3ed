"""Import rules: between the packages, their face to each other, and no circle of files."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("couplings", "models", "bench", "slurm", "reports", "ot_couplings")
ALLOWED = {
    "couplings": {"couplings"},
    "models": {"models"},
    "bench": {"bench", "couplings", "models"},
    "slurm": {"slurm", "bench"},
    "reports": {"reports", "bench"},
    # Calls the others by their names, which ``bench.record`` lists.
    "ot_couplings": {"ot_couplings", "bench", "couplings"},
}
# What one file, and no other, may import beyond the rule of its package.
DOORS = {
    "bench/cli.py": {"reports"},
    "bench/run/compare.py": {"reports"},
    "bench/run/models.py": {"reports"},
    "bench/solve.py": {"reports"},
    # The line on a missing package, which only that error waits for.
    "models/import_edm.py": {"couplings"},
}
# The parts of bench that the outer packages see.
FACE = {
    "slurm": {
        "bench.arm",
        "bench.check",
        "bench.config",
        "bench.plugins",
        "bench.process",
        "bench.record",
    },
    "reports": {"bench.plugins", "bench.process", "bench.record"},
    "ot_couplings": {"bench.process", "bench.record"},
}
# Runs of earlier versions hold no descriptions of their metrics: reports ask bench for those.
LATE_FACE = {"reports": {"bench.metrics"}}
# The most files and sub-packages at the top of a package, and the longest chain of imports there.
MOST_ROOMS = {"bench": 22, "reports": 13}
MOST_FLOORS = {"bench": 10}


def name_of(path):
    """The module of a file, ``bench.record`` for ``bench/record/__init__.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {
    name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(module, at_top_only=False):
    """Modules of ours that a module imports, also late and for type checking only."""
    found = set()
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                # ``from bench import plugins`` imports a file, ``from bench.data import load`` a
                # name of a file.
                full = f"{node.module}.{alias.name}"
                found.add(full if full in FILES else node.module)
    return {name for name in found if name.split(".")[0] in PACKAGES} - {module}


GRAPH = {module: imports(module) for module in FILES}


@pytest.mark.parametrize("module", FILES)
def test_a_package_imports_only_what_it_may(module):
    package = module.split(".")[0]
    file = str(FILES[module].relative_to(ROOT))
    imported = {name.split(".")[0] for name in GRAPH[module]}
    assert imported <= ALLOWED[package] | DOORS.get(file, set())


@pytest.mark.parametrize("module", [name for name in FILES if name.split(".")[0] in FACE])
def test_the_outer_packages_see_only_the_face_of_bench(module):
    package = module.split(".")[0]
    allowed = FACE[package] | LATE_FACE.get(package, set())
    for name in GRAPH[module] - {"bench"}:
        if name.startswith("bench."):
            assert ".".join(name.split(".")[:2]) in allowed, name
    # Reports of a hundred runs need no torch.
    for name in imports(module, at_top_only=True):
        assert ".".join(name.split(".")[:2]) not in LATE_FACE.get(package, set()), name


def circle(graph):
    """A circle of a graph as a list that ends where it begins, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_file_imports_itself_through_others():
    """Also for type checking: files that name each other's types are one thing cut in two."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None
    assert circle(GRAPH) is None


def rooms(package):
    """Imports between the files and sub-packages at the top of a package."""
    graph = {}
    for module in FILES:
        own, *parts = module.split(".")
        if own == package and parts:
            named = {name.split(".")[1] for name in GRAPH[module] if name.startswith(f"{package}.")}
            graph.setdefault(parts[0], set()).update(named - {parts[0]})
    return graph


def floors(graph):
    """The length of the longest chain of imports."""
    height = {}
    for room in TopologicalSorter(graph).static_order():
        height[room] = 1 + max((height[below] for below in graph[room]), default=0)
    return max(height.values())


@pytest.mark.parametrize("package", MOST_ROOMS)
def test_a_package_stays_small_enough_to_know(package):
    assert len(rooms(package)) <= MOST_ROOMS[package]


@pytest.mark.parametrize(
    "package", ["bench", "reports", "couplings", "models", "slurm", "ot_couplings"]
)
def test_parts_of_a_package_build_on_each_other(package):
    graph = rooms(package)
    assert circle(graph) is None
    assert floors(graph) <= MOST_FLOORS.get(package, 10)


def test_there_is_something_to_guard():
    assert {module.split(".")[0] for module in FILES} == set(PACKAGES)
    assert "bench.config" in GRAPH["slurm.entry"]


@pytest.mark.parametrize(
    "module",
    [
        "bench.run",
        "bench.solve",
        "bench.speed",
        "slurm.submit",
        "couplings",
        "ot_couplings.command",
    ],
)
def test_heavy_libraries_wait_until_they_are_needed(module):
    heavy = [
        "jax",
        "lapjv",
        "matplotlib",
        "ot",
        "ott",
        "pandas",
        "seaborn",
        "submitit",
        "torchvision",
    ]
    # Couplings are functions of tensors; a command line is not.
    if module != "couplings":
        heavy.append("torch")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"

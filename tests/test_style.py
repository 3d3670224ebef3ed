"""House style where ruff has no rule for it: density, comments, openings of docstrings."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "couplings", "models", "ot_couplings", "reports", "slurm")
MOST_LINES = 400
# Share of comments among all lines of a package; the aim is 0.05 for each.
LEAST_COMMENTS = 0.05  # of the lines of a package
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# A docstring names the thing or the action: "True if ...", not "Whether ...".
OPENINGS = ("How", "What", "Whether", "Who")


def files(package):
    return sorted((ROOT / package).rglob("*.py"))


def is_nested(node):
    """True for a comprehension in a comprehension, and for one with two loops."""
    if not isinstance(node, COMPREHENSIONS):
        return False
    inner = [part for part in ast.walk(node) if isinstance(part, COMPREHENSIONS)]
    return len(inner) > 1 or len(node.generators) > 1


def opening(node):
    """The first word of a docstring, "" if there is none."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    text = ast.get_docstring(node) if isinstance(node, kinds) else None
    return text.split()[0] if text else ""


def private_names(node, path):
    """Private names of ours that an import takes into a file outside their folder."""
    if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] not in PACKAGES:
        return
    for alias in node.names:
        parts = [*node.module.split("."), alias.name]
        for place, part in enumerate(parts):
            # A helper file belongs to its folder. A name belongs to its file, which is no folder.
            owner = ROOT.joinpath(*parts[:place])
            if part.startswith("_") and not part.startswith("__") and owner not in path.parents:
                yield ".".join(parts)


def faults(path):
    """Line and fault of everything in a file that breaks a rule."""
    text = path.read_text(encoding="utf-8")
    if text.count("\n") > MOST_LINES:
        yield MOST_LINES, f"more than {MOST_LINES} lines"
    for node in ast.walk(ast.parse(text)):
        line = getattr(node, "lineno", 1)
        if is_nested(node):
            yield line, "nested comprehension: name the inner part or write a loop"
        if opening(node) in OPENINGS:
            yield line, f"docstring begins with {opening(node)}"
        for name in private_names(node, path):
            yield line, f"imports the private name {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_files_keep_the_house_style(package):
    found = []
    for path in files(package):
        found += [f"{path.relative_to(ROOT)}:{line}: {fault}" for line, fault in faults(path)]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("package", PACKAGES)
def test_comments_give_reasons_often_enough(package):
    lines = 0
    comments = 0
    for path in files(package):
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
    assert comments >= LEAST_COMMENTS * lines, f"{comments} comments in {lines} lines"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def f():\n    '''Whether it is so.'''\n", "docstring begins with Whether"),
        ("[[1 for _ in x] for x in y]\n", "nested comprehension: name the inner part"),
        ("{a for b in c for a in b}\n", "nested comprehension: name the inner part"),
        ("from bench.arm import _begin\n", "imports the private name bench.arm._begin"),
        ("from slurm import _command\n", "imports the private name slurm._command"),
        ("from torch import _C\nx = [a for a in b]\n", ""),
        ("\n" * 401, "more than 400 lines"),
    ],
)
def test_the_rules_find_what_they_are_for(tmp_path, code, fault):
    path = tmp_path / "code.py"
    path.write_text(code)
    found = [text for _, text in faults(path)]
    assert len(found) == bool(fault)
    assert all(text.startswith(fault) for text in found)

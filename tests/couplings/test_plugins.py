import subprocess
import sys

import pytest

from couplings.plugins import COUPLINGS, PluginError, build, class_in, load, name_of, names

BASE = "class Shape: pass\n"
SQUARE = "from shapes.contract import Shape\n\nclass Square(Shape): pass\n"


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A package of plug-ins, `shapes`, and a folder for a user's own, `mine`."""
    files = {
        "shapes/__init__.py": "",
        "shapes/contract.py": BASE,
        "shapes/_shared.py": SQUARE,
        "shapes/square.py": SQUARE,
        "shapes/long_name.py": SQUARE.replace("Square", "LongName"),
        "mine/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in list(sys.modules):
        if name.split(".")[0] in ("shapes", "mine"):
            del sys.modules[name]


def test_names_are_those_of_the_files_and_nothing_is_imported(shapes):
    assert names("shapes") == ("long-name", "square")
    assert names("shapes", "mine") == ("long-name", "square")
    assert "shapes.square" not in sys.modules


def test_a_plug_in_is_found_by_its_file_and_only_it_is_imported(shapes):
    module = load("shape", "long-name", "mine", "shapes")
    assert module.__name__ == "shapes.long_name"
    assert "shapes.square" not in sys.modules
    assert class_in("shape", module, module.Shape).__name__ == "LongName"


def test_a_users_module_needs_no_entry_anywhere(shapes):
    (shapes / "mine/circle.py").write_text(SQUARE.replace("Square", "Circle"))
    module = load("shape", "mine.circle", "shapes")
    assert class_in("shape", module, module.Shape).__name__ == "Circle"
    assert names("shapes") == ("long-name", "square")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("couplings.batch.minibatch_ot", "minibatch-ot"),
        ("couplings.dataset.cached", "cached"),
        ("my_project.minibatch_ot", "my_project.minibatch_ot"),
        ("__main__", "__main__"),
    ],
)
def test_the_name_of_a_module(module, name):
    assert name_of(module, *COUPLINGS) == name


@pytest.mark.parametrize("name", ["_shared", "contract", "sqare", "1.5", "a..b", "", "."])
def test_unknown_names_are_refused_with_the_known_ones(shapes, name):
    with pytest.raises(PluginError, match=r"^unknown shape .*known: long-name, square; or a mod"):
        load("shape", name, "shapes")


def test_near_matches_are_named(shapes):
    with pytest.raises(PluginError, match=r"did you mean square\?"):
        load("shape", "sqare", "shapes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a shape is one class that derives from Shape or Line, found none"),
        (SQUARE + "class Other(Shape): pass", "found Square, Other"),
        ("class _Hidden: pass", "found none"),
        ("from shapes.square import Square", "found none"),
    ],
)
def test_a_module_holds_one_class(shapes, text, message):
    (shapes / "mine/odd.py").write_text(text)
    base = load("shape", "shapes.contract", "shapes").Shape
    line = type("Line", (), {})
    with pytest.raises(PluginError, match=message):
        class_in("shape", load("shape", "mine.odd", "shapes"), base, line)


TRIANGLE = """
from dataclasses import dataclass
from shapes.contract import Shape

@dataclass(frozen=True, kw_only=True)
class Triangle(Shape):
    name = "triangle"
    side: float = 1.0
"""


def test_a_plug_in_is_built_with_the_options_of_its_spec(shapes):
    (shapes / "shapes/triangle.py").write_text(TRIANGLE)
    base = load("shape", "shapes.contract", "shapes").Shape
    assert build("shape", "triangle:side=2.5", ("shapes",), base).side == 2.5
    with pytest.raises(PluginError, match="did you mean side"):
        build("shape", "triangle:sides=3", ("shapes",), base)


@pytest.mark.parametrize("decorator", ["", "@dataclass", "@dataclass(kw_only=True)"])
def test_only_frozen_dataclasses_are_built(decorator, shapes):
    text = TRIANGLE.replace("@dataclass(frozen=True, kw_only=True)", decorator)
    (shapes / "shapes/triangle.py").write_text(text)
    base = load("shape", "shapes.contract", "shapes").Shape
    with pytest.raises(PluginError, match=r"Triangle: put @dataclass\(frozen=True"):
        build("shape", "triangle", ("shapes",), base)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.none", None, "no module mine.none; it is looked for in the working folder"),
        ("nobody.none", None, "no module nobody; it is looked for"),
        ("mine.needs", "import no_such_library", "needs no_such_library, which is not installed"),
        ("mine.needs", "import mine.other", "needs mine.other, which is not installed"),
        ("mine.breaks", "1 / 0", "importing it failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported_is_explained(shapes, name, text, message):
    if text is not None:
        (shapes / f"{name.replace('.', '/')}.py").write_text(text)
    with pytest.raises(PluginError, match=message):
        load("shape", name, "shapes")


def test_a_decorator_that_leaves_the_class_open_to_change_is_explained(shapes):
    base = "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Shape: pass\n"
    square = base + "@dataclass\nclass Square(Shape): pass\n"
    (shapes / "mine/plain.py").write_text(square)
    with pytest.raises(PluginError, match=r"non-frozen .*: put @dataclass\(frozen=True, kw_only"):
        load("shape", "mine.plain", "shapes")


def test_getting_a_coupling_imports_no_other_one():
    code = (
        "import sys\n"
        "from couplings import get\n"
        "get('sinkhorn')\n"
        "print(*(m for m in sys.modules if m.startswith('couplings.batch.') and '._' not in m))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["couplings.batch.sinkhorn"]


def test_a_script_that_ends_python_at_import_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ending").mkdir()
    (tmp_path / "ending" / "script.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="importing it failed: SystemExit: 3"):
        load("metric", "ending.script")

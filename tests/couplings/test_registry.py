import multiprocessing
import operator
import subprocess
import sys

import pytest
import torch

from couplings import CouplingError, get, names

SHIPPED = {
    "random",
    "hungarian",
    "lapjv",
    "minibatch-ot",
    "sinkhorn",
    "ott-sinkhorn",
    "greedy",
    "stable",
    "knn",
    "partial",
    "unbalanced",
    "conditional-cost",
    "swap",
    "hiref",
    "sliced",
    "bsp",
    "permuted",
    "model-aligned",
    "semidiscrete",
    "semidiscrete-balanced",
    "cached",
}
REVERSED = """
from dataclasses import dataclass

import torch

from couplings import Coupling, Pairing


@dataclass(frozen=True, kw_only=True)
class Reversed(Coupling):
    k: int = 4

    def solve(self, pool):
        return Pairing(torch.arange(len(pool.images)).flip(0))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's package on the path."""
    folder = tmp_path / "my_project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


def test_names_are_sorted_and_complete():
    assert set(names()) >= SHIPPED
    assert list(names()) == sorted(names())
    assert set(names("dataset")) == {
        "cached",
        "reflow",
        "semidiscrete",
        "semidiscrete-balanced",
    }


def test_a_name_with_a_dot_is_a_module_of_the_users_own(project):
    (project / "turned.py").write_text(REVERSED)
    coupling = get("my_project.turned:k=2")
    assert (coupling.k, coupling.spec) == (2, "my_project.turned:k=2")
    images = [[0.0], [1.0], [2.0]]
    noise = [[3.0], [4.0], [5.0]]
    assert coupling.pair(torch.tensor(images), torch.tensor(noise)).index.tolist() == [2, 1, 0]


def test_a_users_coupling_is_not_among_the_built_in_ones(project):
    (project / "turned.py").write_text(REVERSED)
    before = names()
    get("my_project.turned")
    assert names() == before


def test_options_of_a_users_coupling_are_refused_like_all(project):
    (project / "turned.py").write_text(REVERSED)
    with pytest.raises(CouplingError, match="unknown option of my_project.turned 'q': known: with"):
        get("my_project.turned:q=2")
    with pytest.raises(CouplingError, match="my_project.turned: k must be a whole number"):
        get("my_project.turned:k=many")


def test_a_users_coupling_travels_to_a_spawned_process(project):
    """As to the worker processes of a trainer, which find the module on the same path."""
    (project / "turned.py").write_text(REVERSED)
    coupling = get("my_project.turned:k=7")
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        assert processes.apply(operator.attrgetter("spec"), [coupling]) == "my_project.turned:k=7"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", r"is one class that derives from Coupling or DatasetCoupling, found none"),
        (REVERSED + REVERSED.replace("class Reversed", "class Again"), "found Reversed, Again"),
        (REVERSED.replace("@dataclass(frozen=True, kw_only=True)", ""), "frozen=True"),
        ("import no_such_library", "needs no_such_library, which is not installed"),
        ("1 / 0", "importing it failed: ZeroDivisionError"),
    ],
)
def test_a_module_that_is_no_coupling_is_refused(project, code, message):
    (project / "broken.py").write_text(code)
    with pytest.raises(CouplingError, match=message):
        get("my_project.broken")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(CouplingError, match="no module no_such_package"):
        get("no_such_package.nearest")


def test_unknown_name_gives_near_matches_and_the_list():
    with pytest.raises(CouplingError) as caught:
        get("lapvj")
    assert "did you mean lapjv?" in str(caught.value)
    assert ", ".join(names()) in str(caught.value)


def test_a_spec_is_a_string():
    with pytest.raises(CouplingError, match="string"):
        get(None)


def test_lookups_import_no_solver():
    code = (
        "import sys, torch; from couplings import get, names; names(); get('sinkhorn');heavy ="
        " {'ot', 'jax', 'ott', 'lapjv', 'scipy'} & set(sys.modules); assert not heavy,"
        " heavy;get('sinkhorn:backend=pot').pair(torch.eye(3), torch.eye(3),"
        " generator=torch.Generator());assert 'ot' in sys.modules and 'jax' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

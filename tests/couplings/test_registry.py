import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import couplings
from couplings import Coupling, CouplingError, Pairing, get, names, register, registry

SHIPPED = {"random", "hungarian", "lapjv", "minibatch-ot", "sinkhorn", "ott-sinkhorn"} | {
    "greedy",
    "stable",
    "knn",
    "partial",
    "unbalanced",
    "conditional-cost",
}


@pytest.fixture
def scratch_registry(monkeypatch):
    names()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))


def make(name):
    @register(name)
    @dataclass(frozen=True, kw_only=True)
    class Newcomer(Coupling):
        k: int = 4

        def solve(self, pool):
            return Pairing(torch.arange(len(pool.images)).flip(0))

    return Newcomer


def test_names_are_sorted_and_complete():
    assert set(names()) >= SHIPPED
    assert list(names()) == sorted(names())


def test_a_user_registers_a_coupling(scratch_registry):
    make("newcomer")
    assert "newcomer" in names()
    pairing = get("newcomer:k=2").pair(torch.zeros(3, 1), torch.ones(3, 1))
    assert pairing.index.tolist() == [2, 1, 0]


def test_duplicates_raise(scratch_registry):
    with pytest.raises(CouplingError, match=r"'lapjv' is taken by couplings\.lapjv\.Lapjv"):
        make("lapjv")


@pytest.mark.parametrize("name", ["", "Upper", "a:b", "a,b", "a b"])
def test_malformed_names_raise(scratch_registry, name):
    with pytest.raises(CouplingError, match="lower case"):
        make(name)


def test_only_frozen_dataclasses_register(scratch_registry):
    with pytest.raises(CouplingError, match="frozen=True"):
        register("plain")(type("Plain", (), {}))
    with pytest.raises(CouplingError, match="frozen=True"):  # the options of the subclass would be lost
        register("child")(type("Child", (type(get("lapjv")),), {}))


def test_unknown_name_gives_near_matches_and_the_list():
    with pytest.raises(CouplingError) as caught:
        get("lapvj")
    assert "did you mean lapjv?" in str(caught.value)
    assert ", ".join(names()) in str(caught.value)


def test_a_spec_is_a_string():
    with pytest.raises(CouplingError, match="string"):
        get(None)


def test_one_new_file_is_enough_and_lookups_import_no_solver(tmp_path):
    """In a fresh interpreter, on a copy of the package with one more file."""
    package = shutil.copytree(Path(couplings.__file__).parent, tmp_path / "couplings")
    (package / "newcomer.py").write_text((package / "independent.py").read_text().replace('"random"', '"newcomer"'))
    code = (
        "import sys, torch; from couplings import get, names; assert 'newcomer' in names(); get('sinkhorn');"
        "heavy = {'ot', 'jax', 'ott', 'lapjv', 'scipy'} & set(sys.modules); assert not heavy, heavy;"
        "get('sinkhorn:backend=pot').pair(torch.eye(3), torch.eye(3), generator=torch.Generator());"
        "assert 'ot' in sys.modules and 'jax' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

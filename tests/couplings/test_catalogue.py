"""The catalogue of couplings, as ``python -m couplings`` prints it."""

import pytest

from couplings import get, names
from couplings.__main__ import main
from couplings.catalogue import WIDTH, entry

OWN = '''
from dataclasses import dataclass

import torch

from couplings import Coupling, Pairing


@dataclass(frozen=True, kw_only=True)
class Reversed(Coupling):
    """The pool, back to front.

    Options:
        by: places to turn it by, and then
            some more.

    Cost: O(n) time.
    """

    exact_noise_marginal = False

    by: float = 2

    def solve(self, pool):
        return Pairing(torch.arange(len(pool.images)).flip(0))
'''


@pytest.mark.parametrize("name", names())
def test_every_coupling_says_all_that_the_catalogue_shows(name):
    found = entry(name)
    assert found.solves
    assert found.cost
    assert found.source
    assert all(option.meaning for option in found.options)
    # The defaults are what they say: written out, they are the coupling itself.
    written = ",".join(f"{option.name}={option.default}" for option in found.options)
    assert get(f"{name}:{written}") == get(name)


def test_the_list_has_every_coupling_with_its_defaults_and_the_marginals_it_changes(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    heads = [line.split("  ")[0] for line in text.splitlines() if line and line[0].islower()]
    assert heads == [*names("batch"), *names("dataset")]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "epsilon=0.05  max_iterations=5000" in text
    assert text.count("noise CHANGED") == 3  # knn, unbalanced and w-cfm


def test_a_coupling_of_ones_own_is_shown_by_its_docstring(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_package").mkdir()
    (tmp_path / "mine_package" / "listed.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["mine_package.listed:by=3"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine_package.listed  The pool, back to front.\n")
    assert "cost       O(n) time\n" in text
    assert "noise CHANGED, data kept" in text
    assert "by=2.0  (a finite number)\n      places to turn it by, and then some more." in text
    assert "paper      not stated" in text


def test_a_misspelt_name_is_one_line(capsys):
    assert main(["lapvj"]) == 2
    error = capsys.readouterr().err
    assert "did you mean lapjv" in error
    assert error.count("\n") == 1

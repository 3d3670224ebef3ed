import json
from dataclasses import dataclass

import pytest

from bench.benchmarks.rounds import Results, rotated, work_through
from bench.benchmarks.table import aligned, number
from bench.config import ConfigError


@dataclass
class Row:
    name: str
    ms: float | None = None


def test_the_order_moves_on_so_that_each_has_every_place():
    orders = [order for _, order in rotated("abc", range(3))]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_results_are_a_table_and_its_origin(tmp_path):
    results = Results(tmp_path / "out", "solve", Row)
    results.begin({"seed": 0})
    results.save([Row("a", 0.5)])
    assert results.csv.read_text() == "name,ms\na,0.5\n"
    assert json.loads((tmp_path / "out/solve.json").read_text()) == {"seed": 0}


def test_a_folder_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="choose another --out"):
        Results(tmp_path / "file", "solve", Row).begin({})


def test_ctrl_c_saves_and_goes_no_further(capsys):
    saves = []

    def steps():
        yield "one"
        raise KeyboardInterrupt

    assert work_through(steps(), 3, "test", lambda: saves.append(1)) == 130
    assert len(saves) == 3  # before the first step, after it, and at the end
    assert "what was measured is kept" in capsys.readouterr().err
    assert work_through(iter(["one", "two"]), 2, "test", lambda: None) == 0


def test_columns_are_aligned():
    assert aligned([("a", "bb"), ("long", "c")]) == "a     bb\nlong  c"
    assert (number(1234.56, "-"), number(None, "-")) == ("1235", "-")

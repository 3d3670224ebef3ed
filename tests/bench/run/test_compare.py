"""``bench.compare`` makes the runs of the command line, and hands their numbers on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import bench
from bench.config import ConfigError, load_preset
from bench.run import main
from bench.run.compare import _command
from bench.training.network import find_builder
from models.networks import mlp
from reports.tables.runs import ReportError

ROOT = Path(__file__).parents[3]


# Without the classifier, which takes most of the time of a run this small.
OPTIONS = {"images": 256, "pool": 64, "batch": 64, "nfe": [3, 5], "rhos": [7.0]}
OPTIONS |= {"model_channels": 8, "channel_mult": [1], "metrics": ["truncation"]}
OPTIONS |= {"trajectories": 8, "reference_steps": 8, "features": ["pixels"]}


def words(options):
    """Options as the command line has them."""
    found = []
    for key, value in options.items():
        values = value if isinstance(value, list) else [value]
        found += [f"--{key.replace('_', '-')}", *map(str, values)]
    return found


def test_the_runs_are_those_of_the_command_line(tmp_path, capsys):
    compared = bench.compare("lapjv", runs=str(tmp_path), **OPTIONS)
    states = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoint.pt")}
    assert len(states) == len(compared.run_ids) == 2
    capsys.readouterr()
    assert main(["--coupling", "lapjv", "--runs", str(tmp_path), *words(OPTIONS)]) == 0
    # The command finds them finished: same configuration, same folders, nothing trained again.
    assert {path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoint.pt")} == {
        *states.values()
    }
    assert {path.name for path in tmp_path.glob("digits-*")} == set(compared.run_ids)
    table = compared.table()
    assert set(table["coupling"]) == {"random", "lapjv"}
    rows = table[table["metric"].eq("truncation_error") & table["coupling"].eq("lapjv")]
    assert set(rows["nfe"]) == {3, 5}
    assert "which coupling at your NFE?" in compared.answer()
    # The terminal's lines are longer.
    said = " ".join(capsys.readouterr().out.split())
    assert " ".join(compared.answer().split()) in said
    assert compared.page.exists()
    figure = compared.figure()
    assert isinstance(figure, Figure)
    # One line a coupling, at the ratios of the table.
    at_3 = table[table["metric"].eq("truncation_error") & table["nfe"].eq(3)]
    at_3 = at_3.set_index("coupling")["value"].groupby(level=0).first()
    heights = np.concatenate([line.get_ydata() for line in figure.axes[0].get_lines()])
    assert np.isclose(heights.astype(float), at_3["lapjv"] / at_3["random"]).any()
    shown = compared._repr_html_()
    assert "data:image/png;base64," in shown
    assert "which coupling" in shown
    with pytest.raises(ReportError, match="no comparison 1: there are 1"):
        compared.figure(1)


def test_options_are_those_of_the_command_with_its_defaults(tmp_path):
    command = _command(["lapjv", "sinkhorn"], "moons", None, 3, {"nfe": [5], "runs": "a"})
    assert command.coupling == ("lapjv", "sinkhorn")
    assert (command.seeds, command.evaluation.nfe, command.runs) == (3, (5,), Path("a"))
    assert command.training == load_preset("moons").training
    assert command.execution.parallel == 1
    assert _command("lapjv", "digits", None, 1, {"quick": True}).training.images == 640
    options = {"preset": "digits-flow", "dg.images": 64}
    assert _command("lapjv", "digits", None, 1, options).training.objective.startswith("flow")


def test_one_word_stands_for_a_list_of_one():
    command = _command("lapjv", "digits", None, 1, {"objective": "flow", "samplers": "euler"})
    assert command == _command(
        ["lapjv"], "digits", None, 1, {"objective": ["flow"], "samplers": ["euler"]}
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imges": 3}, "unknown option 'imges': did you mean .*images"),
        ({"images": "many"}, "^images must be of type int, not 'many'"),
        ({"nfe": 5}, "^nfe must be a list, not 5"),
        ({"coupling": "lapjv"}, "call it couplings"),
        ({"guidance_nfe": "many"}, "dg.nfe must be of type int"),
        ({"dry_run": True}, "dry_run gives no results"),
        ({"preset": "moons"}, "preset moons is for moons, not digits"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        _command("lapjv", "digits", None, 1, options)
    assert "\n" not in str(caught.value)


def test_a_network_is_a_name_or_a_class_that_can_be_imported():
    assert _command("lapjv", "digits", "small", 1, {}).network.arch == "small"
    arch = _command("lapjv", "digits", mlp.MLP, 1, {}).network.arch
    assert find_builder(arch) is mlp.MLP

    class Local:
        """A class that another process cannot import."""

    with pytest.raises(ConfigError, match="put it at the top of a module in a folder"):
        _command("lapjv", "digits", Local, 1, {})


def test_the_import_of_bench_stays_light():
    heavy = ("torch", "pandas", "docstring_parser")
    code = f"import sys, bench; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        bench.other  # noqa: B018

import tomllib
from pathlib import Path

import pytest

import slurm
from bench.config import ConfigError, RunConfig, make
from slurm.sweep import MAX_ARRAY_SIZE, SIGNAL_DELAY_S, SweepError, configs, describe, parse, read

TEXT = """
name = "study"
[base]
data = "digits"
[grid]
coupling = ["random", "lapjv"]
seed = [0, 1, 2]
[resources]
minutes = 30
"""


def sweep_with(**changes):
    """The sweep above with some top-level entries replaced."""
    return parse({**tomllib.loads(TEXT), **changes})


def test_grid_is_every_combination_and_the_last_list_varies_fastest():
    points = sweep_with().expand()
    assert [(p["coupling"], p["seed"]) for p in points] == [
        ("random", 0),
        ("random", 1),
        ("random", 2),
        ("lapjv", 0),
        ("lapjv", 1),
        ("lapjv", 2),
    ]
    assert all(p["data"] == "digits" for p in points)


def test_a_sweep_without_grid_is_one_run():
    sweep = sweep_with(grid={})
    assert sweep.expand() == [{"data": "digits"}]
    assert describe(sweep, sweep.expand()[0]) == "study"


def test_configs_are_those_of_the_single_command():
    built = configs(sweep_with())
    assert all(isinstance(config, RunConfig) for config in built)
    assert built[4] == make(None, {"data": "digits", "coupling": "lapjv", "seed": 1})
    assert len({config.seed for config in built}) == 3


def test_label_names_what_varies():
    sweep = sweep_with()
    assert describe(sweep, sweep.expand()[5]) == "coupling=lapjv seed=2"


def test_nested_tables_are_dotted_keys():
    sweep = sweep_with(base={"training": {"images": 5}}, grid={"training": {"pool": [1, 2]}})
    assert sweep.expand() == [{"training.images": 5, "training.pool": pool} for pool in (1, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gird": {}}, "unknown key 'gird' in the sweep. Did you mean 'grid'"),
        ({"resources": {"minuets": 5}}, "unknown key 'minuets' in .resources.. Did you mean 'minutes'"),
        ({"name": "two words"}, "name must be one word"),
        ({"name": 3}, "name must be one word"),
        ({"grid": []}, r"grid must be a table: write \[grid\]"),
        ({"grid": {"seed": 1}}, "grid.seed must be a list"),
        ({"grid": {"seed": []}}, "grid.seed must be a list"),
        ({"grid": {"data": ["digits"]}}, r"data is in both \[base\] and \[grid\]"),
        ({"resources": {"minutes": "01:00:00"}}, "resources.minutes must be a whole number"),
        ({"resources": {"minutes": 0}}, "resources.minutes must be a whole number"),
        ({"resources": {"cpus": True}}, "resources.cpus must be a whole number"),
        ({"resources": {"memory_gb": 1.5}}, "resources.memory_gb must be a whole number"),
        ({"resources": {"gpus": 2}}, "a run uses one GPU at most"),
        ({"resources": {"partition": 1}}, "resources.partition must be a text"),
        ({"resources": {"extra": "--qos=low"}}, "resources.extra must be a table"),
        ({"resources": {"extra": {"time": "1:00"}}}, "resources.extra.time: set it with minutes"),
        ({"resources": {"extra": {"cpus_per_task": 4}}}, "resources.extra.cpus_per_task: set it with cpus"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(changes, message):
    with pytest.raises(SweepError, match=message) as raised:
        sweep_with(**changes)
    assert "\n" not in str(raised.value)


def test_shortest_limit_leaves_a_run_time_before_slurms_warning():
    shortest = next(m for m in range(1, 60) if m * 60 > SIGNAL_DELAY_S + 120)
    assert sweep_with(resources={"minutes": shortest}).resources.minutes == shortest
    with pytest.raises(SweepError, match=f"resources.minutes must be {shortest} or more"):
        sweep_with(resources={"minutes": shortest - 1})


def test_an_unknown_option_of_a_run_offers_the_nearest():
    with pytest.raises(ConfigError, match="coupling"):
        configs(sweep_with(grid={"couplng": ["lapjv"]}))


def test_the_same_run_twice_is_refused():
    with pytest.raises(SweepError, match="the same run twice: coupling=lapjv"):
        configs(sweep_with(grid={"coupling": ["lapjv", "lapjv"]}))


def test_more_runs_than_an_array_holds_are_refused():
    with pytest.raises(SweepError, match="split the grid"):
        configs(sweep_with(grid={"seed": list(range(MAX_ARRAY_SIZE + 1))}))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"name =", "is no TOML"), (b"\xff", "not a text file")]
)
def test_an_unreadable_file_is_named(tmp_path, content, message):
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SweepError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


SHIPPED = sorted((Path(slurm.__file__).parent / "sweeps").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_are_valid_and_have_the_baseline(path):
    sweep = read(path)
    assert sweep.name == path.stem
    assert "random" in [config.coupling for config in configs(sweep)]


def test_there_are_shipped_sweeps():
    assert "digits" in [path.stem for path in SHIPPED]

import tomllib
from pathlib import Path

import pytest

import bench.check
import slurm
from bench.check import make
from bench.config import RunConfig
from bench.run import parse as parse_command
from bench.training.noise_search import NoiseSearch, pilots, plan
from slurm.resources import SweepError
from slurm.sweep import matches, parse, read

SWEEPS = Path(slurm.__file__).parent / "sweeps"
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


def test_zipped_lists_are_walked_together_beside_the_grid():
    zipped = [{"pool": [128, 256], "batch": [64, 128]}, {"lr": [1e-3, 2e-3], "lr_ramp": [0, 10]}]
    points = sweep_with(grid={"seed": [0, 1]}, zip=zipped).expand()
    assert len(points) == 8
    assert {(p["pool"], p["batch"]) for p in points} == {(128, 64), (256, 128)}
    assert {(p["lr"], p["lr_ramp"]) for p in points} == {(1e-3, 0), (2e-3, 10)}


def test_a_sweep_without_axes_is_one_run():
    sweep = sweep_with(grid={})
    assert sweep.expand() == [{"data": "digits"}]
    (entry,) = sweep.entries()
    assert entry.label == "seed=0"


def test_exclusions_take_out_what_matches_all_their_options():
    points = sweep_with(exclude=[{"coupling": "lap*", "seed": [1, 2]}]).expand()
    assert [(p["coupling"], p["seed"]) for p in points] == [
        ("random", 0),
        ("random", 1),
        ("random", 2),
        ("lapjv", 0),
    ]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ({"coupling": ["lapjv:*"]}, True),
        ({"coupling": ["lapjv"]}, False),
        ({"coupling": ["x", "lapjv:cost=l2"]}, True),
        ({"pool": [128, 256]}, True),
        ({"pool": ["256"]}, False),
        ({"coupling": ["*"], "pool": [1]}, False),
        ({"seed": [0]}, False),
    ],
)
def test_patterns(pattern, fits):
    assert matches(pattern, {"coupling": "lapjv:cost=l2", "pool": 256}) is fits


def test_overrides_make_resource_classes_and_the_later_one_wins():
    sweep = sweep_with(
        override=[
            {"match": {"coupling": "lapjv"}, "minutes": 60, "cpus": 4},
            {"match": {"seed": 2}, "minutes": 90, "extra": {"qos": "long"}},
        ]
    )
    used = {(e.config.coupling, e.config.seed): e.resources for e in sweep.entries()}
    assert used["random", 0] == sweep.resources
    assert (used["lapjv", 0].minutes, used["lapjv", 0].cpus) == (60, 4)
    assert (used["lapjv", 2].minutes, used["lapjv", 2].cpus, used["lapjv", 2].extra) == (
        90,
        4,
        {"qos": "long"},
    )
    assert len({repr(use) for use in used.values()}) == 4


def test_an_override_is_checked_with_what_it_overrides():
    with pytest.raises(SweepError, match="a node has 2 GPUs: one each"):
        sweep_with(
            resources={"processes": 4}, override=[{"match": {"seed": 0}, "gpus": 2}]
        ).entries()


def test_configs_are_those_of_the_single_command():
    entries = sweep_with().entries()
    assert all(isinstance(entry.config, RunConfig) for entry in entries)
    assert entries[4].config == make(None, {"data": "digits", "coupling": "lapjv", "seed": 1})
    assert entries[4].run_id == entries[4].config.run_id
    assert entries[4].label == "coupling=lapjv seed=1"


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "cifar10-aot-uncond"},
        {"preset": "cifar10-aot-cond", "seed": 4},
        {"preset": "cifar10-aot-uncond", "conditional": True, "coupling": "random"},
        {"data": "fashion-mnist-16", "coupling": "sinkhorn:backend=pot,epsilon=0.1"},
        {"preset": "cifar10-small", "data": "image-folder", "pool": 128, "batch": 64},
        {},
    ],
)
def test_what_is_checked_in_parts_is_what_the_single_command_makes(options):
    (entry,) = parse({"name": "one", "base": options}).entries()
    rest = {key: value for key, value in options.items() if key != "preset"}
    assert entry.config == make(options.get("preset"), rest)


def test_objectives_are_an_axis_of_a_sweep():
    (edm, flow) = sweep_with(grid={"objective": ["edm", "flow"]}).entries()
    assert edm.config == make()
    assert flow.config == make(None, {"objective": "flow"})
    with pytest.raises(SweepError, match="objective"):
        sweep_with(base={"objective": ["edm", "flow"]}).entries()


def test_the_shipped_pilots_are_those_of_the_command():
    """Also what is measured in them, or the command would measure them again."""
    entries = read(SWEEPS / "noise-pilots.toml").entries()
    runs = parse_command(["--coupling", "lapjv"]).configurations()
    wanted = pilots(plan(NoiseSearch(search_noise=True), runs, bench.check.check))
    assert {entry.config for entry in entries} == set(wanted)


def test_a_thousand_runs_take_thirty_checks(monkeypatch):
    checks = []
    monkeypatch.setattr(bench.check, "make", lambda *args: checks.append(args) or make(*args))
    grid = {
        "coupling": [f"sinkhorn:epsilon={step / 100}" for step in range(1, 11)],
        "pool": [128 * size for size in range(1, 11)],
        "seed": list(range(10)),
    }
    entries = sweep_with(grid=grid).entries()
    assert len({entry.run_id for entry in entries}) == 1_000
    assert len(checks) <= 30
    sample = entries[679]
    rest = {"data": "digits", "coupling": "sinkhorn:epsilon=0.07", "pool": 128 * 8, "seed": 9}
    assert sample.config == make(None, rest)


def test_nested_tables_are_dotted_keys():
    sweep = sweep_with(base={"training": {"images": 5}}, grid={"training": {"pool": [1, 2]}})
    assert sweep.expand() == [{"training.images": 5, "training.pool": pool} for pool in (1, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gird": {}}, "the sweep: unknown key 'gird': did you mean grid"),
        ({"name": "two words"}, "name must be one word"),
        ({"name": ".."}, "name must be one word"),
        ({"name": 3}, "name must be one word"),
        ({"grid": []}, r"grid must be a table: write \[grid\]"),
        ({"zip": {"seed": [0]}}, r"zip must be a list of tables: write \[\[zip\]\]"),
        (
            {"zip": [{"pool": [1, 2], "batch": [1]}]},
            "must be equally long: pool has 2, batch has 1",
        ),
        ({"zip": [{"seed": [0]}]}, r"seed is in both \[grid\] and \[\[zip\]\]"),
        ({"zip": [{}]}, "it is empty"),
        ({"grid": {"seed": 1}}, "grid.seed must be a list"),
        ({"grid": {"seed": []}}, "grid.seed must be a list"),
        ({"grid": {"data": ["digits"]}}, r"data is in both \[base\] and \[grid\]"),
        (
            {"exclude": [{"couplng": "x"}]},
            "exclude.*: unknown key 'couplng': did you mean coupling",
        ),
        ({"exclude": [{}]}, "an empty pattern"),
        ({"exclude": [{"coupling": "knn"}]}, "exclude.* matches no run: coupling = knn"),
        ({"exclude": [{"data": "digits"}]}, "leaves no run"),
        ({"override": [{"minutes": 5}]}, "needs a match"),
        ({"override": [{"match": {"coupling": "knn"}, "minutes": 5}]}, "override.* matches no run"),
        ({"override": [{"match": {"seed": 0}, "minuets": 5}]}, "override: unknown key 'minuets'"),
        ({"resources": {"strategy": "fsdp"}}, "set gpus, processes or nodes to 2 or more"),
        ({"resources": {"micro_batch": 10**6}}, "resources.micro_batch is 1000000, the batch"),
        (
            {"grid": {"couplng": ["lapjv"]}},
            "couplng=lapjv: unknown option 'couplng'.* coupling",
        ),
        ({"grid": {"coupling": ["lapjw"]}}, "coupling=lapjw: .*lapjv"),
        ({"grid": {"coupling": [3]}}, "coupling must be of type str"),
        ({"grid": {"coupling": [["lapjv"]]}}, "coupling must be of type str"),
        ({"grid": {"pool": [0]}}, "pool=0: --pool must be above 0"),
        ({"grid": {"seed": [-1]}}, "seed must be a whole number"),
        ({"grid": {"preset": ["cifar"]}}, "preset=cifar: unknown preset"),
        (
            {"grid": {"coupling": ["lapjv", "lapjv:cost=sqeuclidean"]}},
            "names the same run twice: coupling=lapjv:cost",
        ),
        ({"grid": {"guidance.kind": ["none", "discriminator"]}}, "belong in .base., as one list"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(changes, message):
    with pytest.raises(SweepError, match=message) as raised:
        sweep_with(**changes).entries()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"name =", "is not valid TOML"), (b"\xff", "not a text file")],
)
def test_an_unreadable_file_is_named(tmp_path, content, message):
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SweepError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


SHIPPED = sorted(SWEEPS.glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_are_valid_and_have_the_baseline(path):
    sweep = read(path)
    assert sweep.name == path.stem
    entries = sweep.entries()
    assert "random" in [entry.config.coupling for entry in entries]
    seeds = {}
    for entry in entries:
        seeds.setdefault(entry.variant, []).append(entry.config.seed)
    # Pilots have a seed of their own.
    expected = (1_000_000,) if path.stem == "noise-pilots" else (0, 1, 2)
    assert set(map(tuple, seeds.values())) == {expected}


def test_shipped_sweeps_are_those_of_the_readme():
    assert [path.stem for path in SHIPPED] == ["cifar10-aot", "digits", "noise-pilots", "pool-size"]


def test_the_papers_table_couples_within_classes_where_the_network_knows_them():
    for entry in read(SHIPPED[0]).entries():
        conditional = entry.config.training.conditional
        assert conditional == ("cond" in entry.variant.split()[0].split("-"))
        if entry.config.coupling != "random":
            assert ("within_class=true" in entry.config.coupling) == conditional


def test_every_coupling_is_checked_with_every_guidance():
    grid = {"guidance.boost": [False, True], "coupling": ["random", "lapjv"]}
    with pytest.raises(SweepError, match="--guidance.boost with a denoiser trained with lapjv"):
        sweep_with(grid=grid, zip=[], exclude=[], override=[]).entries()

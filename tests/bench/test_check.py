"""Pools too large to be coupled are refused before a run trains anything."""

from dataclasses import replace

import pytest

from bench import data
from bench.arm import run_arm
from bench.check import check
from bench.config import ConfigError, load_preset
from bench.suitable import check_pool, refuse_unfit


def configuration(coupling, pool):
    base = load_preset(None, "moons")
    return replace(base, coupling=coupling, training=replace(base.training, pool=pool))


@pytest.mark.parametrize(
    ("coupling", "pool"), [("lapjv", 46_341), ("sinkhorn", 20_000), ("partial", 20_000)]
)
def test_what_no_machine_can_count_is_refused_with_the_configuration(coupling, pool):
    with pytest.raises(ConfigError, match=f"--pool {pool}: {coupling}|--pool {pool}: a draw"):
        check(configuration(coupling, pool))


def test_a_coupling_of_a_model_names_its_run():
    with pytest.raises(ConfigError, match="reflow:run=NAME"):
        check(configuration("reflow", 512))
    assert check(configuration("reflow:run=digits-a", 512)).coupling == "reflow:run=digits-a"


def test_what_memory_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    config = configuration("hungarian", 2_000_000)
    with pytest.raises(ConfigError, match=r"--pool 2000000: .* takes 48,000 GB, .* are available"):
        run_arm(config, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "coupling", ["random", "lapjv", "semidiscrete", "lapjv:within_class=true", "knn"]
)
def test_ordinary_pools_pass(coupling):
    check_pool(coupling, 512, data.load("moons"))


def test_more_components_than_values_are_refused_before_a_run():
    check_pool("semidiscrete:project=pca:2", 512, data.load("moons"))
    for name in ("semidiscrete", "lapjv", "minibatch-ot"):
        with pytest.raises(ConfigError, match=rf"--coupling {name}:project=pca:99: .* K up to 2"):
            check_pool(f"{name}:project=pca:99", 512, data.load("moons"))
    with pytest.raises(ConfigError, match=r"--coupling lapjv:project=pca:99: .* K up to 2"):
        check_pool("permuted:of=lapjv:project=pca:99", 512, data.load("moons"))


def test_a_coupling_that_solves_class_by_class_is_judged_by_its_largest_class():
    # Of the whole pool it could not be said: only the data show the classes.
    check(configuration("lapjv:within_class=true", 80_000))
    with pytest.raises(ConfigError, match="GB are available|46,340"):
        check_pool("lapjv:within_class=true", 200_000, data.load("moons"))


def test_points_cannot_be_augmented():
    config = configuration("lapjv", 64)
    config = replace(config, training=replace(config.training, augment=0.1))
    with pytest.raises(ConfigError, match=r"--augment 0.1: .* moons has points; leave it out"):
        refuse_unfit(check(config), data.load("moons"))

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import data
from bench.check import check, make
from bench.config import ConfigError, RunConfig, from_dict, load_preset, presets


def test_a_conditional_run_may_couple_within_classes():
    assert make(
        None, {"conditional": True, "coupling": "lapjv:within_class=true"}
    ).training.conditional
    assert make(None, {"conditional": True, "coupling": "random"}).training.conditional


def test_a_conditional_run_needs_a_coupling_that_keeps_classes_apart():
    assert make(None, {"coupling": "semidiscrete:per_class=true", "conditional": True})
    with pytest.raises(ConfigError, match=r"semidiscrete:per_class=true"):
        make(None, {"coupling": "semidiscrete", "conditional": True})


@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_a_valid_configuration(preset):
    config = check(load_preset(preset))
    assert config.data in data.names()


def test_every_data_set_has_a_preset():
    assert set(data.names()) <= set(presets())


def test_a_data_set_with_options_has_the_preset_of_its_kind():
    config = load_preset(None, "torchvision:name=MNIST")
    assert config == load_preset("torchvision")


def test_overrides_beat_the_preset_and_the_preset_beats_the_defaults():
    assert RunConfig().training.images != load_preset("digits").training.images
    config = make(None, {"data": "digits", "images": 256, "training.lr": 1, "nfe": [3]})
    assert (config.training.images, config.training.lr, config.evaluation.nfe) == (256, 1.0, (3,))


def test_the_hash_sees_what_makes_a_run_another_one_and_nothing_else():
    config = RunConfig()
    again = RunConfig()
    assert config.digest == again.digest
    changed = [
        dataclasses.replace(config, seed=1),
        dataclasses.replace(config, coupling="lapjv"),
        dataclasses.replace(config, training=dataclasses.replace(config.training, lr=0.5)),
        dataclasses.replace(
            config, evaluation=dataclasses.replace(config.evaluation, sigma_max=40.0)
        ),
        dataclasses.replace(config, network=dataclasses.replace(config.network, dropout=0.1)),
    ]
    assert len({c.digest for c in [config, *changed]}) == 6
    assert config.run_id.endswith(config.digest)
    # What the rows of the results carry in columns of their own can be measured in the same run
    # later.
    more = dataclasses.replace(
        config.evaluation, rho=9.0, nfe=(3,), samples=10, trajectories=5, features=("pixels",)
    )
    assert dataclasses.replace(config, evaluation=more).digest == config.digest
    assert config.identity["evaluation"].keys() == {"sigma_min", "sigma_max", "reference_steps"}


def test_a_configuration_comes_back_from_its_identity():
    config = make("cifar10-aot-cond", {"coupling": "lapjv:within_class=true", "seed": 3})
    again = from_dict(config.identity)
    assert again.digest == config.digest
    assert again.training == config.training
    with pytest.raises(ConfigError, match="unknown option"):
        from_dict({"trainnig": {"lr": 1.0}})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("heun", "heun"),
        ("dopri5", "dopri5:tolerance=0.0001"),
        ("dopri5:tolerance=1e-3", "dopri5:tolerance=0.001"),
    ],
)
def test_samplers_are_spelled_as_in_the_results(given, kept):
    assert make(None, {"samplers": [given, given]}).evaluation.samplers == (kept,)


@pytest.mark.parametrize(
    "wrong", ["heum", "dopri5:tolerance=2", "dopri5:tolerance=x", "dopri5:rtol=1e-3"]
)
def test_unknown_samplers_are_refused(wrong):
    with pytest.raises(ConfigError, match="sampler"):
        make(None, {"samplers": [wrong]})


def test_two_spellings_of_a_coupling_are_one_run():
    assert make(None, {"coupling": "sinkhorn:epsilon=0.05"}) == make(None, {"coupling": "sinkhorn"})
    assert make(None, {"coupling": "lapjv:cost=l2"}).coupling == "lapjv:cost=l2"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"coupling": "lapjvv"}, ["lapjvv", "lapjv"]),
        ({"coupling": "lapjv:cosst=l2"}, ["cosst", "cost"]),
        ({"coupling": "sinkhorn:epsilon=0"}, ["epsilon"]),
        ({"coupling": "sinkhorn:epsilon=-1"}, ["epsilon"]),
        ({"data": "digit"}, ["digit", "digits"]),
        ({"pool": 0}, ["--pool", "above 0"]),
        ({"nfe": [1]}, ["--nfe 1", "best schedule", "3, 5, 7"]),
        ({"nfe": [4], "samplers": ["euler"]}, ["--nfe 4", "best schedule", "3, 5, 7"]),
        ({"nfe": [4], "rhos": []}, ["--nfe 4 with --samplers heun", "3, 5, 7"]),
        ({"nfe": [1], "rhos": [], "samplers": ["euler"]}, ["--samplers euler", "2 steps"]),
        ({"nfe": []}, ["--nfe"]),
        ({"rho": 0}, ["--rho"]),
        ({"rho": -7.0}, ["--rho"]),
        ({"sigma_max": 0.001}, ["--sigma-max"]),
        ({"images": 0}, ["--images"]),
        ({"samples": 1}, ["--samples"]),
        ({"dropout": 1.0}, ["--dropout"]),
        ({"P_mean": float("nan")}, ["--P-mean", "finite"]),
        ({"lr": float("inf")}, ["--lr", "finite"]),
        ({"rho": 1e-3}, ["--rho"]),
        ({"seed": -1}, ["--seed"]),
        ({"channel_mult": []}, ["--channel-mult"]),
        ({"reference_steps": 20}, ["--reference-steps", "36"]),
        ({"conditional": True, "coupling": "lapjv"}, ["--conditional", "lapjv:within_class=true"]),
        ({"pol": 512}, ["pol", "did you mean pool"]),
        ({"lr": "fast"}, ["lr", "float"]),
        ({"arch": "smal"}, ["--arch", "small"]),
        ({"images": True}, ["images must be"]),
        ({"nfe": 5}, ["nfe must be", "list"]),
    ],
)
def test_bad_input_is_one_line_that_names_the_way_out(overrides, words):
    with pytest.raises(ConfigError) as caught:
        make(None, overrides)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "more", [{"rhos": []}, {"metrics": ["kid"]}, {"rhos": [], "start": ["truncated:sigma=0.5"]}]
)
def test_samplers_other_than_heun_take_any_number_of_evaluations(more):
    config = make(None, {"samplers": ["euler"], "nfe": [2, 4], "start_nfe": [4], **more})
    assert config.evaluation.nfe == (2, 4)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="digits"):
        make("digit")


# The first example of a process imports torch and all that a configuration is checked with.
@settings(deadline=None)
@given(pool=st.integers(1, 5000), batch=st.integers(1, 600))
def test_a_pool_is_independent_of_the_batch(pool, batch):
    assert make(None, {"pool": pool, "batch": batch}).training.pool == pool


def test_starts_that_no_sampler_could_begin_at_are_refused_at_once():
    with pytest.raises(ConfigError, match="--start-nfe 4 with --samplers heun"):
        make(None, {"start": ["truncated:sigma=0.5"], "start_nfe": [4]})
    with pytest.raises(ConfigError, match="--start: .*project must be pca:K"):
        make(None, {"start": ["expressway:sigma=0.5,project=foo"]})
    with pytest.raises(ConfigError, match="above --sigma-min"):
        make(None, {"start": ["truncated:sigma=0.001"]})


def test_options_of_data_and_source_make_no_folders_within_the_name_of_a_run():
    spec = "my_project.spirals:turns=3,path=/a/b"
    for config in (RunConfig(data=spec), RunConfig(source=spec)):
        assert re.fullmatch(r"[\w.=-]+", config.run_id)

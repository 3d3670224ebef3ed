"""Plan of the search for the law of training noise: which pilots, and what is refused."""

from dataclasses import replace

import pytest

from bench.check import check, make
from bench.config import ConfigError
from bench.training.noise_law import DEFAULT, NoiseLaw, law_of
from bench.training.noise_search import FOLDER, NoiseSearch, pilots, plan, share_cache

ON = NoiseSearch(search_noise=True)


@pytest.fixture(scope="module")
def runs():
    """Two couplings under two objectives, seeds 0 and 1, as the command orders them."""
    configs = []
    for seed in (0, 1):
        for objective in ("edm", "flow"):
            for coupling in ("random", "lapjv"):
                options = {"objective": objective, "coupling": coupling, "seed": seed}
                configs.append(make(None, options))
    return configs


def test_every_coupling_tries_the_same_laws_with_the_same_budget(runs):
    trials = plan(replace(ON, pilot_seeds=2), runs, check)
    tried = {}
    for trial in trials:
        key = (trial.arm.training.objective, trial.arm.coupling)
        tried.setdefault(key, []).append((trial.law, [each.seed for each in trial.pilots]))
    assert set(tried) == {(o, c) for o in ("edm", "flow") for c in ("random", "lapjv")}
    for objective in ("edm", "flow"):
        assert tried[objective, "random"] == tried[objective, "lapjv"]
        assert len(tried[objective, "random"]) == 5
    assert [seeds for _, seeds in tried["edm", "lapjv"]] == [[1_000_000, 1_000_001]] * 5
    # A third of 65,000, in every one of them
    assert {each.training.images for each in pilots(trials)} == {21_450}
    assert len({each.run_id for each in pilots(trials)}) == 2 * 2 * 5 * 2


def test_pilots_do_not_depend_on_how_many_seeds_follow(runs):
    """More seeds, or another coupling, can be added later without new pilots."""
    few = pilots(plan(ON, [config for config in runs if config.seed == 0], check))
    assert few == pilots(plan(ON, runs, check))


def test_a_pilot_measures_the_grid_of_schedules_and_nothing_else(runs):
    guided = check(replace(runs[1], guidance=replace(runs[1].guidance, kind="discriminator")))
    evaluation = replace(guided.evaluation, start=("truncated:sigma=1",), samplers=("euler",))
    guided = check(replace(guided, evaluation=evaluation))
    for pilot in pilots(plan(ON, [guided], check)):
        assert pilot.evaluation.metrics == ("grid",)
        assert pilot.evaluation.samplers == ("heun",)
        assert pilot.evaluation.start == ()
        assert pilot.guidance.kind == "none"
        for same in ("nfe", "schedule", "rhos", "rho", "grid_samples", "features", "sigma_max"):
            assert getattr(pilot.evaluation, same) == getattr(guided.evaluation, same)


def test_without_a_search_over_schedules_the_fixed_one_is_the_candidate():
    config = make(None, {"rhos": [], "rho": 9.0})
    (first, *_) = pilots(plan(ON, [config], check))
    assert first.evaluation.searched_schedules == ["karras:rho=9"]
    config = make(None, {"shifts": [], "shift": 2.0, "objective": "flow"})
    (first, *_) = pilots(plan(ON, [config], check))
    assert first.evaluation.searched_schedules == ["flow:shift=2"]


def test_the_configured_law_is_the_first_one_tried_whatever_is_given():
    config = make(None, {"P_mean": 1.5, "P_std": 0.7})
    own = NoiseLaw(1.5, 0.7)
    assert [trial.law for trial in plan(ON, [config], check)] == [own, *DEFAULT]
    given = replace(ON, noise_laws=("0,2", "1.5,0.7", "0,2"))
    assert [trial.law for trial in plan(given, [config], check)] == [own, NoiseLaw(0.0, 2.0)]


def test_each_objective_tries_the_given_laws_that_it_knows(runs):
    laws = {"edm": [], "flow": []}
    for trial in plan(replace(ON, noise_laws=("0,1", "uniform")), runs, check):
        assert all(law_of(each) == trial.law for each in trial.pilots)
        laws[trial.arm.training.objective].append(trial.law.name)
    assert laws == {"edm": ["-1.2,1.2", "0,1"] * 2, "flow": ["uniform", "0,1"] * 2}


def test_no_pilot_is_shorter_than_a_step():
    config = make(None, {"images": 200, "batch": 128})
    assert {each.training.images for each in pilots(plan(ON, [config], check))} == {128}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pilot_seeds": 0}, "--pilot-seeds 0"),
        ({"pilot_share": 0.0}, "--pilot-share 0"),
        ({"pilot_share": 1.5}, "--pilot-share 1.5"),
        ({"pilot_share": float("nan")}, "--pilot-share nan"),
        ({"pilot_seed": 1}, "--pilot-seed 1: this is a seed of the runs"),
        ({"pilot_seed": -1}, "--seed -1"),
        ({"noise_laws": ("0,2,1",)}, "--noise-laws '0,2,1'"),
        ({"noise_laws": ("-1.2,1.2",)}, "edm has only the law -1.2,1.2 to try"),
        ({"search_noise": False, "noise_laws": ("0,2",)}, "--search-noise: add it"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(runs, changes, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        plan(replace(ON, **changes), runs, check)


def test_a_law_that_no_objective_knows_is_refused(runs):
    edm = [config for config in runs if config.training.objective == "edm"]
    with pytest.raises(ConfigError, match="--noise-laws uniform: edm cannot"):
        plan(replace(ON, noise_laws=("uniform", "0,2")), edm, check)


def test_networks_from_files_and_evaluations_without_a_schedule_have_no_search():
    with pytest.raises(ConfigError, match="--from-checkpoint"):
        plan(ON, [replace(make(), checkpoint="0" * 64)], check)
    with pytest.raises(ConfigError, match="--nfe above 3"):
        plan(ON, [make(None, {"nfe": [3]})], check)
    # At NFE 3 the schedule of flow has a shift to search.
    assert plan(ON, [make(None, {"nfe": [3], "objective": "flow"})], check)


def test_nothing_is_planned_unless_it_is_asked_for(runs):
    assert plan(NoiseSearch(), runs, check) == []


def test_pilots_share_the_cache_of_the_runs(tmp_path):
    for _ in range(2):
        share_cache(tmp_path / "runs")
    (tmp_path / "runs" / ".cache" / "classifier.pt").write_text("weights")
    assert (tmp_path / "runs" / FOLDER / ".cache" / "classifier.pt").read_text() == "weights"

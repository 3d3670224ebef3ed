"""Choice of a law of training noise, by numbers that can be checked by hand."""

import math
from dataclasses import replace

import pytest

from bench.check import check, make
from bench.config import EvaluationConfig
from bench.record import Measurement, RunFolder
from bench.training.noise_choice import (
    TABLE,
    choose,
    conclude,
    final_runs,
    lowest,
    mean_distance,
    tables,
    write_table,
)
from bench.training.noise_law import NoiseLaw, law_of
from bench.training.noise_search import FOLDER, NoiseSearch, plan

ASKED = EvaluationConfig(nfe=(5, 9), rho=7.0, rhos=(3.0,), grid_samples=64)
LAWS = ("-1.2,1.2", "0,2", "0,1")
NAN = math.nan


def row(value, nfe, rho=7.0, **other):
    place = {"metric": "grid_fd_classifier", "sampler": "heun", "split": "train", "n": 64} | other
    return Measurement(value=value, nfe=nfe, rho=rho, schedule=f"karras:rho={rho:g}", **place)


def test_the_lowest_of_each_nfe_counts_and_only_what_was_asked_for():
    rows = [
        row(8.0, 5),
        row(4.0, 5, rho=3.0),
        row(6.0, 9),
        row(NAN, 9, rho=3.0),
        # Of an earlier search with more of everything
        row(1.0, 5, rho=81.0),
        row(1.0, 5, n=128),
        row(1.0, 7),
        # No grid of the training split
        row(1.0, 5, split="test"),
        row(1.0, 5, metric="fd_classifier"),
    ]
    assert lowest(rows, ASKED) == {5: 4.0, 9: 6.0}
    assert lowest([], ASKED) == {}


@pytest.mark.parametrize("bad", [NAN, math.inf, 0.0])
def test_an_nfe_without_any_finite_distance_counts_as_none(bad):
    found = lowest([row(2.0, 5), row(bad, 9), row(bad, 9, rho=3.0)], ASKED)
    assert found[5] == 2.0
    assert math.isnan(found[9])
    assert mean_distance(found, {5, 9}) is None


@pytest.mark.parametrize(
    ("specs", "value"),
    [
        ((), 2.0),
        (("inception", "classifier"), 2.0),
        (("inception:weights=net.pt", "pixels"), 3.0),
        (("pixels",), 5.0),
    ],
)
def test_the_features_that_choose_schedules_choose_laws(specs, value):
    rows = []
    for name, distance in (("classifier", 2.0), ("inception", 3.0), ("pixels", 5.0)):
        rows += [row(distance, nfe, metric=f"grid_fd_{name}") for nfe in (5, 9)]
    asked = EvaluationConfig(nfe=(5, 9), grid_samples=64, features=specs)
    assert lowest(rows, asked) == {5: value, 9: value}


def test_the_mean_is_a_geometric_one():
    assert mean_distance({5: 100.0, 9: 1.0}, {5, 9}) == pytest.approx(10.0)
    assert mean_distance({5: 100.0}, {5, 9}) is None
    assert mean_distance({}, set()) is None


@pytest.fixture
def trials():
    """Three laws for each of two couplings, two pilots for each."""
    configs = [make(None, {"coupling": name, "nfe": [5, 9]}) for name in ("random", "lapjv")]
    options = NoiseSearch(search_noise=True, noise_laws=LAWS, pilot_seeds=2)
    return plan(options, configs, check)


def measured(trials, values):
    """Distances of the two pilots of each coupling and law; 4 at both NFE unless given."""
    found = {}
    for trial in trials:
        for number, pilot in enumerate(trial.pilots):
            given = values.get((trial.arm.coupling, trial.law.name), [{5: 4.0, 9: 4.0}] * 2)
            found[pilot] = given[number]
    return found


def chosen(trials, values):
    outcomes = choose(trials, measured(trials, values))
    return {o.trial.arm.coupling: o.trial.law.name for o in outcomes if o.chosen}


def test_a_factor_counts_alike_at_every_nfe_and_seed(trials):
    """At NFE 5 law 0,2 wins by 20 of 100, at NFE 9 it loses by a factor of 2: 0.8 * 2 > 1."""
    values = {
        ("lapjv", "-1.2,1.2"): [{5: 100.0, 9: 1.0}] * 2,
        ("lapjv", "0,2"): [{5: 80.0, 9: 2.0}] * 2,
        # One seed gains a factor of 3, the other loses one of 2.
        ("lapjv", "0,1"): [{5: 100.0, 9: 1 / 3}, {5: 100.0, 9: 2.0}],
        ("random", "0,2"): [{5: 4.0, 9: 3.9}] * 2,
    }
    assert chosen(trials, values) == {"random": "0,2", "lapjv": "0,1"}
    outcomes = choose(trials, measured(trials, values))
    scores = {o.trial.law.name: o.score for o in outcomes if o.trial.arm.coupling == "lapjv"}
    assert scores["-1.2,1.2"] == pytest.approx(math.log(10))
    assert scores["0,2"] == pytest.approx(math.log(160) / 2)
    assert scores["0,1"] == pytest.approx((math.log(100 / 3) + math.log(200)) / 4)


def test_objectives_may_be_searched_at_other_evaluations():
    """The schedule of flow has a search at NFE 3, Karras' has none: neither loses its pilots."""
    configs = [make(None, {"objective": name, "nfe": [3, 5]}) for name in ("edm", "flow")]
    trials = plan(NoiseSearch(search_noise=True), configs, check)
    distances = {"edm": {5: 2.0}, "flow": {3: 8.0, 5: 2.0}}
    found = {}
    for trial in trials:
        for pilot in trial.pilots:
            found[pilot] = distances[trial.arm.training.objective]
    scores = {o.trial.arm.training.objective: o.score for o in choose(trials, found)}
    assert scores == pytest.approx({"edm": math.log(2), "flow": math.log(4)})


def test_the_schedules_of_flow_are_searched_by_their_shifts():
    asked = make(None, {"objective": "flow", "nfe": [5], "shifts": [2], "shift": 1}).evaluation
    rows = []
    for value, spec in ((3.0, "flow:shift=2"), (1.0, "flow:shift=5"), (2.0, "karras:rho=7")):
        place = {"sampler": "heun", "split": "train", "n": asked.grid_samples, "schedule": spec}
        rows.append(Measurement("grid_fd_classifier", value, nfe=5, **place))
    assert lowest(rows, asked) == {5: 3.0}


def test_of_equal_laws_the_configured_one_stays(trials):
    assert chosen(trials, {}) == {"random": "-1.2,1.2", "lapjv": "-1.2,1.2"}


def test_a_law_with_a_failed_or_diverged_pilot_is_never_chosen(trials):
    best = {5: 1.0, 9: 1.0}
    values = {
        ("lapjv", "0,2"): [best, {}],
        ("lapjv", "0,1"): [best, {5: 1.0, 9: NAN}],
        ("random", "0,2"): [best, {5: 1.0}],
        ("random", "0,1"): [best, best],
    }
    assert chosen(trials, values) == {"random": "0,1", "lapjv": "-1.2,1.2"}
    # Nothing is left for lapjv; random is not concerned.
    values["lapjv", "-1.2,1.2"] = [{}, {}]
    assert chosen(trials, values) == {"random": "0,1"}
    (table,) = tables(choose(trials, measured(trials, values)))
    assert table == [
        ["objective", "coupling", *LAWS],
        ["edm", "random", "4", "-", "1*"],
        ["edm", "lapjv", "-", "-", "-"],
    ]


def test_runs_follow_at_the_shared_law_and_at_the_own_one_once(trials):
    values = {("lapjv", "0,2"): [{5: 1.0, 9: 1.0}] * 2}
    outcomes = choose(trials, measured(trials, values))
    configs = []
    for seed in (0, 1):
        configs += [
            make(None, {"coupling": name, "nfe": [5, 9], "seed": seed})
            for name in ("random", "lapjv")
        ]
    runs = final_runs(configs, outcomes, check)
    assert [(run.seed, run.coupling, law_of(run).name) for run in runs] == [
        (seed, *rest)
        for seed in (0, 1)
        for rest in (("random", "-1.2,1.2"), ("lapjv", "-1.2,1.2"), ("lapjv", "0,2"))
    ]
    # The shared ones are the very runs of a command without a search.
    assert [run for run in runs if law_of(run) == NoiseLaw(-1.2, 1.2)] == configs
    assert {run.training.images for run in runs} == {65_000}


def test_the_table_holds_every_pilot_and_keeps_searches_of_other_data(trials, tmp_path):
    values = {("lapjv", "0,1"): [{5: 1.0, 9: 4.0}, {5: 2.0, 9: 2.0}], ("random", "0,2"): [{}, {}]}
    path = tmp_path / TABLE
    write_table(choose(trials, measured(trials, values)), path)
    lines = path.read_text().splitlines()
    assert lines[0] == (
        "objective,coupling,law,P_mean,P_std,seed,images,grid_fd,chosen,data,pool,source,conditional"
    )
    assert len(lines) == 1 + 2 * 3 * 2
    assert 'edm,lapjv,"0,1",0.0,1.0,1000000,21450,2.0,True,digits,1024,gaussian,False' in lines
    assert 'edm,random,"0,2",0.0,2.0,1000001,21450,,False,digits,1024,gaussian,False' in lines
    other = make(None, {"coupling": "lapjv", "nfe": [5, 9], "pool": 256})
    more = plan(NoiseSearch(search_noise=True, noise_laws=LAWS), [other], check)
    write_table(choose(more, measured(more, {})), path)
    assert path.read_text().splitlines()[: len(lines)] == lines
    # The same search again replaces its own rows.
    write_table(choose(more, measured(more, {})), path)
    assert len(path.read_text().splitlines()) == len(lines) + 3
    # So does one with a coupling more; what the others chose stays.
    added = make(None, {"coupling": "knn", "nfe": [5, 9], "pool": 256})
    last = plan(NoiseSearch(search_noise=True, noise_laws=LAWS), [other, added], check)
    write_table(choose(last, measured(last, {})), path)
    assert len(path.read_text().splitlines()) == len(lines) + 3 + 3
    flow = make(None, {"coupling": "lapjv", "nfe": [5, 9], "pool": 256, "objective": "flow"})
    last = plan(NoiseSearch(search_noise=True, noise_laws=LAWS), [flow], check)
    write_table(choose(last, measured(last, {})), path)
    kept = path.read_text().splitlines()
    assert kept[: len(lines)] == lines
    assert sum(line.startswith("edm,lapjv") and ",256," in line for line in kept) == 3
    # Noise samples of a data set make another task.
    moons = make(None, {"data": "moons", "source": "eight-gaussians", "nfe": [5, 9], "pool": 256})
    before = len(path.read_text().splitlines())
    last = plan(NoiseSearch(search_noise=True, noise_laws=LAWS), [moons], check)
    write_table(choose(last, measured(last, {})), path)
    plain = replace(moons, source="gaussian")
    last = plan(NoiseSearch(search_noise=True, noise_laws=LAWS), [plain], check)
    write_table(choose(last, measured(last, {})), path)
    assert len(path.read_text().splitlines()) == before + 3 + 3
    path.write_text("something else\n1\n")
    write_table(choose(trials, measured(trials, values)), path)
    assert path.read_text().splitlines() == lines


def test_pilots_are_read_from_their_folders_unless_they_failed(trials, tmp_path):
    for trial in trials:
        for pilot in trial.pilots:
            folder = RunFolder(tmp_path / FOLDER / pilot.run_id)
            value = 1.0 if trial.law.name == "0,2" else 2.0
            n = pilot.evaluation.grid_samples
            folder.add([row(value, nfe, n=n) for nfe in (5, 9)])
            failed = trial.law.name == "0,2" and trial.arm.coupling == "random"
            folder.set_status("failed" if failed else "done")
    outcomes = conclude(trials, tmp_path)
    laws = {o.trial.arm.coupling: o.trial.law.name for o in outcomes if o.chosen}
    assert laws == {"random": "-1.2,1.2", "lapjv": "0,2"}
    assert (tmp_path / TABLE).exists()

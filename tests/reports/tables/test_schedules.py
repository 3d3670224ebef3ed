import math
from dataclasses import replace

import pandas as pd
import pytest

from bench.record import Measurement
from reports.build import build, main
from reports.sections.schedules import heats
from reports.tables import schedules
from reports.tables.groups import groups
from reports.tables.tidy import read_runs


def group_of(runs):
    (group,) = groups(read_runs(runs))
    return group


def shown(group, metric="fd_classifier", split="test"):
    """Title to NFE to seed to value, of the random arm."""
    found = [p for p in group.panels if (p.metric, p.split) == (metric, split)]
    return {p.title: {nfe: row["random"].values for nfe, row in p.cells.items()} for p in found}


def test_each_run_has_its_own_best(tmp_path, make, over_rho):
    make(
        tmp_path,
        seed=0,
        found=over_rho({3: {7: 4.0, 20: 2.0, 90: 3.0}, 5: {7: 1.0, 20: 2.0, 90: 3.0}}),
    )
    make(
        tmp_path,
        seed=1,
        found=over_rho({3: {7: 4.0, 20: 3.0, 90: 2.5}, 5: {7: 3.0, 20: 2.0, 90: 2.5}}),
    )
    group = group_of(tmp_path)
    best = schedules.best_schedules(group.rows).merge(
        group.rows[["run_id", "seed"]].drop_duplicates()
    )
    assert {(row.seed, row.nfe): row.schedule for row in best.itertuples()} == {
        (0, 3): "karras:rho=20",
        (0, 5): "karras:rho=7",
        (1, 3): "karras:rho=90",
        (1, 5): "karras:rho=20",
    }
    assert shown(group) == {
        "fd_classifier, test, rho 7": {3: {0: 4.0, 1: 4.0}, 5: {0: 1.0, 1: 3.0}},
        # One row serves both where the fixed rho is the best: seed 0 at NFE 5.
        "fd_classifier, test, best rho": {3: {0: 2.0, 1: 2.5}, 5: {0: 1.0, 1: 2.0}},
    }
    # Nothing chose for it
    assert list(shown(group, "truncation_error", None)) == ["truncation_error, rho 7"]


def test_the_train_split_chooses_and_the_values_shown_do_not(tmp_path, make, over_rho):
    found = over_rho({3: {7: 4.0, 90: 3.0}})
    found = [
        replace(m, value=50.0) if m.metric == "fd_classifier" and m.rho == 90 else m for m in found
    ]
    found.append(
        Measurement("grid_fd_classifier", 0.1, 3, 7.0, "heun", "gaussian", "none", "test", 200)
    )
    make(tmp_path, found=found)
    assert shown(group_of(tmp_path))["fd_classifier, test, best rho"] == {3: {0: 50.0}}


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_value_that_is_not_finite_is_never_the_best(tmp_path, make, over_rho, value):
    broken = Measurement(
        "grid_fd_classifier", value, 3, 20.0, "heun", "gaussian", "none", "train", 200
    )
    make(tmp_path, found=[*over_rho({3: {7: 4.0, 90: 3.0}}), broken])
    assert schedules.best_schedules(group_of(tmp_path).rows).schedule.tolist() == ["karras:rho=90"]


def test_of_two_first_passes_that_with_more_images_counts(tmp_path, make, over_rho):
    found = over_rho({3: {7: 4.0, 90: 3.0}})
    more = [replace(m, n=1000, value=m.rho) for m in found if m.metric.startswith("grid_")]
    make(tmp_path, found=[*found, *more])
    group = group_of(tmp_path)
    assert schedules.best_schedules(group.rows).schedule.tolist() == ["karras:rho=7"]
    (heat,) = heats(group)
    assert heat.means == {"karras:rho=7": {3: 7.0}, "karras:rho=90": {3: 90.0}}


def test_each_kind_of_features_chooses_for_itself(tmp_path, make, over_rho):
    found = over_rho({3: {7: 4.0, 20: 5.0, 90: 3.0}})
    swap = {7.0: 6.0, 20.0: 1.0, 90.0: 9.0}
    pixels = [
        replace(m, metric="grid_fd_pixels", value=swap[m.rho])
        for m in found
        if m.metric == "grid_fd_classifier"
    ]
    place = {
        "nfe": 3,
        "sampler": "heun",
        "start": "gaussian",
        "guidance": "none",
        "split": "test",
        "n": 5000,
    }
    for at in (7.0, 20.0, 90.0):
        pixels.append(Measurement("fd_pixels", at, rho=at, **place))
    # Sampled because pixels chose it
    pixels.append(Measurement("fd_classifier", 5.0, rho=20.0, **place))
    make(tmp_path, found=[*found, *pixels])
    group = group_of(tmp_path)
    assert shown(group) == {
        "fd_classifier, test, rho 7": {3: {0: 4.0}},
        "fd_classifier, test, best rho": {3: {0: 3.0}},
    }
    assert shown(group, "fd_pixels") == {
        "fd_pixels, test, rho 7": {3: {0: 7.0}},
        "fd_pixels, test, best rho": {3: {0: 20.0}},
    }
    assert schedules.chooser("truncation_error", ["grid_fd_pixels", "grid_fd_classifier"]) is None
    assert (
        schedules.chooser("fid", ["grid_fd_classifier", "grid_fd_inception"]) == "grid_fd_inception"
    )
    assert (
        schedules.chooser("kid_pixels", ["grid_fd_classifier", "grid_fd_pixels"])
        == "grid_fd_pixels"
    )


def test_other_samplers_starts_and_guidance(tmp_path, make, over_rho):
    """A start uses the choice of plain noise; Euler, another method, has none without a first pass
    of its own.
    """
    found = over_rho({3: {7: 4.0, 90: 3.0}})
    plain = {"sampler": "heun", "start": "gaussian", "guidance": "none"}
    for more in ({"start": "mean"}, {"guidance": "dg"}, {"sampler": "euler"}):
        for at in (7.0, 90.0) if more != {"sampler": "euler"} else (7.0,):
            found.append(
                Measurement(
                    "fd_classifier", at, nfe=3, rho=at, split="test", n=5000, **plain | more
                )
            )
    make(tmp_path, found=found)
    titles = shown(group_of(tmp_path))
    assert {title.removeprefix("fd_classifier, test, ") for title in titles} == {
        "rho 7",
        "best rho",
        "start mean, rho 7",
        "start mean, best rho",
        "guidance dg, rho 7",
        "guidance dg, best rho",
        "sampler euler, rho 7",
    }
    assert titles["fd_classifier, test, start mean, best rho"] == {3: {0: 90.0}}


@pytest.mark.parametrize(
    ("rhos", "fixed"),
    [
        ({3: [7, 90], 5: [7, 90]}, {"edm": "karras:rho=7"}),
        ({3: [7, 90], 5: [90]}, {"edm": "karras:rho=90"}),
        ({3: [20, 100], 5: [20, 100]}, {"edm": "karras:rho=20"}),
        ({}, {}),
    ],
)
def test_the_fixed_schedule_is_there_at_all_nfes(rhos, fixed):
    rows = [
        {"run_id": "a", "nfe": nfe, "schedule": f"karras:rho={at}"}
        for nfe, several in rhos.items()
        for at in several
    ]
    table = pd.DataFrame(rows, columns=["run_id", "nfe", "schedule"])
    assert schedules.fixed_schedules(table.astype({"schedule": "string[python]"})) == fixed


def test_heat_table(tmp_path, make, over_rho):
    values = {
        "random": ({7: 4.0, 90: 6.0}, {7: 5.0, 90: 4.0}),
        "lapjv": ({7: 4.0, 90: 2.0}, {7: 9.0, 90: 2.0}),
    }
    for arm, seeds in values.items():
        for seed, by_rho in enumerate(seeds):
            make(tmp_path, arm, seed, found=over_rho({3: by_rho}))
    random, lapjv = heats(group_of(tmp_path))
    assert (random.coupling, lapjv.coupling, random.title, random.images) == (
        "random",
        "lapjv",
        "Search: Fréchet distance, classifier features (grid_fd_classifier), 200 images",
        (200,),
    )
    seven, ninety = "karras:rho=7", "karras:rho=90"
    assert random.means == {seven: {3: 2.25}, ninety: {3: 2.5}}
    assert random.best == {3: seven}
    # By the mean 7, but the second seed's run is compared at 90
    assert random.chosen == {3: (seven, ninety)}
    assert lapjv.best == {3: ninety}
    assert lapjv.chosen == {3: (ninety, ninety)}
    assert random.shade(seven, 3) == 1.0
    assert 0 < random.shade(ninety, 3) < 1
    assert lapjv.shade(seven, 3) == 0.0


def missing(runs):
    group = group_of(runs)
    return schedules.missing_best(group.rows, group.best, "fd_classifier")


def test_a_best_rho_without_measurement_is_named(tmp_path, make, over_rho):
    found = over_rho({3: {7: 4.0, 90: 3.0}, 5: {7: 4.0, 90: 3.0}})
    make(tmp_path, found=found)
    assert missing(tmp_path) is None
    lost = [m for m in found if m.metric != "fd_classifier" or (m.nfe, m.rho) != (5, 90.0)]
    make(tmp_path, "lapjv", found=lost)
    line = missing(tmp_path)
    assert line.startswith("fd_classifier was not measured at the best rho of lapjv at NFE 5:")


def test_a_best_rho_at_the_end_of_what_was_tried_is_said(tmp_path, make, over_rho):
    make(
        tmp_path,
        "random",
        found=over_rho({5: {3: 9.0, 7: 2.0, 16: 3.0}, 9: {3: 9.0, 7: 2.0, 16: 3.0}}),
    )
    make(
        tmp_path,
        "lapjv",
        found=over_rho({5: {3: 9.0, 7: 2.0, 16: 3.0}, 9: {3: 9.0, 7: 3.0, 16: 2.0}}),
    )
    table = read_runs(tmp_path)
    assert schedules.at_the_end(table, schedules.best_schedules(table), "fd_classifier") == [
        "Best rho for fd_classifier is at the upper end of the search; a larger one may be"
        " better (extend --rhos): lapjv at NFE 9."
    ]
    random = table[table["coupling"].eq("random")]
    assert schedules.at_the_end(random, schedules.best_schedules(random), "fd_classifier") == []


def recorded(metric, value, nfe=3):
    """A row of the choice, as an evaluation records it."""
    plain = {"sampler": "heun", "start": "gaussian", "guidance": "none", "split": "train"}
    spec = f"karras:rho={value:g}"
    return Measurement(metric, value, nfe, value, **plain, n=200, schedule=spec)


def test_the_best_rho_is_the_one_that_was_measured(tmp_path, make, over_rho):
    """An evaluation recorded its choice; the grid that is in the folder now would choose 90."""
    values = {3: {7: 4.0, 20: 3.5, 90: 3.0}}
    found = [m for m in over_rho(values) if m.metric.startswith("grid_") or m.rho == 7]
    for split in ("train", "test"):
        place = {"nfe": 3, "rho": 20.0, "split": split, "n": 5000}
        plain = {"sampler": "heun", "start": "gaussian", "guidance": "none"}
        found.append(Measurement("fd_classifier", 3.5, **place, **plain))
    make(tmp_path, found=[*found, recorded("best_schedule_classifier", 20.0)])
    group = group_of(tmp_path)
    assert group.best[["metric", "nfe", "schedule"]].values.tolist() == [
        ["grid_fd_classifier", 3, "karras:rho=20"]
    ]
    assert shown(group)["fd_classifier, test, best rho"] == {3: {0: 3.5}}
    assert schedules.missing_best(group.rows, group.best, "fd_classifier") is None
    (heat,) = heats(group)
    assert heat.chosen == {3: ("karras:rho=20",)}


def test_the_choice_is_no_metric_of_the_page(tmp_path, make, over_rho):
    found = [*over_rho({3: {7: 4.0, 90: 3.0}}), recorded("best_schedule_classifier", 90.0)]
    make(tmp_path, found=found)
    assert not [p for p in group_of(tmp_path).panels if p.metric.startswith("best_schedule")]
    assert "best_schedule_classifier" not in build(tmp_path).html.read_text()


def test_features_without_a_recorded_choice_choose_as_an_evaluation_does(tmp_path, make, over_rho):
    found = over_rho({3: {7: 4.0, 90: 3.0}})
    pixels = [replace(m, metric="grid_fd_pixels") for m in found if m.metric.startswith("grid_")]
    make(tmp_path, found=[*found, *pixels, recorded("best_schedule_classifier", 7.0)])
    best = group_of(tmp_path).best
    assert dict(zip(best["metric"], best["schedule"], strict=True)) == {
        "grid_fd_classifier": "karras:rho=7",
        "grid_fd_pixels": "karras:rho=90",
    }


def with_noise(found, error=0.01):
    """The same rows as a search records them today: of other latents, and with their noise."""
    noise = []
    for row in found:
        if row.metric.startswith("grid_"):
            value = 0.0 if row.rho == 7 else error
            noise.append(replace(row, metric="grid_gain_se_classifier", value=value))
    return [*found, *noise]


def test_the_first_pass_of_an_earlier_version_counts_only_without_one_of_today(
    tmp_path, make, over_rho
):
    """Its latents were those of the evaluation; more images do not make up for that."""
    earlier = [row for row in over_rho({3: {7: 4.0, 90: 1.0}}) if row.metric.startswith("grid_")]
    earlier = [replace(row, n=900) for row in earlier]
    today = with_noise(over_rho({3: {7: 4.0, 20: 3.0}}))
    make(tmp_path, found=[*earlier, *today])
    group = group_of(tmp_path)
    (heat,) = heats(group)
    assert heat.means == {"karras:rho=7": {3: 2.0}, "karras:rho=20": {3: 1.5}}
    assert heat.images == (200,)
    assert group.best["schedule"].tolist() == ["karras:rho=20"]


def test_a_gain_within_its_noise_leaves_the_fixed_schedule(tmp_path, make, over_rho):
    make(tmp_path, found=with_noise(over_rho({3: {7: 4.0, 20: 3.0}}), error=0.2))
    assert group_of(tmp_path).best["schedule"].tolist() == ["karras:rho=7"]


def chosen_by(runs, make, over_rho, rhos, seeds):
    """A run for each rho, which is recorded as its best."""
    for seed, rho in enumerate(rhos):
        found = with_noise(over_rho({3: {7: 4.0, 20: 3.0}}))
        count = Measurement("search_seeds_classifier", float(seeds))
        make(runs, "lapjv", seed, found=[*found, recorded("best_schedule_classifier", rho), count])


def test_seeds_at_different_best_schedules_are_named_with_the_way_out(
    tmp_path, make, over_rho, capsys
):
    chosen_by(tmp_path, make, over_rho, (7.0, 20.0), seeds=1)
    group = group_of(tmp_path)
    line = schedules.unshared(group.rows, group.best, "fd_classifier")
    assert line.startswith(
        "Seeds of one coupling have a different best rho for fd_classifier: lapjv at NFE 3. `python"
    )
    assert build(tmp_path).notes == (line,)
    assert main([str(tmp_path)]) == 0
    assert f"note: {line}" in capsys.readouterr().err
    assert (
        "Seeds of one coupling have a different best rho" in (tmp_path / "report.html").read_text()
    )
    (heat,) = heats(group)
    assert heat.chosen_by == ""


def test_seeds_that_chose_together_are_counted(tmp_path, make, over_rho):
    chosen_by(tmp_path, make, over_rho, (20.0, 20.0), seeds=2)
    report = build(tmp_path)
    assert report.notes == ()
    (heat,) = heats(group_of(tmp_path))
    assert (heat.seeds, heat.chosen_by) == ((2,), ", chosen by 2 seeds together")
    page = report.html.read_text()
    assert "best rho, chosen by 2 seeds together" in page
    # Neither the count nor the noise is a metric of the page.
    assert not [p for p in group_of(tmp_path).panels if p.metric.startswith(("search_", "grid_"))]


def test_the_ends_are_those_that_were_tried_at_the_nfe(tmp_path, make, over_rho):
    """A search goes on at the NFEs concerned: 138 was tried at NFE 9 only."""
    values = {5: {3: 9.0, 7: 4.0, 81: 2.0}, 9: {3: 9.0, 7: 4.0, 81: 2.0, 138: 3.0}}
    make(tmp_path, "lapjv", found=with_noise(over_rho(values)))
    table = read_runs(tmp_path)
    (line,) = schedules.at_the_end(table, schedules.best_schedules(table), "fd_classifier")
    assert line.endswith("lapjv at NFE 5.")

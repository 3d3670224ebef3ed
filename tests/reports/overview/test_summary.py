import math
import re
from pathlib import Path

import pytest

from bench.record import Measurement
from reports.build import build
from reports.files.terminal import terminal_table
from reports.overview.summary import summarise
from reports.overview.warnings import class_law as class_warnings
from reports.overview.warnings import warnings
from reports.tables.groups import groups
from reports.tables.runs import Run, read
from reports.tables.tidy import read_csv, read_runs, results, write_csv
from tests.reports.pages import code


def said(runs_dir):
    """Claims by metric and arm, lowest by metric, warnings in one text."""
    runs, _ = read(runs_dir)
    found = groups(results(runs), runs)
    summary = summarise(found[0])
    claims = {
        (", ".join(filter(None, (code(f.title), view.label))), arm): claim
        for f in summary.findings
        for view in f.views
        for arm, claim in view.claims
    }
    return summary, claims, " | ".join(warnings(found, runs))


def curve(*values):
    return [
        Measurement("truncation_error", v, nfe=n)
        for n, v in zip((3, 5, 7, 9), values, strict=False)
    ]


def test_claims_with_crossover(study):
    summary, claims, text = said(study)
    assert [f.title for f in summary.findings] == [
        "Fréchet distance, classifier features (fd_classifier), test",
        "Truncation error (truncation_error)",
    ]
    assert (
        claims["fd_classifier, test", "lapjv"]
        == "lower (better) than random at NFE 3 and 5, most at NFE 3: −40 % [−40, −40]; higher"
        " (worse) than random at NFE 13 and 35, most at NFE 13: +25 % [+25, +25]; the mean"
        " changes sign between NFE 5 and 13"
    )
    assert claims["truncation_error", "sinkhorn:epsilon=0.05"].startswith(
        "lower (better) than random at NFE 3 to 35"
    )
    assert "higher" not in claims["truncation_error", "sinkhorn:epsilon=0.05"]
    assert (
        summary.findings[0].views[0].lowest
        == "lapjv at NFE 3 and 5; sinkhorn:epsilon=0.05 at NFE 13 and 35"
    )
    assert summary.seeds.startswith("3 seeds per coupling")
    assert "One seed" not in text


def test_swapped_labels_flip_the_claim(tmp_path, make):
    for runs, good, bad in (("a", "lapjv", "random"), ("b", "random", "lapjv")):
        for seed in range(3):
            make(tmp_path / runs, good, seed, found=curve(1.0, 1.0))
            make(tmp_path / runs, bad, seed, found=curve(2.0, 2.0))
    first, claims_a, _ = said(tmp_path / "a")
    second, claims_b, _ = said(tmp_path / "b")
    assert claims_a["truncation_error", "lapjv"].startswith(
        "lower (better) than random at NFE 3 and 5"
    )
    assert claims_b["truncation_error", "lapjv"].startswith(
        "higher (worse) than random at NFE 3 and 5"
    )
    assert first.findings[0].views[0].lowest == "lapjv at NFE 3 and 5"
    assert second.findings[0].views[0].lowest == "random at NFE 3 and 5"


def test_swapped_rows_of_the_csv_flip_the_claim(study, tmp_path):
    table = results(read(study)[0])
    table = table[table.coupling.isin(["random", "lapjv"])]
    swapped = table.assign(coupling=table.coupling.map({"random": "lapjv", "lapjv": "random"}))
    write_csv(swapped, tmp_path / "results.csv")
    said = []
    for rows in (table, read_csv(tmp_path / "results.csv")):
        finding, _ = summarise(groups(rows)[0]).findings
        ((_, claim),) = finding.views[0].claims
        said.append((claim, finding.views[0].lowest))
    assert said[0][0].startswith("lower (better) than random at NFE 3 and 5, most at NFE 3: −40 %")
    assert said[1][0].startswith(
        "lower (better) than random at NFE 13 and 35, most at NFE 13: −20 %"
    )
    assert "higher (worse) than random at NFE 3 and 5, most at NFE 3: +67 %" in said[1][0]
    assert [lowest for _, lowest in said] == [
        "lapjv at NFE 3 and 5; random at NFE 13 and 35",
        "random at NFE 3 and 5; lapjv at NFE 13 and 35",
    ]


def test_seeds_that_overlap_make_no_claim(tmp_path, make):
    """At NFE 3 the third seed is against; at NFE 5 none is."""
    for seed, value in enumerate((0.5, 0.6, 1.1)):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(value, 0.55 + seed / 25))
    summary, claims, _ = said(tmp_path)
    assert (
        claims["truncation_error", "lapjv"]
        == "lower (better) than random at NFE 5: −41 % [−50, −30]; no clear difference at NFE 3; "
        "lower mean at NFE 3 (−31 %)"
    )
    assert "adjusted for each other by Holm's method" in summary.seeds


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_make_no_claim_and_say_why(tmp_path, make, seeds):
    for seed in range(seeds):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(0.1, 0.1))
    summary, claims, text = said(tmp_path)
    assert (
        claims["truncation_error", "lapjv"]
        == f"no claims: at least 3 seeds shared with random are needed (here {seeds}); lower mean"
        " at NFE 3 and 5 (up to −90 % at NFE 3)"
    )
    assert "no claims below three seeds" in summary.seeds
    assert (
        "One seed only for random and lapjv"
        if seeds == 1
        else "Fewer than three seeds for random and"
    ) in text
    page = build(tmp_path).html.read_text()
    assert not re.search('class="[^"]*(better|worse)|\\((better|worse)\\)', page)
    assert "*" not in terminal_table(read_runs(tmp_path)).split("method)")[1]


def test_a_crossover_of_the_means_stands_in_words_though_nothing_is_claimed(tmp_path, make):
    for seed in range(2):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0, 1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(1.25, 0.5, 1.0, 1.2))
    _, claims, _ = said(tmp_path)
    assert (
        claims["truncation_error", "lapjv"]
        == "no claims: at least 3 seeds shared with random are needed (here 2); lower mean at NFE"
        " 5 (−50 %), higher at NFE 3 and 9 (up to +25 % at NFE 3); the mean changes sign between"
        " NFE 3 and 5 and between NFE 5 and 9"
    )


def test_one_seed_in_common_is_no_claim_whatever_the_arms_have(tmp_path, make):
    for seed in range(3):
        make(tmp_path, "random", seed, found=curve(1.0))
        make(tmp_path, "lapjv", seed + 2, found=curve(0.1))
    _, claims, _ = said(tmp_path)
    assert claims["truncation_error", "lapjv"].startswith(
        "no claims: at least 3 seeds shared with random are needed (here 1)"
    )


def test_an_arm_may_win_between_two_crossovers(tmp_path, make):
    for seed in range(3):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0, 1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(1.2, 0.5, 0.9, 1.4))
    _, claims, _ = said(tmp_path)
    assert claims["truncation_error", "lapjv"].endswith(
        "; the mean changes sign between NFE 3 and 5 and between NFE 7 and 9"
    )


def test_a_sign_that_comes_and_goes_is_called_noise(tmp_path, make):
    for seed in range(3):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0, 1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(0.9, 1.1, 0.9, 3.0))
    _, claims, _ = said(tmp_path)
    assert "changes sign 3 times, which looks like noise" in claims["truncation_error", "lapjv"]
    assert "most at NFE 9: +200 %" in claims["truncation_error", "lapjv"]


def test_what_is_lost_at_one_rho_is_gained_at_the_best(tmp_path, make, over_rho):
    for seed in range(3):
        make(tmp_path, "random", seed, found=over_rho({5: {7: 1.0 + seed, 90: 3.0 + seed}}))
        make(
            tmp_path,
            "lapjv",
            seed,
            found=over_rho({5: {7: 1.2 * (1 + seed), 90: 0.7 * (1 + seed)}}),
        )
    summary, claims, text = said(tmp_path)
    place = "fd_classifier, test"
    assert claims[f"{place}, at rho 7", "lapjv"].startswith("higher (worse) than random at NFE 5")
    assert claims[f"{place}, each coupling at its own best rho", "lapjv"].startswith(
        "lower (better) than random at NFE 5"
    )
    assert summary.findings[0].turns == (
        "lapjv at NFE 5: higher (worse) at rho 7, lower (better) at best rho",
    )
    assert "chosen at each NFE in a cheap search" in summary.schedule
    assert "not measured at the best rho" not in text


def test_one_rho_alone_is_said(study, tmp_path, make, over_rho):
    assert "measured at rho 7 only. The best rho differs" in said(study)[0].schedule
    found = [
        m for m in over_rho({5: {7: 2.0, 90: 1.0}}) if m.rho == 7 or m.metric.startswith("grid_")
    ]
    for arm in ("random", "lapjv"):
        make(tmp_path, arm, found=found)
    summary, _, text = said(tmp_path)
    assert "only, although the best rho was searched for" in summary.schedule
    assert "fd_classifier was not measured at the best rho of random and lapjv at NFE 5" in text


def test_a_diverged_arm_is_not_passed_over(tmp_path, make):
    for seed in range(3):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(math.nan if seed == 0 else 1.0, 0.5))
    _, claims, text = said(tmp_path)
    assert "no comparison at NFE 3 (a value is not finite" in claims["truncation_error", "lapjv"]
    assert "Values that are not finite: 1, from lapjv" in text


def test_without_random_nothing_is_claimed(tmp_path, make):
    make(tmp_path, "lapjv")
    make(tmp_path, "hungarian")
    _, claims, text = said(tmp_path)
    assert all(claim.startswith("no random run") for claim in claims.values())
    assert "There is no random run" in text


def test_warnings(tmp_path, make):
    make(tmp_path, "random", 0, git_dirty=True, feature_sizes={"classifier": 64, "pixels": 3072})
    make(tmp_path, "random", 1, git_sha=None, data_checksum="other", hardware={"cpu": "B CPU"})
    make(tmp_path, "lapjv", 1, features={"classifier": "abc"}, earlier_sessions=[{"parallel": 4}])
    make(tmp_path, "lapjv", 1, images=100_000)
    _, _, text = said(tmp_path)
    for part in (
        "different seeds (random 0, 1; lapjv 1)",
        "One seed only for lapjv",
        "different data under the same name",
        "features classifier are not the same",
        "different hardware",
        "The runs were made 1 and 4 at once (--parallel)",
        "from 2,000 images are biased upwards",
        "fd_classifier and fd_pixels do not use Inception-v3 features: not FID",
        "digits: training budgets differ (100,000 and 200,000 images)",
        "1 of 4 runs were made with uncommitted changes",
        "2 versions of the code",
        "some runs is unknown",
    ):
        assert part in text, part


def test_a_coupling_that_biases_the_noise_is_named(tmp_path, make):
    make(tmp_path, "random", exact_noise_marginal=True)
    make(tmp_path, "knn", exact_noise_marginal=False)
    assert "knn does not preserve the noise distribution" in said(tmp_path)[2]


def test_singular_covariance(tmp_path, make):
    make(tmp_path, feature_sizes={"classifier": 64, "pixels": 3072})
    _, _, text = said(tmp_path)
    assert "fd_pixels from 2,000 images in 3,072 dimensions is unreliable" in text
    assert "fd_classifier from 2,000" not in text


def test_an_extrapolated_distance_is_not_called_too_high(tmp_path, make):
    make(tmp_path, found=[Measurement("fd_infinity_classifier", 1.0, nfe=5, split="test", n=1000)])
    assert "biased" not in said(tmp_path)[2]


def test_a_clean_study_has_only_the_standing_warnings(study):
    assert said(study)[2].count(" | ") == 1


@pytest.mark.parametrize(
    ("speeds", "uneven"), [((100.0, 140.0, 120.0), False), ((100.0, 210.0, 120.0), True)]
)
def test_equal_runs_at_unequal_speeds_are_a_warning(tmp_path, make, speeds, uneven):
    for seed, speed in enumerate(speeds):
        make(tmp_path, "random", seed, found=[*curve(1.0), Measurement("images_per_s", 900.0)])
        make(tmp_path, "lapjv", seed, found=[*curve(1.0), Measurement("images_per_s", speed)])
    _, _, text = said(tmp_path)
    assert ("Identical runs differ up to 2.1x in speed" in text) == uneven
    assert ("Identical runs" in text) == uneven
    # Nor does the terminal give speeds that cannot be compared.
    assert ("images_per_s" in terminal_table(read_runs(tmp_path))) != uneven


@pytest.mark.parametrize(
    ("config", "provenance", "said"),
    [
        ({}, {}, []),
        ({"training.conditional": False}, {}, []),
        ({"training.conditional": True}, {"class_law": "data"}, ["as often as the training split"]),
        ({"training.conditional": True}, {"class_law": "uniform"}, ["all classes equally often"]),
        # Of before there was a choice
        ({"training.conditional": True}, {}, ["all classes equally often"]),
        # A file's
        (
            {"training.conditional": False},
            {"class_law": "data"},
            ["as often as the training split"],
        ),
    ],
)
def test_the_law_of_the_classes_is_said_of_conditional_runs(config, provenance, said):
    found = class_warnings([Run(Path("some"), config, provenance, {}, ())])
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))

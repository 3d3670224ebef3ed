import math

from bench.record import Measurement
from reports.runs import read
from reports.summary import summarise, warnings
from reports.tables import groups, results


def said(runs_dir):
    """Claims by metric and arm, lowest by metric, warnings in one text."""
    runs, _ = read(runs_dir)
    found = groups(results(runs))
    summary = summarise(found[0])
    claims = {(f.title, arm): claim for f in summary.findings for arm, claim in f.claims}
    return summary, claims, " | ".join(warnings(found, runs))


def curve(*values):
    return [Measurement("truncation_error", v, nfe=n) for n, v in zip((3, 5, 7, 9), values, strict=False)]


def test_claims_with_crossover(study):
    summary, claims, text = said(study)
    assert [f.title for f in summary.findings] == ["fd_classifier, test", "truncation_error"]
    assert claims["fd_classifier, test", "lapjv"] == (
        "lower (better) than random at NFE 3 and 5, most at NFE 3: 40 % lower; higher (worse) than random at NFE 13 "
        "and 35, most at NFE 13: 25 % higher; the crossover lies between NFE 5 and 13"
    )
    assert claims["truncation_error", "sinkhorn:epsilon=0.05"].startswith("lower (better) than random at NFE 3 to 35")
    assert "higher" not in claims["truncation_error", "sinkhorn:epsilon=0.05"]
    assert summary.findings[0].lowest == "lapjv at NFE 3 and 5; sinkhorn:epsilon=0.05 at NFE 13 and 35"
    assert summary.seeds.startswith("3 seeds an arm")
    assert "One seed" not in text


def test_swapped_labels_flip_the_claim(tmp_path, make):
    for runs, good, bad in (("a", "lapjv", "random"), ("b", "random", "lapjv")):
        for seed in range(2):
            make(tmp_path / runs, good, seed, found=curve(1.0, 1.0))
            make(tmp_path / runs, bad, seed, found=curve(2.0, 2.0))
    first, claims_a, _ = said(tmp_path / "a")
    second, claims_b, _ = said(tmp_path / "b")
    assert claims_a["truncation_error", "lapjv"].startswith("lower (better) than random at NFE 3 and 5")
    assert claims_b["truncation_error", "lapjv"].startswith("higher (worse) than random at NFE 3 and 5")
    assert first.findings[0].lowest == "lapjv at NFE 3 and 5"
    assert second.findings[0].lowest == "random at NFE 3 and 5"


def test_seeds_that_disagree_make_no_claim(tmp_path, make):
    for seed, value in enumerate((0.5, 1.5)):
        make(tmp_path, "random", seed, found=curve(1.0, 1.0))
        make(tmp_path, "lapjv", seed, found=curve(value, 0.5))
    _, claims, _ = said(tmp_path)
    assert claims["truncation_error", "lapjv"] == (
        "lower (better) than random at NFE 5, by 50 %; no clear difference at NFE 3"
    )


def test_a_sign_that_comes_and_goes_is_called_noise(tmp_path, make):
    make(tmp_path, "random", found=curve(1.0, 1.0, 1.0, 1.0))
    make(tmp_path, "lapjv", found=curve(0.9, 1.1, 0.9, 3.0))
    summary, claims, text = said(tmp_path)
    assert "looks like noise" in claims["truncation_error", "lapjv"]
    assert "most at NFE 9: 3.00 times as high" in claims["truncation_error", "lapjv"]
    assert summary.seeds.startswith("One seed proves nothing")
    assert "One seed only for random and lapjv" in text


def test_a_diverged_arm_is_not_passed_over(tmp_path, make):
    make(tmp_path, "random", found=curve(1.0, 1.0))
    make(tmp_path, "lapjv", found=curve(math.nan, 0.5))
    _, claims, text = said(tmp_path)
    assert "no comparison at NFE 3 (a value is not finite" in claims["truncation_error", "lapjv"]
    assert "Values that are not finite: 1, from lapjv" in text


def test_without_random_nothing_is_claimed(tmp_path, make):
    make(tmp_path, "lapjv")
    make(tmp_path, "hungarian")
    _, claims, text = said(tmp_path)
    assert all(claim.startswith("no random arm") for claim in claims.values())
    assert "There is no random arm" in text


def test_warnings(tmp_path, make):
    make(tmp_path, "random", 0, git_dirty=True, feature_sizes={"classifier": 64, "pixels": 3072})
    make(tmp_path, "random", 1, git_sha=None, data_checksum="other", hardware={"cpu": "B CPU"})
    make(tmp_path, "lapjv", 1, features={"classifier": "abc"})
    make(tmp_path, "lapjv", 1, images=100_000)
    _, _, text = said(tmp_path)
    for part in (
        "different seeds (random 0, 1; lapjv 1)",
        "One seed only for lapjv",
        "different data under the same name",
        "features classifier are not the same",
        "different hardware",
        "from 2,000 images are too high",
        "fd_classifier and fd_pixels use other features than Inception-v3: no FID",
        "digits: training budgets differ (100,000 and 200,000 images)",
        "1 of 4 runs were made from a git tree with changes",
        "2 versions of the code",
        "some runs is unknown",
    ):
        assert part in text, part


def test_a_coupling_that_biases_the_noise_is_named(tmp_path, make):
    make(tmp_path, "random", exact_noise_marginal=True)
    make(tmp_path, "knn", exact_noise_marginal=False)
    assert "knn does not keep the noise marginal" in said(tmp_path)[2]


def test_singular_covariance(tmp_path, make):
    make(tmp_path, feature_sizes={"classifier": 64, "pixels": 3072})
    _, _, text = said(tmp_path)
    assert "fd_pixels: 2,000 images in 3,072 features" in text
    assert "fd_classifier: 2,000" not in text


def test_an_extrapolated_distance_is_not_called_too_high(tmp_path, make):
    make(tmp_path, found=[Measurement("fd_infinity_classifier", 1.0, nfe=5, split="test", n=1000)])
    assert "too high" not in said(tmp_path)[2]


def test_a_clean_study_has_only_the_standing_warnings(study):
    assert said(study)[2].count(" | ") == 1

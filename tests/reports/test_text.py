import math

import pytest

from reports.tables.metrics import FAMILIES, METRICS, about, family, judged, metric_rank, to_judge
from reports.tables.statistics import Interval, change
from reports.text import join, nfe_range, number, percent, short


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1, "0.100"), (0.012345, "0.0123"), (12.3456, "12.3"), (128.4, "128"), (12345.6, "12,346"),
     (-3.5, "-3.50"), (1.5e-7, "1.50e-07"), (math.nan, "not finite"), (math.inf, "infinite")],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_shares_and_changes():
    assert [percent(x) for x in (0, 0.04, 0.384, 1.2)] == ["0 %", "4.0 %", "38 %", "120 %"]
    assert change(0.62) == "−38 %"
    assert change(1.04) == "+4.0 %"
    assert change(0.62, Interval(0.55, 0.7)) == "−38 % [−45, −30]"
    assert change(0.99, Interval(0.985, 1.004)) == "−1.0 % [−1.5, +0.4]"
    assert change(1.04, Interval(0.95, 1.2)) == "+4 % [−5, +20]"
    assert change(25) == "+2,400 %"
    assert [short(x) for x in (0, 0.1234, 1.77, 123.4)] == ["0", "0.12", "1.8", "123"]


def test_lists():
    assert [join(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_neighbours_on_the_grid_are_drawn_together():
    grid = [3, 5, 7, 13, 35]
    assert nfe_range([3, 5, 7], grid) == "3 to 7"
    assert nfe_range([3, 5], grid) == "3 and 5"
    assert nfe_range([3, 7, 13, 35], grid) == "3 and 7 to 35"
    assert nfe_range([], grid) == ""


HIGHER = {"precision", "recall", "coverage", "class_agreement", "images_per_s"}
LOWER = {
    "fd_classifier",
    "fd_pixels",
    "truncation_error",
    "curvature_fm",
    "fd_infinity",
    "kid",
    "class_distance",
}
LOWER |= {
    f"{metric}_{space}" for metric in ("path_excess", "turning_angle") for space in ("fm", "sigma")
}
LOWER |= {"fid", "w2", "local_error_euler", "target_variance", "adaptive_nfe", "grid_fd"}
NEITHER = {"density", "copy_rate", "copy_distance", "transport_cost", "coupling_ms"}
LOWER |= {
    "mode_mixture",
    "discriminator_passes",
    "dg_calibration_error",
    "prior_error",
    "prior_error_fresh",
    "start_chi2",
}
NEITHER |= {
    "dg_auc",
    "dg_accuracy",
    "prior_error_floor",
    "start_sigma",
    "start_targets",
    "mode_mixture_real",
}
NEITHER |= {"gradient_noise_scale", "validation_loss_own", "validation_loss_independent"}


@pytest.mark.parametrize("name", sorted(HIGHER | LOWER | NEITHER))
def test_the_good_side_of_every_metric(name):
    metric = f"{name}_classifier" if name in FAMILIES else name
    verdicts = tuple(judged(metric, verdict) for verdict in ("lower", "higher", "unclear"))
    sides = {"lower": ("better", "worse"), "higher": ("worse", "better")}
    good = "lower" if name in LOWER else "higher" if name in HIGHER else None
    assert verdicts == (*sides.get(good, ("unclear", "unclear")), "unclear")


def test_no_metric_of_the_samples_is_left_without_a_side():
    assert set(FAMILIES) <= HIGHER | LOWER | NEITHER
    every = [(name, "test") for name in ("w2", "fid", "fd_net", "fd_classifier")] + [
        ("truncation_error", None)
    ]
    # "Lowest mean" is praise in the summary.
    assert all(
        judged(metric, "lower") == "better"
        for metric, _ in to_judge([*every, ("fd_pixels", "test")])
    )
    assert judged("novelty", "lower") == "unclear"


def test_a_family_is_known_with_any_features():
    assert family("fd_infinity_inception") == "fd_infinity"
    assert family("kid_pixels") == "kid"
    assert family("fd_classifier") is family("novelty") is family("kid") is None
    assert family("mode_mixture_0.2_classifier") == "mode_mixture"
    assert family("mode_mixture_0.2_real_classifier") == "mode_mixture_real"
    assert about("recall_inception") == FAMILIES["recall"]
    assert about("fd_pixels") == METRICS["fd_pixels"]
    assert about("novelty") == ""
    order = ["novelty", "precision_a", "kid_a", "fd_infinity_b", "images_per_s", "fd_classifier"]
    assert sorted(order, key=metric_rank) == order[::-1]

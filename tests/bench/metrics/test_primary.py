"""The primary question: what is measured may be asked, all else is refused in one line."""

from dataclasses import replace

import pytest

from bench.check import check, make
from bench.config import ConfigError, load_preset, presets


def asked(primary, **options):
    return make(None, {"data": "digits", "primary": primary, **options}).evaluation.primary


@pytest.mark.parametrize(
    ("primary", "options"),
    [
        ("fd_classifier@9", {}),
        ("truncation_error@13", {}),
        ("kid_pixels@35", {}),
        ("fd_classifier@11", {"nfe": [5, 11]}),
        ("fd_net@9", {"features": ["torchscript:path=some/net.pt"]}),
        ("fd_inception@9", {"features": ["inception", "pixels"]}),
    ],
)
def test_what_is_measured_may_be_asked(primary, options):
    assert asked(primary, **options) == primary


@pytest.mark.parametrize(
    ("primary", "options", "way_out"),
    [
        ("fd_classifier", {}, "it must be METRIC@NFE, such as fd_classifier@9"),
        ("fd_classifier@", {}, "it must be METRIC@NFE"),
        ("fd_classifier@11", {}, "NFE 11 is not measured: take one of --nfe (3, 5, 7, 9"),
        ("fd_clasifier@13", {}, "nothing is measured in the features clasifier: add them"),
        ("fd_inception@13", {}, "in the features inception: add them to --features"),
        ("nonsense@13", {}, "nonsense is not a metric of samples at an NFE"),
        ("curvature_fm@13", {}, "curvature_fm is not a metric of samples at an NFE"),
        ("grid_fd_classifier@13", {}, "grid_fd_classifier is not a metric of samples"),
        ("kid_pixels@13", {"metrics": ["frechet"]}, "add kid to --metrics"),
    ],
)
def test_what_is_not_measured_is_refused_with_the_way_out(primary, options, way_out):
    with pytest.raises(ConfigError) as refused:
        asked(primary, **options)
    message = str(refused.value)
    assert message.startswith(f"--primary {primary}: ")
    assert way_out in message
    assert "\n" not in message


def test_the_question_of_the_data_set_is_dropped_where_it_is_not_measured():
    assert asked("") == "fd_classifier@9"
    assert asked("", nfe=[13]) == ""
    assert asked("", features=["pixels"]) == ""
    assert make(None, {"data": "moons"}).evaluation.primary == ""


@pytest.mark.parametrize("preset", presets())
def test_the_question_of_every_preset_is_measured(preset):
    given = load_preset(preset)
    assert check(given).evaluation.primary == given.evaluation.primary


def test_it_changes_neither_the_run_nor_what_is_measured():
    config = make(None, {"data": "digits", "primary": "fd_classifier@13"})
    other = replace(config, evaluation=replace(config.evaluation, primary="fd_classifier@5"))
    assert config.identity == other.identity
    assert config.measured == other.measured
    assert check(config) == config

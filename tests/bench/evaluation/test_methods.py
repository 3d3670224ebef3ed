"""Starts and guidance through one arm's whole evaluation."""

from dataclasses import replace

import pytest

from bench.arm import run_arm
from bench.check import check, make
from bench.config import ConfigError, Execution
from bench.config.guidance import GuidanceConfig
from bench.guidance import encoder as noisy_encoder
from bench.run import parse
from bench.sampling import sample as sampling

STEERED = {
    "images": 640,
    "pool": 128,
    "batch": 64,
    "model_channels": 8,
    "channel_mult": [1],
    "reference_steps": 8,
    "trajectories": 16,
    "samples": 80,
    "nfe": [5],
    "rhos": [7],
    "metrics": ["samples", "truncation"],
    "start": ["random-index:sigma=0.5", "truncated:sigma=0.5"],
    "start_nfe": [3],
    "samplers": ["heun", "euler-maruyama"],
}
GUIDANCE = GuidanceConfig(
    "discriminator",
    weights=(0.0, 1.0),
    nfe=(5,),
    noising=("independent", "lapjv"),
    images=512,
    fakes=100,
    fakes_nfe=5,
    pool=64,
    width=8,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run folder, and what every chunk was sampled with."""
    config, calls, begin = make(None, STEERED), [], sampling._begin

    def watching(setting, *rest):
        calls.append(setting)
        return begin(setting, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.features.classifier.TRAINING_IMAGES", 12_800)
        patch.setattr(noisy_encoder, "TRAINING_IMAGES", 6_400)
        patch.setattr(sampling, "_begin", watching)
        config = check(replace(config, guidance=GUIDANCE))
        folder = run_arm(
            config, tmp_path_factory.mktemp("runs"), Execution(device="cpu"), progress=False
        )
        done = len(calls)
        run_arm(config, folder.path.parent, Execution(device="cpu"), progress=False)
    assert len(calls) == done  # the second time there was nothing to do
    return folder, calls


def values(run, metric, **columns):
    rows = [m for m in run[0].measurements() if m.metric == metric]
    return [m for m in rows if all(getattr(m, name) == value for name, value in columns.items())]


def test_every_noising_and_weight_is_measured_beside_unguided(run):
    labels = {GUIDANCE.per_noising()[0].label(1.0), GUIDANCE.per_noising()[1].label(1.0), "none"}
    rows = values(run, "fd_classifier", split="test", nfe=5, start="gaussian", sampler="heun")
    assert {m.guidance for m in rows} == labels
    assert len({m.value for m in rows}) == 3
    assert {m.guidance for m in values(run, "dg_auc", sigma=None)} == {
        one.name for one in GUIDANCE.per_noising()
    }


def test_passes_of_the_discriminator_are_counted_apart(run):
    """At rho 7 in three steps, sigma is 80, 2.5 and 0.002; the last lies below the window."""
    rows = values(run, "discriminator_passes")
    assert [(m.nfe, m.value) for m in rows] == [(5, 2.0)] * 2


def test_guided_samples_have_no_truncation_error(run):
    """The reference solves the equation without guidance, from pure noise, without fresh noise."""
    rows = values(run, "truncation_error")
    assert {(m.guidance, m.start, m.sampler) for m in rows} == {("none", "gaussian", "heun")}


def test_starts_are_measured_beside_the_full_sampler(run):
    rows = values(run, "fd_classifier", split="test", nfe=3)
    assert {(m.start, m.sampler) for m in rows} == {
        (start, sampler)
        for start in ("gaussian", "random-index:sigma=0.5", "truncated:sigma=0.5")
        for sampler in ("heun", "euler-maruyama")
    }
    assert [m.value for m in values(run, "start_sigma")] == [0.5, 0.5]
    mixture = values(run, "mode_mixture_0.2_classifier", nfe=3, sampler="heun")
    assert {m.start for m in mixture} == {
        "gaussian",
        "random-index:sigma=0.5",
        "truncated:sigma=0.5",
    }
    assert all(0 <= m.value <= 1 for m in mixture)
    assert {m.split for m in values(run, "mode_mixture_0.2_real_classifier")} == {"test"}
    prior = {m.start: m.value for m in values(run, "prior_error")}
    assert 0 < prior["random-index:sigma=0.5"] < prior["truncated:sigma=0.5"]


def test_what_is_measured_does_not_make_it_another_run(run):
    assert run[0].run_id == make(None, STEERED).run_id


def test_the_command_line_spells_it(tmp_path):
    line = ["--coupling", "lapjv", "--guidance", "discriminator", "--guidance.weights", "0", "2"]
    line += ["--guidance.noising", "independent", "lapjv", "--start", "ot-prior:tau=0.1,sigma=2"]
    first, second = parse(line).configurations()
    assert (
        first.guidance
        == second.guidance
        == GuidanceConfig("discriminator", weights=(0.0, 2.0), noising=("independent", "lapjv"))
    )
    assert first.evaluation.start == ("ot-prior:sigma=2.0,tau=0.1",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": ["expresway:sigma=1"]}, "expressway"),
        ({"start": ["truncated:sigma=100"]}, "80"),
        ({"start": ["truncated"]}, "sigma or step"),
        ({"guidance.noising": ["lapj"], "guidance.kind": "discriminator"}, "lapjv"),
        ({"guidance.nfe": [4]}, "--guidance.nfe 4"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make(None, options)

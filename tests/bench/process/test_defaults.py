"""What a caller sets for the whole process must change no run."""

import warnings
from dataclasses import replace

import pytest
import torch

from bench import data
from bench.arm import run_arm
from bench.check import check, make
from bench.config.guidance import GuidanceConfig
from bench.pairs.pool import draw_pool
from bench.process.defaults import plain_torch
from bench.sampling.latents import draw_latents
from bench.training.checkpoints import load_checkpoint

TIMES = ("seconds", "_ms", "_share", "images_per_s")  # no two runs take equally long
# Classes, augmentation, a stochastic sampler, a start that draws and boosted guidance: all that
# draws is in it.
TINY = {
    "images": 320,
    "pool": 64,
    "batch": 32,
    "model_channels": 4,
    "channel_mult": [1],
    "reference_steps": 4,
    "trajectories": 8,
    "samples": 40,
    "nfe": [3],
    "rhos": [7],
    "metrics": ["samples", "truncation", "paths"],
    "conditional": True,
    "augment": 0.2,
    "coupling": "lapjv:within_class=true",
    "samplers": ["heun", "euler-maruyama"],
    "start": ["random-index:sigma=0.5"],
    "start_nfe": [3],
}
GUIDANCE = GuidanceConfig(
    "discriminator",
    weights=(1.0,),
    nfe=(3,),
    images=256,
    batch=64,
    fakes=100,
    fakes_nfe=3,
    pool=64,
    width=8,
    boost=True,
    boost_coupled=True,
)


@pytest.fixture(scope="module")
def config():
    return check(replace(make(None, TINY), guidance=GUIDANCE))


@pytest.fixture(scope="module")
def run(config):
    """Run it in a folder; its numbers, and its weights and their average."""

    def do(runs):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.setattr("bench.features.classifier.TRAINING_IMAGES", 12_800)
            patch.setattr("bench.guidance.encoder.TRAINING_IMAGES", 640)
            # Of what a denoiser with a coupling does not give
            warnings.simplefilter("ignore", UserWarning)
            folder = run_arm(config, runs, progress=False)
        rows = {m.key: repr(m.value) for m in folder.measurements() if not m.metric.endswith(TIMES)}
        with plain_torch():
            content = load_checkpoint(folder, "cpu")
        return rows, content["net"], content["ema"]

    return do


@pytest.fixture(scope="module")
def expected(run, tmp_path_factory):
    """What it gives with torch's own defaults."""
    return run(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("what", ["float64", "meta"])
def test_a_run_ignores_the_defaults_of_torch(run, expected, tmp_path, defaults, what):
    defaults(what)
    rows, net, average = run(tmp_path)
    assert rows == expected[0]
    assert len(rows) > 30
    for found, wanted in ((net, expected[1]), (average, expected[2])):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in found)


@pytest.mark.parametrize("what", ["float64", "meta"])
@pytest.mark.parametrize("name", ["digits", "moons", "eight-gaussians"])
def test_data_pools_and_latents_ignore_the_defaults_of_torch(defaults, name, what):
    def drawn():
        dataset = data.load(name)
        pool, latents = (
            draw_pool(dataset.train, 32, 0, 0, 0),
            draw_latents(4, dataset, 0, law="uniform"),
        )
        return dataset.checksum, [
            pool.rows,
            pool.pairs.images,
            pool.pairs.noise,
            latents.noise,
            latents.labels,
        ]

    checksum, expected = drawn()
    defaults(what)
    same, found = drawn()
    assert same == checksum
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("what", ["float64", "meta"])
def test_the_defaults_are_the_callers_again_even_after_an_error(defaults, what):
    defaults(what)
    before = torch.empty(0)

    @plain_torch()
    def fail():
        made.append(torch.empty(0))
        raise KeyError

    made = []
    with pytest.raises(KeyError):
        fail()
    (inside,), after = made, torch.empty(0)
    assert (inside.dtype, inside.device.type) == (torch.float32, "cpu")
    assert (after.dtype, after.device) == (before.dtype, before.device)


def test_torch_s_own_defaults_are_left_as_they_are():
    with plain_torch():
        # A device context slows every call
        assert not torch.overrides._get_current_function_mode_stack()

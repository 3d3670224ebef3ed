"""Settings of the whole process must not change a pairing."""

import os
import subprocess
import sys

import pytest
import torch

from couplings import get, names
from tests.ready import ready

FITTED = {
    "semidiscrete": "batch=256,max_chi2=0.3",
    "semidiscrete-balanced": "batch=256,max_chi2=0.3",
    "cached": "caches=2,batch=16",
    "reflow": "nfe=3,pairs=2,batch=16",
}


def cpu(seed):
    return torch.Generator("cpu").manual_seed(seed)


def inputs():
    options = {"dtype": torch.float32, "device": "cpu"}
    images, noise = (torch.randn(48, 3, 4, 4, generator=cpu(seed), **options) for seed in (0, 1))
    return images / 2, noise, torch.arange(48, device="cpu") % 3


def halved(noise, labels):
    """A model for couplings that need one."""
    return noise / 2


def specs():
    """Every batch coupling, and with pairs within classes if it solves for pairs at all."""
    found = []
    for name in names("batch"):
        found.append(name)
        if not get(name).weighs_losses:
            found.append(f"{name}:within_class=true")
    return found


@pytest.mark.parametrize("what", ["float64", "meta", "numpy errors"])
@pytest.mark.parametrize("spec", specs())
def test_batch_couplings_ignore_the_defaults_of_the_process(defaults, spec, what):
    coupling = ready(spec)
    given = inputs()
    expected = coupling.pair(*given, cpu(2))
    defaults(what)
    found = coupling.pair(*given, cpu(2))
    assert torch.equal(found.index, expected.index)
    assert {**found.report, "seconds": 0} == {**expected.report, "seconds": 0}


@pytest.mark.parametrize("what", ["float64", "meta", "numpy errors"])
@pytest.mark.parametrize("option", ["", ",per_class=true"])
@pytest.mark.parametrize("name", names("dataset"))
def test_dataset_couplings_ignore_the_defaults_of_the_process(defaults, name, option, what):
    coupling = get(f"{name}:{FITTED[name]}{option}")
    (images, noise, labels) = inputs()
    index = torch.arange(12, device="cpu")

    def fit():
        model = halved if coupling.needs_model else None
        fitted = coupling.fit(images, labels, cpu(3), model=model)
        pairs = fitted.couple(index, noise[:12], labels[:12])
        state = fitted.state_dict()
        return {"index": pairs.index, "noise": pairs.noise, **state, "seconds": index}

    expected = fit()
    defaults(what)
    found = fit()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def fit_in_the_plane():
    """The potential of a fit with enough targets for k-d trees, and Newton steps from coarse to
    fine.
    """
    points = torch.randn(1000, 2, 1, 1, generator=cpu(4), dtype=torch.float32, device="cpu").pow(3)
    fitted = get("semidiscrete:max_chi2=0.3").fit(points, generator=cpu(5))
    assert fitted.cells[0].dual.takes_newton_steps
    return fitted.state_dict()["average"]


@pytest.fixture(scope="module")
def usual_fit_in_the_plane():
    return fit_in_the_plane()


@pytest.mark.parametrize("what", ["float64", "meta", "numpy errors"])
def test_a_fit_in_the_plane_ignores_the_defaults_of_the_process(
    usual_fit_in_the_plane, defaults, what
):
    defaults(what)
    assert torch.equal(fit_in_the_plane(), usual_fit_in_the_plane)


OTT = """
import torch
from couplings import CouplingError, get

images, noise = torch.randn(2, 32, 3, generator=torch.Generator().manual_seed(0))
try:
    generator = torch.Generator().manual_seed(0)
    pairing = get("ott-sinkhorn:epsilon=0.1").pair(images, noise, generator=generator)
    print(pairing.index.tolist())
except CouplingError as error:
    print(error)
"""


def ott(**variables):
    """The output of the script with these variables, and no others of JAX."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))
    }
    command = [sys.executable, "-c", OTT]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=kept | variables
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_variable_that_jax_fails_with_is_named():
    said = ott(JAX_PLATFORMS="cuda")
    assert "JAX_PLATFORMS=cuda" in said
    assert "sinkhorn" in said
    assert "\n" not in said


def test_the_precision_that_jax_is_set_to_changes_no_pairing():
    assert ott(JAX_ENABLE_X64="1") == ott()

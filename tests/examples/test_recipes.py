"""Training loops of other libraries with PairedLoader, where these libraries are installed."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.filterwarnings("ignore")  # of the libraries: their own imports, and few workers
@pytest.mark.parametrize(
    ("module", "example"),
    [("pytorch_lightning", "lightning_loop.py"), ("accelerate", "accelerate_loop.py")],
)
def test_optimal_pairs_have_a_smaller_loss_in_the_loop_of(module, example):
    pytest.importorskip(module)
    losses = runpy.run_path(str(EXAMPLES / example))["main"](["--epochs", "4"])
    # The velocities that meet in a point differ less.
    assert losses["lapjv"] < 0.5 * losses["random"]


@pytest.mark.filterwarnings("ignore")  # of torchcfm's imports
def test_the_loop_of_torchcfm_has_the_same_loss_with_either_pairing(capsys):
    pytest.importorskip("torchcfm")
    main = runpy.run_path(str(EXAMPLES / "torchcfm_loop.py"))["main"]
    losses = main(["--steps", "60", "--seeds", "2", "--batch", "128"])
    ours, theirs = (sum(losses[name]) / 2 for name in ("PairedLoader", "torchcfm"))
    assert ours == pytest.approx(theirs, rel=0.3)
    assert len(capsys.readouterr().out.splitlines()) == 3

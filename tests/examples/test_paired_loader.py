import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples/paired_loader.py"


def test_optimal_pairs_have_a_smaller_loss_and_better_single_steps(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    results = main(["--steps", "200"])
    random, lapjv = results["random"], results["lapjv"]
    # The velocities that meet in a point differ less: the loss, their variance, is far smaller.
    assert lapjv.loss < 0.7 * random.loss
    assert lapjv.errors[1] < 0.7 * random.errors[1]
    # The table has a row for each.
    assert len(capsys.readouterr().out.splitlines()) == 3

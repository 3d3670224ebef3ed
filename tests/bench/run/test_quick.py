"""The smoke budget."""

import pytest

from bench.check import check
from bench.config import load_preset, presets
from bench.run import parse
from bench.run.quick import quick


@pytest.mark.parametrize("preset", presets())
def test_every_preset_has_a_smoke_budget_of_its_own(preset):
    full = check(load_preset(preset))
    small = check(quick(load_preset(preset)))
    assert small.run_id != full.run_id
    assert small.training.images <= 640
    assert small.training.pool <= 256
    assert small.network == full.network
    assert small.evaluation.samples <= 100
    assert set(small.evaluation.nfe) <= {5, 9} or len(small.evaluation.nfe) == 1
    assert not small.evaluation.searched_schedules
    # Nothing of a run may grow by it, whatever its preset has.
    for name in ("images", "batch", "pool", "lr_ramp", "ema_halflife", "select_every"):
        assert getattr(small.training, name) <= getattr(full.training, name)


def test_options_of_the_command_line_have_the_last_word():
    command = parse(["--quick", "--data", "moons", "--images", "96", "--nfe", "7"])
    assert command.quick
    assert (command.training.images, command.evaluation.nfe) == (96, (7,))
    assert command.training.batch == 32
    assert {run.training.images for run in command.configurations()} == {96}

"""Times of flow matching."""

import math

import pytest
import torch

from models.schedules.contract import ends, flow_time
from models.schedules.flow import Flow
from models.schedules.karras import Karras


def test_uniform_times_run_from_noise_to_image():
    assert Flow().times(4, 0.002, math.inf).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert Flow().times(1, 0.002, math.inf).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("shift", [0.2, 3.0, 10.0])
def test_a_shift_multiplies_the_noise_levels(shift):
    uniform = Flow().times(7, 0, math.inf)[1:-1]
    shifted = Flow(shift=shift).times(7, 0, math.inf)
    assert (shifted[0], shifted[-1]) == (1, 0)
    t = shifted[1:-1]
    torch.testing.assert_close(t / (1 - t), shift * uniform / (1 - uniform), rtol=1e-12, atol=0)


def test_a_lower_start_has_all_steps_below_it():
    times = Flow().times(4, 0.002, 1.0)
    assert times.tolist() == [0.5, 0.375, 0.25, 0.125, 0.0]


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_shifts_that_make_no_schedule_are_refused(shift):
    with pytest.raises(ValueError, match="above 0"):
        Flow(shift=shift)


def test_specs_name_the_parameter():
    assert (Flow().spec, Flow(shift=0.5).spec) == ("flow:shift=1", "flow:shift=0.5")
    assert (Karras().spec, Karras(rho=2.5).spec) == ("karras:rho=7", "karras:rho=2.5")
    assert (Flow(shift=3.0).parameter, Karras().parameter) == (3.0, 7.0)


def test_ends_for_a_sampler_that_chooses_its_steps():
    assert ends(Karras(), 0.002, 80.0).tolist() == [80.0, 0.002, 0.0]
    assert ends(Flow(), 1.0, math.inf).tolist() == [1.0, 0.5, 0.0]
    assert flow_time(3.0) == 0.75

"""Values of a metric are recorded only in the form, and under the names, that it promises."""

import numpy as np
import pytest
import torch

from bench.evaluation._values import as_rows, by_name, by_pair
from bench.metrics.contract import DenoiserMetric, SampleMetric, SolverMetric
from bench.record import Measurement, UserError
from bench.record.infos import Info

INFOS = (Info("m2", "A second moment."), Info("m4", "A fourth moment."))
Samples = type("Samples", (SampleMetric,), {"infos": INFOS})
Solver = type("Solver", (SolverMetric,), {"infos": INFOS})
OfDenoiser = type("OfDenoiser", (DenoiserMetric,), {"infos": INFOS})
COMPUTE = (
    "my_flow.m2: compute() must return {(name, split): number} with the names of infos (m2, m4)"
)
VALUES = "my_flow.m2: values() must return {name: number} with the names of infos (m2, m4)"
ROWS = "my_flow.m2: rows() must give each Measurement with the names of infos (m2, m4)"


@pytest.mark.parametrize("number", [2, 2.0, torch.tensor(2.0), torch.tensor([2]), np.float32(2)])
def test_every_single_number_is_a_plain_one(number):
    ((name, split, value),) = by_pair(
        "my_flow.m2", Samples, "compute", "split", {("m2", "test"): number}
    )
    assert (name, split, value) == ("m2", "test", 2.0)
    assert type(value) is float
    assert list(by_name("my_flow.m2", Solver, "values", {"m4": number})) == [("m4", 2.0)]
    (row,) = as_rows("my_flow.m2", OfDenoiser, [Measurement("m2", number, sigma=1.0)])
    assert row == Measurement("m2", 2.0, sigma=1.0)
    assert type(row.value) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # Two letters unpack into a name and a split.
        ({"m2": 1.0}, COMPUTE + ", got 'm2'"),
        ({("m3", "test"): 1.0}, COMPUTE + ", got ('m3', 'test')"),
        # A name of another metric of this repository.
        ({("kid", "test"): 1.0}, COMPUTE + ", got ('kid', 'test')"),
        # The name of the features is appended afterwards.
        ({("m2_pixels", "test"): 1.0}, COMPUTE + ", got ('m2_pixels', 'test')"),
        ({("m2", "test", 1): 1.0}, COMPUTE + ", got ('m2', 'test', 1)"),
        (
            {("m2", "valid"): 1.0},
            COMPUTE + " and a split of train, test or None, got ('m2', 'valid')",
        ),
        (1.0, COMPUTE + ", got float"),
        (None, COMPUTE + ", got NoneType"),
        ({("m2", None): torch.ones(2)}, COMPUTE + ", got Tensor for ('m2', None)"),
        ({("m2", None): None}, COMPUTE + ", got NoneType for ('m2', None)"),
    ],
)
def test_other_values_of_samples_are_refused(values, message):
    with pytest.raises(UserError) as caught:
        list(by_pair("my_flow.m2", Samples, "compute", "split", values))
    assert str(caught.value) == message


def test_a_profile_may_have_any_noise_level():
    values = {("m2", 0.5): 1.0, ("m2", None): 2.0}
    triples = list(by_pair("my_flow.m2", Samples, "values", "sigma", values))
    assert triples == [("m2", 0.5, 1.0), ("m2", None, 2.0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({("m2", "test"): 1.0}, VALUES + ", got ('m2', 'test')"),
        ({"truncation_error": 1.0}, VALUES + ", got 'truncation_error'"),
        ([1.0], VALUES + ", got list"),
    ],
)
def test_other_values_of_a_solver_are_refused(values, message):
    with pytest.raises(UserError) as caught:
        list(by_name("my_flow.m2", Solver, "values", values))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Measurement("validation_loss", 1.0), ROWS + ", got 'validation_loss'"),
        (("m2", 1.0), ROWS + ", got tuple"),
        (Measurement("m2", torch.ones(2)), ROWS + ", got Tensor for 'm2'"),
    ],
)
def test_other_rows_of_a_denoiser_are_refused(row, message):
    with pytest.raises(UserError) as caught:
        list(as_rows("my_flow.m2", OfDenoiser, [row]))
    assert str(caught.value) == message

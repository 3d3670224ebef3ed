import math

import pytest

from bench.record import Measurement
from bench.record.best_schedule import as_of_today, choose, parameter
from bench.record.specs import karras


def cell(schedule, value, rho=None, nfe=5, n=50, split="train"):
    return Measurement(
        "grid_fd_x", value, nfe, rho, "heun", "gaussian", "none", split, n, schedule=schedule
    )


def test_the_spec_of_karras_schedule_is_the_same_for_equal_numbers():
    assert karras(7) == karras(7.0) == "karras:rho=7"
    assert karras(0.1 + 0.2) == "karras:rho=0.30000000000000004"
    assert parameter(karras(2.5)) == 2.5


def test_the_parameter_is_the_first_number():
    specs = ["flow:shift=3", "my_project.cosine", "my_project.power:kind=soft,power=1.5"]
    assert [parameter(spec) for spec in specs] == [3.0, 0.0, 1.5]


def test_schedules_of_all_families_compete():
    grid = [cell("karras:rho=7", 3.0, rho=7.0), cell("flow:shift=3", 2.0)]
    grid += [cell("flow:shift=1", math.nan), cell("flow:shift=1", 1.0, split="test")]
    grid += [cell("karras:rho=7", 1.0, rho=7.0, nfe=9), cell("flow:shift=1", 2.0, nfe=9)]
    found = [(row.metric, row.nfe, row.value, row.rho, row.schedule) for row in choose(grid)]
    assert found == [
        ("best_schedule_x", 5, 3.0, None, "flow:shift=3"),
        ("best_schedule_x", 9, 7.0, 7.0, "karras:rho=7"),
    ]


def test_of_equal_values_the_smallest_parameter_is_chosen_in_any_order():
    grid = [cell("karras:rho=7", 1.0, rho=7.0), cell("flow:shift=3", 1.0)]
    grid.append(cell("my_project.cosine", 1.0))
    for rows in (grid, grid[::-1]):
        assert [row.schedule for row in choose(rows)] == ["my_project.cosine"]
        assert [row.value for row in choose(rows)] == [0.0]
    assert [row.schedule for row in choose(grid[:2])] == ["flow:shift=3"]


def test_the_largest_number_of_images_counts():
    grid = [cell("flow:shift=1", 1.0), cell("flow:shift=3", 2.0, n=200)]
    assert [(row.schedule, row.n) for row in choose(grid)] == [("flow:shift=3", 200)]


def test_rows_of_earlier_versions_mean_karras_schedule():
    assert [row.schedule for row in choose([cell(None, 1.0, rho=7.0)])] == ["karras:rho=7"]
    earlier = Measurement("best_rho_x", 16.0, nfe=5, sampler="heun", n=50)
    today = as_of_today(earlier)
    assert (today.metric, today.value, today.rho) == ("best_schedule_x", 16.0, 16.0)
    assert (today.schedule, today.nfe, today.n) == ("karras:rho=16", 5, 50)


@pytest.mark.parametrize(
    "row",
    [
        Measurement("coupling_ms", 3.0),
        Measurement("fd_x", 1.0, nfe=5, schedule="flow:shift=1"),
        Measurement("fd_x", 1.0, nfe=5, sampler="dopri5:tolerance=0.01"),
        Measurement("best_schedule_x", 3.0, nfe=5, schedule="flow:shift=3"),
    ],
)
def test_other_rows_are_left_as_they_are(row):
    assert as_of_today(row) == row

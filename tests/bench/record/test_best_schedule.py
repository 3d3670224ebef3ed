import math
import random
from dataclasses import replace

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


def run(values, errors=0.1, nfe=5, n=50):
    """A first pass, rho to distance; 7 is the fixed one."""
    rows = []
    for rho, value in values.items():
        row = cell(karras(rho), value, rho=float(rho), nfe=nfe, n=n)
        error = 0.0 if rho == 7 else errors
        rows += [row, replace(row, metric="grid_gain_se_x", value=error)]
    return rows


def best(*runs):
    return [row.value for row in choose(*runs)]


def test_the_fixed_schedule_stays_unless_the_gain_is_beyond_its_noise():
    """ln(1 / 0.85) is 0.163, and ln(1 / 0.81) is 0.211."""
    assert best(run({3: 0.85, 7: 1.0, 16: 1.2}, 0.1)) == [7.0]
    assert best(run({3: 0.81, 7: 1.0, 16: 1.2}, 0.1)) == [3.0]
    assert best(run({3: 0.85, 7: 1.0, 16: 0.9}, 0.05)) == [3.0]
    # A lower distance that is noise does not hide a clear gain.
    noisy = [replace(row, value=0.5) if row.rho == 3 and "se" in row.metric else row
             for row in run({3: 0.5, 7: 1.0, 16: 0.9}, 0.02)]  # fmt: skip
    assert best(noisy) == [16.0]


def test_seeds_choose_by_their_mean():
    one = run({3: 0.70, 7: 1.0, 16: 0.80}, 0.01)
    two = run({3: 1.10, 7: 1.0, 16: 0.82}, 0.01)
    assert (best(one), best(two)) == ([3.0], [16.0])
    assert best(one, two) == best(two, one) == [16.0]
    # A gain of 20 and of 1 %: the spread of the seeds is noise too.
    assert best(run({3: 0.8, 7: 1.0}, 0.001), run({3: 0.99, 7: 1.0}, 0.001)) == [7.0]
    # Two gains that are unclear alone, 15 % each, are clear together: 0.163 against 0.2 / sqrt 2.
    alike = run({3: 0.85, 7: 1.0}, 0.1)
    assert (best(alike), best(alike, alike)) == ([7.0], [3.0])


def test_the_noise_of_a_mean_over_seeds_is_that_of_a_simulation():
    """Seeds differ in their true gain, and each is measured with noise of the latents."""
    generator = random.Random(0)
    left = 0
    for _ in range(400):
        runs = []
        for _ in range(4):
            true = generator.gauss(0, 0.1)
            runs.append(run({3: math.exp(true + generator.gauss(0, 0.1)), 7: 1.0}, 0.1))
        left += best(*runs) == [3.0]
    # One side of a t distribution with 3 degrees of freedom beyond 2 standard errors: 7 %.
    assert 0.02 < left / 400 < 0.08


def test_only_what_all_seeds_tried_is_compared_and_each_nfe_by_those_that_have_it():
    one = [*run({3: 0.5, 7: 1.0, 16: 0.8}), *run({3: 0.5, 7: 1.0}, nfe=9)]
    assert best(one, run({7: 1.0, 16: 0.7})) == [16.0, 3.0]


def test_a_fixed_schedule_that_diverges_is_left():
    assert best(run({3: 5.0, 7: math.nan, 16: 4.0})) == [16.0]
    assert best(run({3: math.nan, 7: 1.0})) == [7.0]
    assert best(run({3: math.nan, 7: math.nan})) == []
    assert best(run({3: 5.0, 7: math.nan, 16: 4.0}), run({3: 1.0, 7: 9.0, 16: math.nan})) == [3.0]


def test_a_search_with_known_noise_counts_before_one_of_an_earlier_version():
    earlier = [cell(karras(rho), rho, rho=float(rho), n=900) for rho in (3, 7, 16)]
    assert best(earlier) == [3.0]
    assert best([*earlier, *run({3: 1.0, 7: 1.0, 16: 0.5})]) == [16.0]
    assert choose([*earlier, *run({3: 1.0, 7: 1.0, 16: 0.5})])[0].n == 50


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

"""The search for the best schedule: what is tried beyond its grid."""

import dataclasses

import pytest

from bench.config import EvaluationConfig
from bench.evaluation.plan import beyond
from bench.record import Measurement
from bench.record.best_schedule import parameter
from bench.record.specs import flow, karras

RHOS = (3.0, 7.0, 81.0)


def asked(**changes):
    return dataclasses.replace(EvaluationConfig(), rhos=RHOS, nfe=(5, 9), **changes)


def best(spec, nfe=5):
    return Measurement("best_schedule_x", parameter(spec), nfe, schedule=spec)


def cells(*specs, nfe=5):
    return [(nfe, spec) for spec in specs]


GRID = [karras(rho) for rho in RHOS]


def test_the_search_goes_on_beyond_the_ends_at_the_nfe_concerned():
    tried = [*cells(*GRID), *cells(*GRID, nfe=9)]
    assert beyond(asked(), [best(karras(81)), best(karras(7), 9)], tried) == [(5, karras(138.0))]
    assert beyond(asked(), [best(karras(7)), best(karras(3), 9)], tried) == [(9, karras(1.76))]
    assert beyond(asked(), [best(karras(7)), best(karras(7), 9)], tried) == []
    # An NFE that is not asked for is left alone.
    assert beyond(asked(), [best(karras(81), 13)], cells(*GRID, nfe=13)) == []


@pytest.mark.parametrize("end", [3, 81])
def test_it_takes_three_steps_at_most(end):
    tried = cells(*GRID)
    found = []
    spec = karras(end)
    while more := beyond(asked(), [best(spec)], tried):
        ((nfe, spec),) = more
        assert nfe == 5
        found.append(parameter(spec))
        tried += more
    expected = {3: [1.76, 1.04, 0.612], 81: [138.0, 235.0, 400.0]}
    assert found == expected[end]
    # Another schedule is best after the first step.
    assert beyond(asked(), [best(karras(end))], cells(*GRID, karras(found[0]))) == []


def test_shifts_go_on_too_and_other_schedules_have_no_ends():
    both = asked(schedule=("flow", "my_project.cosine"), shifts=(1.0, 8.0))
    tried = cells(flow(1.0), flow(8.0), "my_project.cosine")
    assert beyond(both, [best(flow(8.0))], tried) == [(5, flow(13.6))]
    assert beyond(both, [best("my_project.cosine")], tried) == []


def test_where_one_is_asked_for_nothing_is_searched():
    one = dataclasses.replace(asked(), rhos=(7.0,))
    assert beyond(one, [best(karras(7))], cells(karras(7))) == []

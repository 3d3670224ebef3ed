import itertools

import pytest

from reports.figures.gain import Point, front


def beaten(point, points):
    return any(
        (other.ms <= point.ms and other.gain > point.gain)
        or (other.ms < point.ms and other.gain >= point.gain)
        for other in points
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_front_holds_exactly_what_no_other_solver_beats(order):
    points = [Point("a", 1, 0.2), Point("b", 2, 0.9), Point("c", 3, 0.5), Point("d", 4, 1.0)]
    shuffled = [points[place] for place in order]
    assert front(shuffled) == [p for p in points if not beaten(p, points)]


def test_of_equal_times_the_higher_gain_is_on_the_front():
    assert front([Point("a", 1, 0.2), Point("b", 1, 0.4)]) == [Point("b", 1, 0.4)]

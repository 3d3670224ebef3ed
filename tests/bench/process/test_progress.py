"""Progress in a log, and the time that is left for several runs."""

import pytest

from bench.process.outlook import Minute, Outlook, duration
from bench.process.progress import Progress, among


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_what_is_left_follows_the_runs_that_have_ended(clock):
    outlook = Outlook([100, 100, 50], at_once=1, clock=clock)
    assert outlook.left == 250
    outlook.began(0)
    clock.now = 30
    assert outlook.left == 220
    # It takes twice as long as expected, so the others will too.
    clock.now = 200
    outlook.ended(0)
    assert outlook.left == 300
    outlook.began(1)
    clock.now = 250
    assert outlook.left == 250
    assert str(outlook) == "1 of 3 runs done, about 4 min left"
    # One that takes longer than it should is about to end.
    clock.now = 900
    assert outlook.left == 100


def test_several_at_once_share_what_is_left_but_none_is_cut_in_parts(clock):
    assert Outlook([60, 60, 60, 60], at_once=2, clock=clock).left == 120
    assert Outlook([300, 60], at_once=2, clock=clock).left == 300


def test_without_expectations_runs_are_counted_only():
    outlook = Outlook([0, 0])
    assert outlook.left is None
    assert str(outlook) == "0 of 2 runs done"
    assert str(Outlook([5])) == ""


def test_a_minute_is_over_once_a_minute(clock):
    minute = Minute(clock)
    seen = []
    for clock.now in (1, 59, 61, 62, 130):
        seen.append(minute.is_over())
    assert seen == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7, "7 s"), (119, "2 min"), (3600, "60 min"), (9000, "2.5 h"), (4e5, "5 days")],
)
def test_durations_have_two_digits_or_so(seconds, words):
    assert duration(seconds) == words


def test_a_log_gets_a_line_with_progress_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr("bench.process.outlook.LINE_S", 0.0)
    with among(lambda: "2 of 6 runs done"), Progress("train lapjv", 1000, "img", "images") as bar:
        bar.note("loss 0.5")
        bar.update(250)
        text = bar.line(10)
    assert text == (
        "train lapjv: 250 of 1,000 images (25%), 25 per second, 30 s left, loss 0.5,"
        " all: 2 of 6 runs done"
    )
    printed = capsys.readouterr()
    assert printed.out.startswith("train lapjv: 250 of 1,000 images (25%)")
    assert printed.err == ""


def test_a_progress_that_is_not_to_be_shown_prints_nothing(monkeypatch, capsys):
    monkeypatch.setattr("bench.process.outlook.LINE_S", 0.0)
    with Progress("train", 10, "img", "images", shown=False) as bar:
        bar.update(5)
    assert capsys.readouterr() == ("", "")

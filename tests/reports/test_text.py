import math

import pytest

from reports.text import change, factors, join, nfe_range, number, percent, setting, short, unbroken


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.1, "0.100"),
        (0.012345, "0.0123"),
        (12.3456, "12.3"),
        (128.4, "128"),
        (12345.6, "12,346"),
        (-3.5, "-3.50"),
        (1.5e-7, "1.50e-07"),
        (math.nan, "not finite"),
        (math.inf, "∞"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_settings_name_their_value_and_cut_hashes():
    assert setting("pool", 256) == "pool 256"
    assert setting("schedule", "karras:rho=7") == "rho 7"
    assert setting("pool", None) == "without pool"
    assert setting("evaluation.decoder", "0a" * 32) == "evaluation.decoder 0a0a0a0a0a"


def test_shares_and_changes():
    assert [percent(x) for x in (0, 0.04, 0.384, 1.2)] == ["0 %", "4.0 %", "38 %", "120 %"]
    assert change(0.62) == "−38 %"
    assert change(1.04) == "+4.0 %"
    assert change(0.62, 0.55, 0.7) == "−38 % [−45, −30]"
    assert change(0.99, 0.985, 1.004) == "−1.0 % [−1.5, +0.4]"
    assert change(1.04, 0.95, 1.2) == "+4 % [−5, +20]"
    assert change(25) == "+2,400 %"
    assert [short(x) for x in (0, 0.1234, 1.77, 123.4)] == ["0", "0.12", "1.8", "123"]


def test_lists():
    assert [join(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_neighbours_on_the_grid_are_drawn_together():
    grid = [3, 5, 7, 13, 35]
    assert nfe_range([3, 5, 7], grid) == "3 to 7"
    assert nfe_range([3, 5], grid) == "3 and 5"
    assert nfe_range([3, 7, 13, 35], grid) == "3 and 7 to 35"
    assert nfe_range([], grid) == ""


def test_options_stay_on_one_line_and_names_stay_text():
    line = unbroken("repeat <b> with --seeds 3, or --mixed")
    assert line == (
        'repeat &lt;b&gt; with <span class="option">--seeds 3</span>, or'
        ' <span class="option">--mixed</span>'
    )


@pytest.mark.parametrize(
    ("ratio", "low", "high", "said"),
    [
        (0.62, 0.55, 0.7, "−38 % [−45, −30]"),
        (0.76, 0.582, 0.9987, "−24.0 % [−41.8, −0.1]"),
        (1.2, 1.0004, 1.4, "+20.00 % [+0.04, +40.00]"),
        (1.02, 0.9999, 1.04, "+2.00 % [−0.01, +4.00]"),
        (1.0, 1.0, 1.0, "+0.0 % [+0.0, +0.0]"),
        (1.0, 1 - 1e-9, 1.3, "+0.00 % [−0.00, +30.00]"),
    ],
)
def test_no_end_of_an_interval_is_rounded_to_no_change(ratio, low, high, said):
    assert change(ratio, low, high) == said


def test_factors_of_an_interval():
    assert factors(0.57, 0.63) == "[0.57, 0.63]"
    assert factors(0.57, 0.998) == "[0.570, 0.998]"
    assert factors(1.0, 1.2) == "[1.00, 1.20]"

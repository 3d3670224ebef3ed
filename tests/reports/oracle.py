"""The statistics of reports by scipy, and the numbers on a page as they were rounded."""

import pytest
from scipy import stats


def interval(own, random):
    """Ends of the 95 % interval of the paired t test, as ratios to the mean of random.

    ``own`` and ``random``: series by seed; the seeds that both have count.
    """
    own, random = own.align(random, join="inner")
    gaps = own - random
    # Not stats.ttest_rel, which warns of values that are nearly equal.
    low, high = gaps.mean() + stats.t.ppf([0.025, 0.975], len(gaps) - 1) * gaps.sem()
    return 1 + low / random.mean(), 1 + high / random.mean()


def side(own, random):
    """``lower`` or ``higher`` if the interval excludes equality."""
    low, high = interval(own, random)
    if high < 1:
        return "lower"
    return "higher" if low > 1 else "unclear"


def shown(text):
    """A number as written, and how far rounding to the digits shown may move it."""
    text = text.strip("±× ").replace(",", "").replace("−", "-")
    scale = 0.01 if text.endswith("%") else 1.0
    digits = text.strip(" %")
    return float(digits) * scale, 0.5001 * scale * 10.0 ** -len(digits.partition(".")[2])


def near(text, value):
    """True if the number written is the value, rounded."""
    written, rounding = shown(text)
    assert written == pytest.approx(value, abs=rounding, rel=1e-9), text
    return True

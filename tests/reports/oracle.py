"""The statistics of reports by scipy, and the numbers on a page as they were rounded."""

import math

import numpy as np
import pytest
from scipy import stats


def compared(own, random):
    """Mean log ratio, its error and degrees of freedom, from series by seed.

    Half way between the paired estimate and that against all seeds of random.
    """
    seeds = own.index.intersection(random.index)
    extra = np.log(random.drop(seeds))
    own, every = np.log(own[seeds]), np.log(random)
    paired = (own - every[seeds]).mean()
    weight = 1 - len(extra) / len(every) / 2
    error = (own - weight * every[seeds]).sem() ** 2
    if len(extra):
        error += (1 - weight) ** 2 * every.var() / len(extra)
    return (paired + own.mean() - every.mean()) / 2, error**0.5, len(seeds) - 1


def ratio(own, random):
    """Of geometric means."""
    return math.exp(compared(own, random)[0])


def interval(own, random):
    """Ends of the 95 % interval of the ratio."""
    mean, error, df = compared(own, random)
    return np.exp(mean + stats.t.ppf([0.025, 0.975], df) * error)


def p_value(own, random):
    """Two-sided, of no difference."""
    mean, error, df = compared(own, random)
    return 2 * stats.t.sf(abs(mean) / error, df)


def side(own, random, level=0.05):
    """``lower`` or ``higher`` if the p value is below the level."""
    if p_value(own, random) >= level:
        return "unclear"
    return "lower" if ratio(own, random) < 1 else "higher"


def holm(p):
    """The keys whose p values are claimed together at 5 %: up from the least, each below its own
    bound.
    """
    claimed = set()
    for rank, key in enumerate(sorted(p, key=p.get)):
        if p[key] * (len(p) - rank) >= 0.05:
            break
        claimed.add(key)
    return claimed


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

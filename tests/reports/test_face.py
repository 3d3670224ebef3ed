"""The functions of the package itself: numbers and claims of a study in two lines."""

import pandas as pd
import pytest

import reports
from reports.tables.claims import claims
from reports.tables.tidy import read_runs
from tests.reports.conftest import make_run


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_study_is_loaded_and_judged(tmp_path, seeds):
    for seed in range(seeds):
        for arm in ("random", "lapjv"):
            # Several budgets are several comparisons.
            for images in (100_000, 200_000):
                make_run(tmp_path, arm, seed, images=images)
    table = reports.load(tmp_path)
    pd.testing.assert_frame_equal(table, read_runs(tmp_path))
    found = reports.claims(table)
    pd.testing.assert_frame_equal(found, claims(table))
    assert found["comparison"].nunique() == 2
    assert set(found["coupling"]) == {"lapjv"}

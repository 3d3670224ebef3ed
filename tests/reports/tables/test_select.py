import pytest

from bench.record import Measurement
from reports.sections._listing import listing
from reports.tables.groups import groups
from reports.tables.select import floors, ordinary
from reports.tables.statistics import values_by
from reports.tables.tidy import read_runs

PLACE = {"nfe": 9, "rho": 7.0, "sampler": "heun"}


def test_what_is_guided_or_begins_elsewhere_is_not_ordinary(
    tmp_path, make, guided_rows, started_rows
):
    found = {m.key: m for m in [*guided_rows("random", 0), *started_rows("random", 0)]}
    make(tmp_path, found=[*found.values()])
    (group,) = groups(read_runs(tmp_path))
    rows = ordinary(group.rows, group.metrics)
    assert set(rows["guidance"].dropna()) == {"none"}
    assert set(rows["start"].dropna()) == {"gaussian"}
    shown = group.plain.panels
    assert {p.metric for p in shown} == {
        "fd_classifier",
        "copy_rate_classifier",
        "mode_mixture_0.2_classifier",
    }
    assert all(p.settings == "" for p in shown)
    assert floors(group.rows, group.metrics) == {"mode_mixture_0.2_classifier": pytest.approx(0.02)}
    assert group.metrics.distances(group.rows["metric"]) == ["fd_classifier", "fd_pixels"]


def test_of_two_estimates_that_of_more_images_counts(tmp_path, make):
    place = PLACE | {"split": "test", "guidance": "dg-lapjv:weight=1"}
    found = [
        Measurement("fd_pixels", value, n=n, **place) for n, value in ((5000, 1.0), (200, 9.0))
    ]
    make(tmp_path, seed=4, found=found)
    rows = read_runs(tmp_path)
    (group,) = groups(rows)
    assert values_by(rows, "metric", "start") == {("fd_pixels", None): {"random": {4: 1.0}}}
    table = listing(rows, ("guidance", "rho"), group.metrics)
    assert table.columns == [("fd_pixels", "test")]
    (row,) = table.rows
    (cell,) = row.cells
    assert (row.coupling, row.place, cell.mean) == ("random", ("dg-lapjv:weight=1", 7.0), 1.0)

import pytest

from bench.record import Measurement
from reports.build import build
from reports.figures.charts import drawing
from reports.figures.style import looks
from reports.overview.pools import CUT, pools
from reports.overview.warnings import warnings
from reports.sections import pareto
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import read_runs
from tests.reports.pages import code

PLACE = {
    "rho": 7.0,
    "sampler": "heun",
    "start": "gaussian",
    "guidance": "none",
    "split": "test",
    "n": 2000,
}


def run_of(values, seconds=100.0, **cost):
    found = [
        Measurement("train_seconds", seconds),
        *(Measurement(f"coupling_{name}", v) for name, v in cost.items()),
    ]
    return found + [
        Measurement("fd_classifier", value, nfe=nfe, **PLACE) for nfe, value in values.items()
    ]


def test_quality_against_what_the_coupling_adds(tmp_path, make):
    for seed, seconds in enumerate((100.0, 300.0)):  # a machine that was busy with the second seed
        curves = [{5: 9.0, 12: level, 35: 1.0} for level in (4.0, 5.0, 3.0)]
        make(tmp_path, "random", seed, found=run_of(curves[0], seconds, share=0.0, wait_share=0.0))
        make(tmp_path, "lapjv", seed, found=run_of(curves[1], seconds, share=0.2, wait_share=0.2))
        make(
            tmp_path,
            "semidiscrete",
            seed,
            found=run_of(curves[2], seconds, share=0.1, wait_share=0.0, fit_seconds=0.2 * seconds),
        )
    make(tmp_path, "knn", found=run_of({12: 1.0}))  # that does not say what it cost
    (group,) = groups(read_runs(tmp_path))
    found = pareto.build(group)
    assert code(found.title) == "fd_classifier, test, NFE 12"
    assert {p.coupling: (p.overhead.mean, p.distance.mean, p.front) for p in found.points} == {
        "random": (0.0, 4.0, True),
        "lapjv": (pytest.approx(0.25), 5.0, False),
        "semidiscrete": (pytest.approx(0.3), 3.0, True),
    }


def test_one_arm_or_no_random_arm_is_no_comparison(tmp_path, make):
    make(tmp_path, "lapjv", found=run_of({5: 9.0}))
    (group,) = groups(read_runs(tmp_path))
    assert pareto.build(group) is None


def test_pools_side_by_side(tmp_path, make):
    for pool, cost in ((64, 0.9), (256, 0.8), (1024, 0.6)):
        for arm, times in (("random", 1.0), ("lapjv", cost)):
            values = {
                "transport_cost": 50 * times,
                "transport_cost_independent": 50.0,
                "curvature_fm": times / 10,
            }
            make(
                tmp_path,
                arm,
                pool=pool,
                images=1024 * 64,
                found=[Measurement(m, v) for m, v in values.items()],
            )
    (found,) = pools(read_runs(tmp_path))
    assert (found.title, found.pools) == ("digits", [64, 256, 1024])
    assert {p: c.mean for p, c in found.measured[CUT]["lapjv"].items()} == pytest.approx(
        {64: 0.1, 256: 0.2, 1024: 0.4}
    )
    assert list(found.measured["curvature_fm"]) == ["random", "lapjv"]
    assert [chart.title for chart in found.charts] == [
        "Transport cost saved",
        "Path curvature (curvature_fm)",
    ]


def test_what_was_not_measured_has_no_marker(tmp_path, make):
    """Random pairing of one pool is dashed across all, without a marker where no run was."""
    make(tmp_path, "random", pool=256, images=1024 * 64, found=[Measurement("curvature_fm", 0.1)])
    for pool in (64, 256, 1024):
        make(
            tmp_path,
            "lapjv",
            pool=pool,
            images=1024 * 64,
            found=[Measurement("curvature_fm", 0.05)],
        )
    (found,) = pools(read_runs(tmp_path))
    figure = drawing(found.charts, found.look)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    marked = [len(line.get_xdata()) for line in drawn if line.get_marker() not in ("None", "")]
    assert marked == [3]  # the three runs of lapjv
    (level,) = [line for line in drawn if line.get_linestyle() == "--"]
    assert set(level.get_ydata()) == {0.1}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["lapjv", "random, pool 256"]
    assert (
        "Dashed: random pairing, which was measured at one pool size"
        in build(tmp_path, mixed=True).html.read_text()
    )


def test_the_axes_of_quality_against_cost_are_named_and_say_that_one_is_logarithmic(tmp_path, make):
    make(tmp_path, "random", found=run_of({13: 8.1}, share=0.0, wait_share=0.0))
    make(tmp_path, "lapjv", found=run_of({13: 3.85}, share=0.2, wait_share=0.0))
    (group,) = groups(read_runs(tmp_path))
    (axes,) = drawing([pareto.build(group).chart], looks(["random", "lapjv"])).axes
    assert axes.get_yscale() == "log"
    label = "Fréchet distance, classifier features (fd_classifier) (log)"
    assert axes.get_ylabel().replace("\n", " ") == label
    assert axes.get_xlabel() == "coupling overhead (fraction of training time)"
    low, high = axes.get_ylim()
    assert len([tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]) >= 4


def test_pools_that_are_not_comparable_are_marked_and_stay_together(tmp_path, make):
    for pool in (64, 128):
        make(tmp_path, "lapjv", pool=pool, found=[Measurement("curvature_fm", 1.0)])
    table = read_runs(tmp_path)
    (found,) = pools(
        table.assign(
            mixed=table["pool"]
            .eq(64)
            .map({True: "processes", False: None})
            .astype("string[python]")
        )
    )
    assert (found.pools, found.title) == ([64, 128], "digits, NOT COMPARABLE: processes differ")


def test_one_pool_is_no_scaling(study):
    assert pools(read_runs(study)) == []


def test_random_pairing_of_one_pool_is_a_level_line(tmp_path, make):
    found = [Measurement("curvature_fm", 0.1)]
    make(tmp_path, "random", pool=256, images=1024 * 64, found=found)
    for pool in (64, 256, 1024):
        make(tmp_path, "lapjv", pool=pool, images=1024 * 64, found=found)
    table = read_runs(tmp_path)
    ((chart,),) = [one.charts for one in pools(table)]
    assert {line.name: list(line.points) for line in chart.lines} == {"lapjv": [64, 256, 1024]}
    assert chart.levels == {"random, pool 256": 0.1}
    said = [
        line
        for line in warnings(groups(table), read(tmp_path)[0])
        if "random was trained at pool 256 only" in line
    ]
    assert len(said) == 1
    assert "pool 64" in said[0]
    assert "pool 1024" in said[0]

"""Flow matching from end to end: a run trained and measured by the command's own functions."""

import json
import math
from collections import Counter

import pytest

from bench.arm import run_arm
from bench.check import make
from bench.config import Execution
from bench.evaluate import main
from bench.record import RunFolder

CPU = Execution(device="cpu")
# All samplers, a start, and both schedules searched.
FLOW = {
    "objective": "flow:path_sigma=0.05",
    "samplers": ["heun", "euler", "dpmpp-2m", "dopri5:tolerance=0.01"],
    "start": ["truncated:sigma=1"],
    "start_nfe": [3],
    "schedule": ["flow", "karras"],
    "shifts": [3],
    "rhos": [7],
    "metrics": ["w2", "kid", "truncation", "grid", "paths"],
    "features": ["pixels"],
    "data": "moons",
    "arch": "mlp",
}


@pytest.fixture(scope="module")
def overrides():
    from tests.bench.conftest import TINY

    return {**TINY, **FLOW, "coupling": "lapjv"}


@pytest.fixture(scope="module")
def folder(overrides, tmp_path_factory) -> RunFolder:
    return run_arm(make(None, overrides), tmp_path_factory.mktemp("runs"), CPU, progress=False)


def test_rows_name_their_schedules(folder):
    rows = [row for row in folder.measurements() if row.metric == "w2"]
    plain = [row for row in rows if row.start == "gaussian" and row.guidance == "none"]
    by_sampler = {}
    for row in plain:
        by_sampler.setdefault(row.sampler, set()).add((row.nfe, row.rho, row.schedule))
    fixed = {(3, None, "flow:shift=1"), (5, None, "flow:shift=1")}
    assert by_sampler["euler"] == by_sampler["dpmpp-2m"] == fixed
    assert by_sampler["heun"] >= fixed
    adaptive = by_sampler["dopri5:tolerance=0.01"]
    assert {(rho, schedule) for _, rho, schedule in adaptive} == {(None, "flow")}
    assert any(row.start == "truncated:sigma=1.0" for row in rows)
    assert all(math.isfinite(row.value) for row in rows)


def test_the_search_covers_both_schedules_and_records_the_best(folder):
    rows = folder.measurements()
    cells = Counter(row.schedule for row in rows if row.metric == "grid_fd_pixels")
    # Karras' two steps are the same at any rho, those of flow matching are not.
    asked = {"flow:shift=1": 2, "flow:shift=3": 2, "karras:rho=7": 1}
    assert {name: cells[name] for name in asked} == asked
    # Beyond an end of the shifts, if that is the best.
    assert {name.partition(":")[0] for name in cells.keys() - asked.keys()} <= {"flow"}
    best = [row for row in rows if row.metric == "best_schedule_pixels"]
    grid = [row for row in rows if row.metric == "grid_fd_pixels"]
    noise = {one.nfe: {} for one in grid}
    for one in rows:
        if one.metric == "grid_gain_se_pixels":
            noise[one.nfe][one.schedule] = one.value
    for row in best:
        of_nfe = {one.schedule: one.value for one in grid if one.nfe == row.nfe}
        fixed = of_nfe["flow:shift=1"]
        clear = {"flow:shift=1": fixed}
        for name, value in of_nfe.items():
            if math.log(value / fixed) < -2 * noise[row.nfe][name]:
                clear[name] = value
        assert row.schedule == min(clear, key=clear.get)
        measured = {one.schedule for one in rows if one.metric == "w2"
                    and (one.nfe, one.sampler) == (row.nfe, "heun")}  # fmt: skip
        assert row.schedule in measured


def test_paths_and_truncation_are_in_flow_coordinates(folder):
    rows = folder.measurements()
    (curvature,) = [row for row in rows if row.metric == "curvature_fm"]
    assert (curvature.schedule, curvature.nfe) == ("flow:shift=1", 15)
    drift = [row for row in rows if row.metric == "denoiser_drift_ln_sigma"]
    # Eight points, of which the first is pure noise: six intervals between finite levels.
    assert len(drift) == 6
    assert all(math.isfinite(row.sigma) for row in drift)
    truncation = {row.schedule for row in rows if row.metric == "truncation_error"}
    assert "karras:rho=7" not in truncation
    assert {"flow:shift=1", "flow"} <= truncation


def test_a_run_is_measured_again_and_reported(folder, capsys):
    before = folder.measurements()
    assert main([str(folder.path), "--nfe", "3", "5", "7", "--device", "cpu"]) == 0
    after = {row.key: row.value for row in folder.measurements()}
    assert all(after[row.key] == row.value for row in before if row.metric != "evaluate_seconds")
    nfes = {row.nfe for row in folder.measurements() if row.schedule == "flow:shift=1"}
    assert {3, 5, 7} <= nfes
    identity = json.loads((folder.path / "config.json").read_text())
    assert identity["training"]["objective"] == "flow:path_sigma=0.05"

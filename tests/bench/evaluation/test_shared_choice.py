"""Runs of one coupling that differ in the seed only choose their best schedules together."""

import dataclasses

import pytest

from bench.config import RunConfig
from bench.evaluation.ledger import Ledger, Task, record_best, search_name, searched
from bench.evaluation.shared_choice import Member, families, pending, share
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.record.best_schedule import choose
from bench.record.specs import karras
from bench.sampling.setting import Setting

ALONE = Ranks(0, 1, "cpu")
EVALUATION = dataclasses.replace(RunConfig().evaluation, nfe=(5,), rhos=(3.0, 7.0, 16.0))
FIXED = EVALUATION.fixed_schedule


def add_cells(ledger, values):
    """Rows of the search, rho to distance."""
    recorded = []
    for rho, value in values.items():
        cell = Setting("heun", 5, float(rho), search=True)
        error = 0.0 if rho == 7 else 0.01
        rows = [
            cell.row(metric, number, split="train", n=50)
            for metric, number in (("grid_fd_pixels", value), ("grid_gain_se_pixels", error))
        ]
        task = Task("grid", search_name(cell.name, FIXED), 50, "pixels", "p")
        recorded.append((task, rows))
    ledger.add(recorded)


def member(runs, seed, values, coupling="lapjv"):
    """A finished run that has chosen by itself."""
    config = RunConfig(coupling=coupling, seed=seed, evaluation=EVALUATION)
    folder = RunFolder(runs / config.run_id)
    ledger = Ledger(folder, {"weights": seed}, {"pixels": "p"})
    add_cells(ledger, values)
    record_best(folder, choose(ledger.searched(FIXED)), 1)
    ledger.finish(config)
    folder.set_status("done")
    return Member(config, folder, seed)


def recorded(run):
    """Rho of the best schedule, and the number of seeds that chose it."""
    rows = {row.metric: row.value for row in run.folder.measurements()}
    return rows["best_schedule_pixels"], rows["search_seeds_pixels"]


@pytest.fixture
def measured():
    """Calls of the measurement, which does what an evaluation does: measures, then records."""
    calls = []

    def measure(work):
        for run, shared in work:
            calls.append((run.config.seed, shared.cells, [row.value for row in shared.best]))
            ledger = Ledger(run.folder, {"weights": run.config.seed}, {"pixels": "p"})
            add_cells(ledger, {float(spec.partition("=")[2]): 0.5 for _, spec in shared.cells})
            if shared.best:
                record_best(run.folder, shared.best, shared.seeds)
        return True

    measure.calls = calls
    return measure


def test_only_runs_that_differ_in_the_seed_are_a_family(tmp_path):
    several = [member(tmp_path, seed, {7: 1.0}) for seed in (0, 1)]
    several.append(member(tmp_path, 0, {7: 1.0}, "random"))
    ((one, two),) = families(several)
    assert (one.config.coupling, one.config.seed, two.config.seed) == ("lapjv", 0, 1)


def test_the_run_that_chose_another_one_is_measured_again(tmp_path, measured, capsys):
    alike = {3: 1.5, 7: 1.0, 12: 0.8, 16: 0.9}
    one = member(tmp_path, 0, alike)
    two = member(tmp_path, 1, {3: 1.5, 7: 1.0, 12: 0.84, 16: 0.82})
    # The second seed's own choice is an end, which an evaluation would have gone beyond.
    assert (recorded(one), recorded(two)) == ((12.0, 1.0), (16.0, 1.0))
    share([one, two], measured, ALONE)
    assert measured.calls == [(1, (), [12.0])]
    assert recorded(one) == recorded(two) == (12.0, 2.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("lapjv: 2 seeds choose their best schedules together; measured again")
    assert two.config.run_id in line
    assert one.config.run_id not in line
    # Again: nothing is left to do, and nothing is said.
    share([one, two], measured, ALONE)
    assert len(measured.calls) == 1
    assert capsys.readouterr().out == ""


def test_a_seed_that_comes_later_may_move_the_choice(tmp_path, measured):
    first = [member(tmp_path, seed, {3: 1.5, 7: 1.0, 12: 0.9, 16: 0.95}) for seed in (0, 1)]
    share(first, measured, ALONE)
    assert measured.calls == []
    assert recorded(first[0]) == (12.0, 2.0)
    third = member(tmp_path, 2, {3: 1.5, 7: 1.0, 12: 1.8, 16: 1.9})
    share([*first, third], measured, ALONE)
    # The gain of two is no gain of three: all are at the fixed one again.
    assert [call[0] for call in measured.calls] == [0, 1]
    assert [recorded(run) for run in (*first, third)] == [(7.0, 3.0)] * 3


def test_cells_beyond_the_grid_are_measured_where_they_are_missing(tmp_path, measured):
    """The first seed went on by itself, the second did not; the mean is at the end of both."""
    one = member(tmp_path, 0, {3: 1.5, 7: 1.0, 16: 0.6, 27.2: 0.9})
    two = member(tmp_path, 1, {3: 1.5, 7: 1.0, 16: 0.62})
    assert two.folder.is_done()
    share([one, two], measured, ALONE)
    assert measured.calls == [(1, ((5, karras(27.2)),), [])]
    assert 27.2 in {row.rho for row in searched(two.folder, FIXED)}
    assert recorded(one) == recorded(two) == (16.0, 2.0)


def test_a_run_that_fails_is_not_tried_for_ever(tmp_path):
    one = member(tmp_path, 0, {3: 1.5, 7: 1.0, 12: 0.8, 16: 0.9})
    two = member(tmp_path, 1, {3: 1.5, 7: 1.0, 12: 0.84, 16: 0.82})
    calls = []
    share([one, two], lambda work: bool(calls.append(work)), ALONE)
    assert len(calls) == 1
    assert recorded(two) == (16.0, 1.0)


def test_a_measurement_without_effect_is_not_asked_for_again(tmp_path):
    """Such as one with fewer images than an earlier search, whose cells do not count."""
    one = member(tmp_path, 0, {3: 1.5, 7: 1.0, 12: 0.8, 16: 0.9})
    two = member(tmp_path, 1, {3: 1.5, 7: 1.0, 12: 0.84, 16: 0.82})
    calls = []

    def measure(work):
        calls.append(work)
        # The loop that asks again and again would never come back.
        assert len(calls) < 5
        return True

    share([one, two], measure, ALONE)
    assert len(calls) == 1


def test_runs_that_are_not_finished_or_have_not_searched_have_no_say(tmp_path):
    one = member(tmp_path, 0, {3: 1.5, 7: 1.0, 12: 0.8, 16: 0.9})
    two = member(tmp_path, 1, {3: 1.5, 7: 1.0, 12: 0.84, 16: 0.82})
    two.folder.set_status("failed", reason="x")
    assert pending([one, two]) == []
    two.folder.set_status("done")
    (two.folder.path / "evaluation.json").unlink()
    assert pending([one, two]) == []
    assert recorded(one) == (12.0, 1.0)

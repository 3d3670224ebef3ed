"""The solver benchmark through its command line; peak memory, which takes processes, has tests of
its own.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import solve
from bench.benchmarks import contenders as peers
from bench.benchmarks import memory, pools
from bench.benchmarks.contenders import Contender, Solved
from bench.benchmarks.memory import Probe
from bench.benchmarks.pools import Pools, measure_ends, pair_cost
from bench.benchmarks.solver import Command, Tally, p95, predict
from bench.solve import main
from couplings import CouplingError, get

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(
        memory, "probe", lambda pools, name, n, limit: Probe(0.001, peak_mb=float(n))
    )


def rows_of(out: Path) -> dict[tuple[str, int], dict[str, str]]:
    with (out / "solve.csv").open(newline="") as file:
        return {(row["contender"], int(row["n"])): row for row in csv.DictReader(file)}


def entrant(name, solve):
    return Contender(name, "coupling", solve)


def identity(pool):
    return Solved(torch.arange(len(pool.images)), torch.arange(len(pool.images)))


def measured(command, *entrants):
    tallies = []
    for _ in solve.measure(command, entrants, tallies):
        pass
    return {(t.contender.name, t.n): t.cell(command) for t in tallies}


def test_one_command_leaves_table_page_and_provenance(tmp_path, capsys):
    args = [
        "--couplings",
        "lapjv",
        "random",
        "--n",
        "32",
        "16",
        "--rounds",
        "3",
        "--out",
        str(tmp_path),
    ]
    assert main(args) == 0
    rows = rows_of(tmp_path)
    assert list(rows) == [
        (name, n) for n in (16, 32) for name in ("lapjv", "random", "matrix product")
    ]
    best = rows["lapjv", 32]
    assert (best["rounds"], best["peak_mb"], best["converged"], best["d"]) == (
        "3",
        "32.0",
        "True",
        "3072",
    )
    assert float(best["gain"]) == pytest.approx(1, abs=1e-6)
    assert float(best["cost_ratio"]) == pytest.approx(1, abs=1e-6)
    assert 0 < float(best["matrix_ms"]) < float(best["p95_ms"]) + 1000
    assert rows["random", 32]["matrix_ms"] == rows["matrix product", 32]["gain"] == ""
    assert "lapjv" in (tmp_path / "solve.html").read_text()
    assert json.loads((tmp_path / "solve.json").read_text())["hardware"]["threads"] > 0
    told = capsys.readouterr().out
    assert str(tmp_path / "solve.html") in told
    assert "lapjv" in told


def test_gain_and_cost_are_means_over_the_same_pools(tmp_path):
    command = Command(couplings=("greedy",), n=(24,), rounds=4, seed=5)
    cell = measured(command, peers.contender("greedy"))["greedy", 24]
    gains, costs, ratios = [], [], []
    for number in range(1, 5):
        pool = Pools("gauss", None, 5).draw(24, number)
        pairing = get("greedy").pair(pool.images, pool.noise, pool.labels, pool.generator)
        costs.append(pair_cost(pool.images, pool.noise[pairing.index]))
        ends = measure_ends(pool)
        gains.append(ends.gain(costs[-1]))
        ratios.append(costs[-1] / ends.optimum)
    assert cell.gain == pytest.approx(sum(gains) / 4, rel=1e-9)
    assert cell.cost == pytest.approx(sum(costs) / 4, rel=1e-9)
    assert cell.cost_ratio == pytest.approx(sum(ratios) / 4, rel=1e-9)


def test_the_optimum_of_a_pool_is_not_begun_where_it_would_take_hours(monkeypatch):
    """Of 8,192 images it takes a minute and more; no smaller pool has shown that before."""
    monkeypatch.setattr(pools, "measure_ends", lambda pool: pytest.fail("begun"))
    cell = measured(Command(data="gauss:2", n=(8192,), rounds=1), entrant("a", identity))["a", 8192]
    assert (cell.rounds, cell.gain) == (1, None)


def test_in_each_round_all_solve_the_same_pool_and_the_first_changes():
    seen = []

    def watch(name):
        def solver(pool):
            seen.append((name, float(pool.noise[0, 0])))
            return identity(pool)

        return solver

    measured(Command(n=(4,), rounds=2), entrant("a", watch("a")), entrant("b", watch("b")))
    assert [name for name, _ in seen] == ["a", "b", "b", "a", "a", "b"]
    pools = [noise for _, noise in seen]
    assert pools[0::2] == pools[1::2]
    assert len(set(pools)) == 3


def test_matrix_and_rest_add_up_round_by_round(monkeypatch):
    clock = iter(
        [
            (0.002, None, ""),
            (0.010, None, ""),
            (0.003, None, ""),
            (0.013, None, ""),
            (0.004, None, ""),
            (0.024, None, ""),
        ]
    )
    monkeypatch.setattr(peers, "attempt", lambda action, pool: next(clock))
    one = Contender("x", "coupling", identity, matrix=identity)
    cell = measured(Command(n=(4,), rounds=2), one)["x", 4]
    # Round 0 warms up; of the others whole 13 and 24, matrix 3 and 4, rest 10 and 20.
    assert (cell.median_ms, cell.p95_ms) == (pytest.approx(18.5), pytest.approx(24))
    assert (cell.matrix_ms, cell.solve_ms) == (pytest.approx(3.5), pytest.approx(15))


def test_a_contender_that_raises_is_a_row_and_the_others_go_on():
    calls = []

    def refuse(pool):
        raise CouplingError("marginals off:\nraise epsilon")

    def breaks_later(pool):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("boom")
        return identity(pool)

    cells = measured(
        Command(n=(4,), rounds=5),
        entrant("a", refuse),
        entrant("b", breaks_later),
        entrant("c", identity),
    )
    assert (cells["a", 4].rounds, cells["a", 4].note) == (0, "marginals off: raise epsilon")
    assert (cells["a", 4].median_ms, cells["a", 4].gain, cells["a", 4].converged) == (
        None,
        None,
        None,
    )
    assert (cells["b", 4].rounds, cells["b", 4].converged) == (1, False)
    assert cells["b", 4].note == "round 2: RuntimeError: boom"
    assert (cells["c", 4].rounds, cells["c", 4].converged, cells["c", 4].note) == (5, True, "")


def test_one_round_without_convergence_marks_the_row_and_repeated_noises_are_counted():
    results = iter([True, True, False, True])

    def solver(pool):
        n = len(pool.images)
        return Solved(
            torch.arange(n), torch.zeros(n, dtype=torch.int64), next(results), remark="short of it"
        )

    cell = measured(Command(n=(4,), rounds=3), entrant("a", solver))["a", 4]
    assert (cell.converged, cell.note, cell.repeated) == (False, "short of it", 0.75)


def test_what_a_probe_finds_too_much_is_not_solved_here(monkeypatch):
    monkeypatch.setattr(memory, "probe", lambda *_: Probe(9.0, problem="stopped: over the limit"))
    cell = measured(Command(n=(4,), rounds=2), entrant("a", lambda pool: pytest.fail("solved")))[
        "a", 4
    ]
    assert (cell.rounds, cell.note) == (0, "stopped: over the limit")


def test_sizes_predicted_to_take_too_long_are_left_out_with_a_note(monkeypatch):
    probed = []

    def probe(pools, name, n, limit):
        probed.append(n)
        return Probe(2.0, problem="raised after 2 s")

    monkeypatch.setattr(memory, "probe", probe)
    cells = measured(Command(n=(8, 4, 64), limit=15.0), entrant("a", identity))
    assert probed == [4, 8]
    # 2 s at 8 and at 4: by the least power, 1, it would take 16 s at 64.
    assert cells["a", 64].note == "skipped: a solve would take about 16 s, over the limit of 15 s"


def test_a_contender_that_used_up_the_limit_ends_its_rounds():
    slow = Tally(entrant("a", identity), 4)
    assert slow.wants_more(limit=1.0)
    slow.whole += [600.0]
    assert not slow.wants_more(limit=1.0)  # 0.6 s gone, and the next takes as long
    assert slow.wants_more(limit=1.3)


@pytest.mark.parametrize(
    ("seconds", "n", "expected"),
    [
        ({}, 8, None),
        ({8: 1.0}, 8, None),
        ({4: 1.0}, 16, 32.0),  # n^2.5
        ({2: 1.0, 4: 8.0}, 8, 64.0),  # n^3, as measured
        ({2: 1.0, 4: 2.0}, 8, 4.0),  # n, as a solver of large pools
        ({2: 1.0, 4: 1.0}, 8, 2.0),  # n at least
        ({2: 1.0, 4: 32.0}, 8, 256.0),  # n^3 at most
        ({2: 0.0, 4: 1.0}, 16, 32.0),
    ],
)
def test_prediction_is_a_power_of_n_between_1_and_3(seconds, n, expected):
    assert predict(seconds, n) == (None if expected is None else pytest.approx(expected))


def test_overheads_of_small_pools_predict_no_cheap_optimum():
    assert predict({256: 0.04, 512: 0.05}, 65536, least=2.0) == pytest.approx(0.05 * 128**2)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (10, 10), (20, 19), (100, 95)])
def test_p95_is_the_nearest_rank(count, expected):
    assert p95(range(count, 0, -1)) == expected


def test_the_table_is_rewritten_as_it_goes_and_ctrl_c_keeps_it(tmp_path, monkeypatch, capsys):
    def interrupted(command, entrants, tallies):
        for number, step in enumerate(solve_measure(command, entrants, tallies)):
            # Of two contenders and three rounds: memory 2, warm-up 2, first round 1
            if number == 5:
                assert rows_of(tmp_path)["random", 8]["peak_mb"] == "8.0"
                raise KeyboardInterrupt
            yield step

    solve_measure = solve.measure
    monkeypatch.setattr(solve, "measure", interrupted)
    assert (
        main(["--couplings", "random", "--n", "8", "16", "--rounds", "3", "--out", str(tmp_path)])
        == 130
    )
    rows = rows_of(tmp_path)
    assert {n for _, n in rows} == {8}
    assert sorted(row["rounds"] for row in rows.values()) == ["1", "1"]
    assert (tmp_path / "solve.html").exists()
    assert "what was measured is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--n", "1"], "--n takes sizes of 2 and more"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--limit", "0"], "--limit must be above 0"),
        (["--couplings", "lapjw"], "did you mean lapjv"),
        (["--data", "mnist"], "unknown --data 'mnist'"),
        (["--data", "digits", "--n", "2000"], "lower --n"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args, words, capsys, tmp_path):
    assert main([*args, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--couplings", "random", "--n", "4", "--out", str(tmp_path / "file")]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_the_whole_command_in_a_process_of_its_own(tmp_path):
    command = [
        sys.executable,
        "-m",
        "bench.solve",
        "--couplings",
        "random",
        "--n",
        "64",
        "--rounds",
        "1",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "matrix product" in done.stdout
    assert float(rows_of(tmp_path)["random", 64]["peak_mb"]) < 10


def test_help_teaches_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--couplings",
        "--n",
        "--data",
        "--data-dir",
        "--peers",
        "--rounds",
        "--limit",
        "--seed",
        "--out",
    ):
        assert option in text
    assert "python -m bench.solve --peers" in text

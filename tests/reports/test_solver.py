import csv
import json

import pytest

from reports.solver import (
    PLOTS,
    build,
    describe,
    finding,
    floor,
    looks,
)
from reports.tables.runs import ReportError
from reports.tables.solver import Row, by_size, in_order, read
from tests.reports.pages import Page

COLUMNS = [
    "contender",
    "kind",
    "data",
    "n",
    "d",
    "seed",
    "rounds",
    "median_ms",
    "p95_ms",
    "matrix_ms",
    "solve_ms",
    "peak_mb",
    "cost",
    "cost_ratio",
    "gain",
    "repeated",
    "converged",
    "note",
]
HOSTILE = "<script>alert(1)</script> & co"


def line(
    contender, n, ms, kind="coupling", gain=1.0, converged=True, rounds=10, repeated=0.0, note=""
):
    return {
        "contender": contender,
        "kind": kind,
        "data": "gauss",
        "n": n,
        "d": 3072,
        "seed": 0,
        "rounds": rounds,
        "median_ms": ms,
        "p95_ms": None if ms is None else ms + 1,
        "matrix_ms": 1.5 if contender == "lapjv" else None,
        "solve_ms": None,
        "peak_mb": 0.25,
        "cost": 3700.0,
        "cost_ratio": 1.0123,
        "gain": gain,
        "repeated": repeated,
        "converged": converged,
        "note": note,
    }


LINES = [
    *(line("lapjv", n, n / 100) for n in (128, 512)),
    *(line("knn", n, n / 200, gain=0.7, repeated=0.4) for n in (128, 512)),
    *(line("random", n, 0.1, gain=-0.01) for n in (128, 512)),
    *(
        line("POT emd", n, n / 20, "peer", converged=n < 200, gain=0.98, note="numItermax reached")
        for n in (128, 512)
    ),
    *(line("matrix product", n, n / 400, "floor", gain=None, converged=None) for n in (128, 512)),
    line("sinkhorn", 128, 50.0, rounds=2),
    line("sinkhorn", 512, None, gain=None, converged=None, rounds=0, note=HOSTILE),
]


def write(folder, lines=LINES):
    path = folder / "solve.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("solve"))
    origin = {
        "hardware": {"cpu": "A CPU", "threads": 2},
        "versions": {"torch": "2.13.0"},
        "command": "python -m <x>",
    }
    path.with_suffix(".json").write_text(json.dumps(origin))
    return path


@pytest.fixture(scope="module")
def html(table):
    return build(table).read_text()


def test_the_numbers_on_the_page_are_those_of_the_table(html):
    page = Page(html)
    shown = (
        "median_ms",
        "p95_ms",
        "matrix_ms",
        "solve_ms",
        "peak_mb",
        "gain",
        "cost_ratio",
        "repeated",
    )
    values = {}
    for cell in page.cells:
        if "data-value" in cell:
            place = int(cell["data-n"]), cell["data-contender"]
            value = cell["data-value"]
            values.setdefault(place, []).append(float(value) if value else None)
    assert values == {(row["n"], row["contender"]): [row[key] for key in shown] for row in LINES}


def test_the_page_is_whole_and_alone(html, table):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img")
        for name in ("src", "href", "action"):
            assert "http" not in attributes.get(name, "") or tag == "a"
    assert [attributes["role"] for tag, attributes in page.tags if tag == "svg"] == ["img"] * 5
    for words in ("A CPU", "2.13.0", "python -m <x>", "solve.csv"):
        assert words in page.text
    assert "prefers-color-scheme: dark" in html
    assert html == build(table).read_text()


def test_names_and_notes_cannot_become_markup(html, tmp_path):
    assert HOSTILE in Page(html).text
    assert "<script>alert" not in html
    page = build(
        write(tmp_path, [line('x"><script>', 128, 1.0), line('x"><script>', 512, 2.0)])
    ).read_text()
    assert 'x"><script>' not in page


def test_alt_texts_say_what_is_drawn(html):
    alts = [attributes["aria-label"] for tag, attributes in Page(html).tags if tag == "svg"]
    assert (
        alts[0]
        == "Line chart of time, ms over pool size from 128 to 512. At n = 512: random 0.100, knn"
        " 2.56, lapjv 5.12, POT emd 25.6, matrix product 1.28."
    )
    assert "At n = 512: random -0.0100" in alts[2]
    # random 0.1 ms, knn 2.56 ms at .7, lapjv 5.12 ms at 1; POT is slower than lapjv and below it.
    assert alts[4] == (
        "Gain of solvers over their time at n = 512. The most within a time: random -0.0100 in"
        " 0.100 ms, knn 0.700 in 2.56 ms, lapjv 1.00 in 5.12 ms."
    )


def test_warnings_name_who_did_not_converge_or_has_few_rounds_or_none(html):
    text = " ".join(Page(html).text.split())
    assert "n = 512, did not converge: POT emd." in text
    assert "n = 128, with fewer than 3 rounds: sinkhorn." in text
    assert "n = 512, without numbers (the note in the table says why): sinkhorn." in text
    assert "n = 128, did not converge" not in text


def test_the_summary_compares_the_quickest_optimum_with_the_peers(table):
    small, large = by_size(in_order(read(table)))
    assert "n = 128: lapjv, 1.28 ms; 5.0x slower: POT emd." in finding(small)
    assert finding(large).endswith("5.0x slower: POT emd (stopped short of the optimum).")
    unfinished = [
        row for row in small.rows if row.contender != "lapjv" and row.contender != "sinkhorn"
    ]
    assert "no coupling is known to reach the optimum" in finding(type(small)(128, unfinished))


def test_the_floor_counts_operations(table):
    # 2 * 512^2 * 3072 = 1.61e9 operations in 1.28 ms.
    assert "1.61 billion operations. It takes 1.28 ms here (1,258 GFLOP/s)" in floor(read(table))
    assert floor([row for row in read(table) if row.kind != "floor"]) == ""


def test_couplings_look_the_same_with_and_without_peers(table):
    rows = read(table)
    with_peers = looks(rows)
    without = looks([row for row in rows if row.kind == "coupling"])
    assert {name: with_peers[name] for name in without} == without
    assert with_peers["POT emd"].line != without["lapjv"].line


def test_what_a_logarithmic_axis_cannot_show_is_left_out(table):
    rows = [row for row in read(table) if row.contender in ("random", "lapjv")]
    rows = [
        Row(**{**row.__dict__, "peak_mb": 0.0 if row.contender == "random" else row.peak_mb})
        for row in rows
    ]
    assert "random" not in describe(PLOTS[1], rows)
    assert "random" in describe(PLOTS[2], rows)


def test_tables_without_a_number_or_a_row_still_give_a_page(tmp_path):
    nothing = {"p95_ms": None, "peak_mb": None, "cost_ratio": None, "repeated": None}
    left_out = (
        line("lapjv", 8, None, gain=None, converged=None, rounds=0, note="left out") | nothing
    )
    page = Page(build(write(tmp_path, [left_out])).read_text())
    assert not [tag for tag, _ in page.tags if tag == "svg"]
    assert "left out" in page.text
    assert "Nothing was measured" in Page(build(write(tmp_path, [])).read_text()).text


def test_without_the_file_beside_it_provenance_is_said_to_be_missing(tmp_path):
    assert "solve.json is missing" in Page(build(write(tmp_path)).read_text()).text


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"cannot read .*make it with python -m bench.solve"):
        build(tmp_path / "solve.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ReportError, match="not a table of python -m bench.solve"):
        build(tmp_path / "other.csv")
    with pytest.raises(ReportError, match="not a table of python -m bench.solve"):
        build(write(tmp_path, [line("lapjv", "many", 1.0)]))


def test_the_page_reads_what_the_benchmark_writes():
    from dataclasses import fields

    from bench.benchmarks.solver import Cell

    assert [f.name for f in fields(Cell)] == COLUMNS

"""Every number in the page's tables against results.csv, both parsed here with nothing of reports
but the words.
"""

import math

import pandas as pd
import pytest

from bench.record import Measurement
from reports.build import build
from tests.reports.oracle import interval, near, ratio
from tests.reports.pages import site

PLAIN = {"start": "gaussian", "guidance": "none"}
ARMS = {"random": 0.0, "lapjv": 1.0, "knn": 2.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make, over_rho):
    """Two groups; a first pass over rho, two samplers, profiles and all values per run."""
    runs = tmp_path_factory.mktemp("numbers")
    for pool in (256, 1024):
        for i, (arm, shift) in enumerate(ARMS.items()):
            for seed in range(3):
                level = (1 + 0.1 * shift + 0.03 * seed) * (2 if pool == 256 else 1)
                values = {
                    k: {7: 40 / k * level, 16: (50 - 15 * shift) / k * level} for k in (3, 5, 9)
                }
                found = over_rho(values)
                found += [
                    Measurement(
                        "fd_classifier",
                        90 / k * level,
                        k,
                        7.0,
                        "euler",
                        split="test",
                        n=5000,
                        **PLAIN,
                    )
                    for k in (3, 5)
                ]
                found += [
                    Measurement(
                        "fd_classifier", 30.0 / level, 9, 7.0, "heun", split="test", n=100, **PLAIN
                    )
                ]
                found += [
                    Measurement(
                        "kid_classifier", level - 1, 5, 7.0, "heun", split="test", n=5000, **PLAIN
                    )
                ]
                found += [Measurement("local_error_euler", s * level, sigma=s) for s in (0.1, 1.0)]
                found += [
                    Measurement("transport_cost", 10 - level, n=9),
                    Measurement("coupling_ms", i * level, n=9),
                ]
                found += [Measurement("transport_cost_independent", 10.0 + seed, n=9)]
                found += [Measurement("coupling_share", 0.01 * i * level, n=9)]
                found += [Measurement("curvature_fm", level / 10, 255, 7.0, "heun", n=512, **PLAIN)]
                make(runs, arm, seed, pool=pool, found=found)
    return build(runs).csv.parent


@pytest.fixture(scope="module")
def tidy(folder):
    return pd.read_csv(folder / "results.csv")


@pytest.fixture(scope="module")
def cells(folder):
    found = site(folder / "report.html").cells
    return [cell for cell in found if "data-value" in cell]


def best_rho(rows):
    """Run and NFE to the rho with the lowest value of the first pass."""
    grid = rows[rows["metric"].eq("grid_fd_classifier")]
    lowest = grid.loc[grid.groupby(["run_id", "nfe"])["value"].idxmin()]
    return lowest.set_index(["run_id", "nfe"])["rho"]


def behind(cell, tidy):
    """The rows of the tidy table that a cell of the page is the mean of."""
    rows = tidy[tidy["pool"].eq({"g1": 256, "g2": 1024}[cell["data-group"]])]
    best = best_rho(rows)
    rows = rows[rows["metric"].eq(cell["data-metric"]) & rows["coupling"].eq(cell["data-coupling"])]
    rows = rows[rows["split"].fillna("").eq(cell["data-split"])]
    if "data-nfe" not in cell:
        return rows
    rows = rows[rows["nfe"].eq(int(cell["data-nfe"]))]
    settings = dict(part.split(" ") for part in cell["data-settings"].split(", ") if part)
    rows = rows[rows["sampler"].eq(settings.get("sampler", "heun"))]
    if "n" in settings:
        rows = rows[rows["n"].eq(int(settings["n"]))]
    if cell["data-schedule"] == "best rho":
        return rows[[best.get((r.run_id, r.nfe)) == r.rho for r in rows.itertuples()]]
    return rows[rows["rho"].eq(float(cell["data-schedule"].removeprefix("rho ") or 7))]


def test_every_value_is_the_mean_of_its_rows(cells, tidy):
    seen = set()
    for cell in cells:
        if "data-coupling" not in cell:
            continue
        rows = behind(cell, tidy)
        assert len(rows) == rows["seed"].nunique() == 3, cell
        assert float(cell["data-value"]) == pytest.approx(rows["value"].mean(), rel=1e-12), cell
        assert near(cell["text"], float(cell["data-value"]))
        for small in cell["small"]:
            if small.startswith("±"):
                assert near(small, rows["value"].std())
            if small.startswith("×"):
                check_ratio(small, rows, behind({**cell, "data-coupling": "random"}, tidy))
        seen.add(
            (
                cell["data-metric"],
                cell["data-split"],
                cell.get("data-settings"),
                cell.get("data-schedule"),
            )
        )
    assert len(seen) > 12
    assert sum("×" in small for cell in cells for small in cell["small"]) > 50
    shown_of = tidy[tidy["sigma"].isna() & ~tidy["metric"].str.startswith("grid_")]
    assert {metric for metric, *_ in seen} == set(shown_of["metric"])  # and nothing is left out


def check_ratio(text, rows, random):
    """``×0.60 [0.57, 0.63]``."""
    own, reference = (part.set_index("seed")["value"] for part in (rows, random))
    mean, _, ends = text.partition("[")
    assert near(mean, ratio(own, reference))
    texts = ends.strip("]").split(",")
    assert all(map(near, texts, interval(own, reference)))


def test_what_has_no_coupling_is_the_cut_in_transport_cost(cells, tidy):
    found = [
        cell for cell in cells if "data-coupling" not in cell and cell["class"] == "sortable costs"
    ]
    assert len(found) == 2 * len(ARMS)
    for cell in found:
        pool = {"g1": 256, "g2": 1024}[cell["data-group"]]
        rows = tidy[tidy["pool"].eq(pool) & tidy["coupling"].eq(cell["head"])]
        wide = rows[rows["metric"].str.startswith("transport")].pivot_table(
            "value", "seed", "metric"
        )
        cut = (1 - wide["transport_cost"] / wide["transport_cost_independent"]).mean()
        assert float(cell["data-value"]) == pytest.approx(cut, rel=1e-12)
        assert near(cell["text"], cut)


def test_the_first_pass_shows_the_means_of_its_rows(folder, tidy):
    grid = tidy[tidy["metric"].eq("grid_fd_classifier")]
    means = grid.groupby(["pool", "coupling", "rho", "nfe"])["value"].mean()
    found = [c for c in site(folder / "report.html").cells if "--near" in c.get("style", "")]
    order = [
        (pool, arm, rho, nfe)
        for pool in (256, 1024)
        for arm in ("random", "knn", "lapjv")
        for rho in (7, 16)
        for nfe in (3, 5, 9)
    ]
    assert len(found) == len(order)
    for cell, place in zip(found, order, strict=True):
        assert near(cell["text"].replace("●", ""), means[place])
        assert ("●" in cell["text"]) == math.isclose(
            means[place], means[place[0], place[1], :, place[3]].min()
        )

"""Every number in the page's tables against results.csv, both parsed here with nothing of reports
but the words.
"""

import math
from html.parser import HTMLParser

import pandas as pd
import pytest
from scipy import stats

from bench.record import Measurement
from reports.build import build

PLAIN = {"start": "gaussian", "guidance": "none"}
VOID = {"meta", "link", "img", "br", "wbr"}
ARMS = {"random": 0.0, "lapjv": 1.0, "knn": 2.0}


class Tables(HTMLParser):
    """The cells of all tables: their attributes and those of what they lie in, what they show,
    their row's header.
    """

    def __init__(self, html):
        super().__init__()
        self.cells, self.open, self.head = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag in VOID:
            return
        self.open.append((tag, dict(attributes)))
        if tag == "td":
            within = {key: value for _, attrs in self.open for key, value in attrs.items()}
            self.cells.append({**within, "head": self.head, "text": "", "small": []})
        elif tag == "th":
            self.head = ""
        elif tag == "small" and self.within("td"):
            self.cells[-1]["small"].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data):
        if self.within("th"):
            self.head += data
        elif self.within("small") and self.within("td"):
            self.cells[-1]["small"][-1] += data
        elif self.within("td"):
            self.cells[-1]["text"] += data

    def within(self, tag):
        return any(name == tag for name, _ in self.open)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make, over_rho):
    """Two groups; a first pass over rho, two samplers, profiles and all that is one value an arm."""
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
    found = Tables((folder / "report.html").read_text()).cells
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


def shown(text):
    """A number as it is written on the page, and how far rounding to the digits shown may move it."""
    text = text.strip("±× ").replace(",", "")
    scale = 0.01 if text.endswith("%") else 1.0
    digits = text.strip(" %").replace("−", "-")
    decimals = len(digits.partition(".")[2])
    return float(digits) * scale, 0.5001 * 10.0**-decimals * scale


def test_every_value_is_the_mean_of_its_rows(cells, tidy):
    seen = set()
    for cell in cells:
        if "data-coupling" not in cell:
            continue
        rows = behind(cell, tidy)
        assert len(rows) == rows["seed"].nunique() == 3, cell
        assert float(cell["data-value"]) == pytest.approx(rows["value"].mean(), rel=1e-12), cell
        value, rounding = shown(cell["text"])
        assert value == pytest.approx(float(cell["data-value"]), abs=rounding), cell
        spread = [small for small in cell["small"] if small.startswith("±")]
        if spread:
            value, rounding = shown(spread[0])
            assert value == pytest.approx(rows["value"].std(), abs=rounding), cell
        for small in (small for small in cell["small"] if small.startswith("×")):
            random = behind({**cell, "data-coupling": "random"}, tidy)
            value, rounding = shown(small.split("[")[0])
            assert value == pytest.approx(
                rows["value"].mean() / random["value"].mean(), abs=rounding
            ), cell
            gaps = rows.set_index("seed")["value"] - random.set_index("seed")["value"]
            ends = [shown(end) for end in small.partition("[")[2].strip("]").split(",")]
            for (value, rounding), t in zip(
                ends, stats.t.ppf([0.025, 0.975], len(gaps) - 1), strict=True
            ):
                end = 1 + (gaps.mean() + t * gaps.sem()) / random["value"].mean()
                assert value == pytest.approx(end, abs=rounding), cell
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
        value, rounding = shown(cell["text"])
        assert value == pytest.approx(cut, abs=rounding)


def test_the_first_pass_shows_the_means_of_its_rows(folder, tidy):
    grid = tidy[tidy["metric"].eq("grid_fd_classifier")]
    means = grid.groupby(["pool", "coupling", "rho", "nfe"])["value"].mean()
    found = [
        c
        for c in Tables((folder / "report.html").read_text()).cells
        if "--near" in c.get("style", "")
    ]
    order = [(pool, arm, rho, nfe) for pool in (256, 1024) for arm in ("random", "knn", "lapjv")
             for rho in (7, 16) for nfe in (3, 5, 9)]  # fmt: skip
    assert len(found) == len(order)
    for cell, place in zip(found, order, strict=True):
        value, rounding = shown(cell["text"].replace("●", ""))
        assert value == pytest.approx(means[place], abs=rounding)
        assert ("●" in cell["text"]) == math.isclose(
            means[place], means[place[0], place[1], :, place[3]].min()
        )

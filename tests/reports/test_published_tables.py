"""The tables that READMEs show of the published studies, against the CSVs; recomputed without our
own reports.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.reports.oracle import holm

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports/published"
FIXED = 7
BEST = "distance at the best rho"
TRAINING = ("train_seconds", "coupling_share", "coupling_wait_share")


@dataclass(frozen=True)
class Table:
    """A Markdown table, its cells without backticks, and the paragraph before it."""

    caption: str
    head: list[str]
    body: list[list[str]]

    def __str__(self):
        return "|".join(self.head)


def tables(file):
    """All tables of a file, in order."""
    found = []
    caption = ""
    for block in re.split(r"\n\s*\n", file.read_text()):
        lines = block.strip().splitlines()
        if lines and all(line.startswith("|") for line in lines):
            cells = [
                [cell.strip() for cell in line.replace("`", "").strip("|").split("|")]
                for line in lines
            ]
            found.append(Table(caption, cells[0], cells[2:]))
        elif lines:
            caption = " ".join(lines)
    return found


def assert_shows(text, value):
    """The number that a cell begins with, to half of its last digit."""
    assert (found := re.match(r"[−+-]?[\d,]+(\.\d+)?", text.lstrip("*"))), text
    digits = found[0].replace(",", "").replace("−", "-")
    last = 10.0 ** -len((found[1] or ".")[1:])
    assert float(digits) == pytest.approx(value, abs=0.5 * last * (1 + 1e-6)), text


def results(study):
    return pd.read_csv(PUBLISHED / study / "results.csv", low_memory=False)


def plain(rows):
    """Heun's sampler from plain noise, without guidance."""
    return rows[rows.sampler.eq("heun") & rows.start.eq("gaussian") & rows.guidance.isin(["none"])]


def quality(rows, best):
    """Rows of fd_classifier on the test split at the fixed rho, or at each run's and NFE's own
    best.
    """
    rows = plain(rows)
    of_metric = rows[rows.metric.eq("fd_classifier") & rows.split.eq("test")]
    if not best:
        return of_metric[of_metric.rho.eq(FIXED)]
    grid = rows[rows.metric.eq("grid_fd_classifier") & rows.split.eq("train")]
    chosen = grid.sort_values(["value", "rho"]).drop_duplicates(["run_id", "nfe"])[
        ["run_id", "nfe", "rho"]
    ]
    return of_metric.merge(chosen, on=["run_id", "nfe", "rho"])


def by_seed(rows, arm):
    return rows[rows.coupling.str.split(":").str[0].eq(arm)].groupby("seed").value.mean()


def check_change(cell, own, random):
    """``**−27 % [−40, −18]**``: of geometric means, bold where the interval of the paired t test of
    the logarithms excludes no change; none below three seeds.
    """
    gaps = np.log(own / random)
    assert_shows(cell, 100 * np.expm1(gaps.mean()))
    assert ("[" in cell) == (len(own) >= 3), cell
    if "[" in cell:
        found = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
        for text, end in zip(
            re.search(r"\[(.*), (.*)\]", cell).groups(), (found.low, found.high), strict=True
        ):
            assert_shows(text, 100 * np.expm1(end))
        assert cell.startswith("**") == (found.low * found.high > 0), cell


def check_arms(table, rows):
    """``| coupling | NFE 5 | NFE 9 against random | curvature | cost saved | ms a pool |``."""
    named = re.search(r"[Pp]ools of ([\d,]+)", table.caption)
    rows = rows[rows.pool.eq(int(named[1].replace(",", "")))] if named else rows
    assert rows.pool.nunique() == 1, table.caption
    found = quality(rows, best="own best rho" in table.caption)
    per_run = rows[rows.sigma.isna()]  # curvature carries the NFE of its dense paths
    of_metric = {name: per_run[per_run.metric.eq(name)] for name in per_run.metric.unique()}
    for arm, *cells in table.body:
        for name, cell in zip(table.head[1:], cells, strict=True):
            if match := re.fullmatch(r"NFE (\d+)", name):
                assert_shows(cell, by_seed(found[found.nfe.eq(int(match[1]))], arm).mean())
            elif match := re.fullmatch(r"NFE (\d+) against random", name):
                at = found[found.nfe.eq(int(match[1]))]
                here = by_seed(at, arm)
                there = by_seed(at, "random")
                shared = here.index.intersection(there.index)
                if arm != "random":
                    check_change(cell, here[shared], there[shared])
            elif name == "cost saved":
                paid, drawn = (
                    by_seed(of_metric[f"transport_cost{which}"], arm)
                    for which in ("", "_independent")
                )
                assert_shows(cell, 100 * (1 - paid / drawn).mean())
            elif name == "overhead":
                seconds, share, wait = (by_seed(of_metric[key], arm) for key in TRAINING)
                fit = (
                    by_seed(of_metric["coupling_fit_seconds"], arm).reindex(seconds.index).fillna(0)
                )
                assert_shows(cell, 100 * ((seconds * share + fit) / (seconds * (1 - wait))).mean())
            else:
                metric = {"curvature": "curvature_fm", "ms a pool": "coupling_ms"}[name]
                assert_shows(cell, by_seed(of_metric[metric], arm).mean())


def check_nfes(table, rows):
    """``| NFE | random | lapjv | ... |``, means over the seeds that the caption or head (``seed 0:
    random``) names.
    """
    found = quality(rows, best="own best rho" in table.caption)
    named = re.search(r"seeds (\d) and (\d)", table.caption)
    seeds, columns = [int(seed) for seed in named.groups()] if named else [], []
    for name in table.head[1:]:
        first, _, arm = name.rpartition(": ")
        seeds = [int(first.removeprefix("seed "))] if first else seeds
        columns.append((seeds, arm))
    for nfe, *cells in table.body:
        means = [
            by_seed(found[found.nfe.eq(int(nfe))], arm)[seeds].mean() for seeds, arm in columns
        ]
        for (seeds, _), cell, mean in zip(columns, cells, means, strict=True):
            assert_shows(cell, mean)
            best = min(m for m, (other, _) in zip(means, columns, strict=True) if other == seeds)
            assert cell.startswith("**") == (mean == best), (table.caption, nfe, cell)


def check_starts(table, rows):
    """``| start | random, NFE 5 | ... |`` at the fixed rho, of the seeds that have the start."""
    rows = rows[
        rows.metric.eq("fd_classifier")
        & rows.split.eq("test")
        & rows.rho.eq(FIXED)
        & rows.guidance.eq("none")
    ]
    begun = rows[rows.start.ne("gaussian")]
    for start, *cells in table.body:
        own = begun[begun.start.str.startswith(start)]
        if start == "plain noise, all levels":
            own = rows[
                rows.start.eq("gaussian") & rows.sampler.eq("heun") & rows.run_id.isin(begun.run_id)
            ]
        for name, cell in zip(table.head[1:], cells, strict=True):
            arm, nfe = name.split(", NFE ")
            assert_shows(cell, by_seed(own[own.nfe.eq(int(nfe))], arm).mean())


def compared(rows):
    """Name of a row of a table of claims to its comparisons of three seeds or more: (arm, NFE) to
    the values of both, by seed.
    """
    error = plain(rows)[lambda all: all.metric.eq("truncation_error") & all.rho.eq(FIXED)]
    found = {}
    for name, part in (
        (BEST, quality(rows, best=True)),
        ("distance at rho 7", quality(rows, best=False)),
        ("truncation error at rho 7", error),
    ):
        values = part.pivot_table(index="seed", columns=["nfe", "coupling"], values="value")
        found[name] = {}
        for nfe, arm in values:
            both = values[nfe][[arm, "random"]].dropna()
            if arm != "random" and len(both) >= 3:
                found[name][arm, nfe] = both
    return found


def claimed(comparisons, nfe):
    """The p values that are claimed with the question at an NFE, by comparison (its numbers)."""
    asked = {numbers(both) for (_, at), both in comparisons[BEST].items() if at == nfe}
    p = {numbers(both): p_value(both) for part in comparisons.values() for both in part.values()}
    family = {one: value for one, value in p.items() if one not in asked}
    return holm(family) | {one for one in asked if p[one] < 0.05}


def numbers(both):
    return tuple(both.to_numpy().ravel())


def p_value(both):
    return stats.ttest_rel(*np.log(both.to_numpy()).T).pvalue


def check_claims(table, rows):
    """``| claims | comparisons | alone | question at NFE 13 |``: counts, lower and higher."""
    for name, count, *cells in table.body:
        pool = int(re.search(r"pools of ([\d,]+)", name)[1].replace(",", ""))
        which = name.rpartition(", ")[2]
        comparisons = compared(rows[rows.pool.eq(pool)])
        own = comparisons[which].values()
        assert int(count) == len(own)
        for head, cell in zip(table.head[2:], cells, strict=True):
            if head == "alone":
                clear = [both for both in own if p_value(both) < 0.05]
            else:
                ours = claimed(comparisons, int(head.removeprefix("question at NFE ")))
                clear = [both for both in own if numbers(both) in ours]
            lower = sum(np.log(both.iloc[:, 0] / both.iloc[:, 1]).mean() < 0 for both in clear)
            assert cell == f"{len(clear)} ({lower} lower, {len(clear) - lower} higher)", name


CHECKS = {"coupling": check_arms, "NFE": check_nfes, "start": check_starts, "claims": check_claims}


@pytest.mark.parametrize(("study", "count"), [("digits-pools", 6), ("fashion-mnist-16", 5)])
def test_quality_and_cost(study, count):
    rows, found = results(study), tables(PUBLISHED / study / "README.md")
    assert len(found) >= count
    for table in found:
        CHECKS[table.head[0]](table, rows)
        assert table.body


def test_pool_sizes():
    (table,) = tables(PUBLISHED / "pool-size/README.md")
    rows = results("pool-size")
    means = rows[rows.sigma.isna()].groupby(["coupling", "pool", "metric"]).value.mean().unstack()
    baseline = means.loc["random"].iloc[0]
    for pool, *cells in table.body:
        own = baseline if pool == "random" else means.loc["lapjv", int(pool.replace(",", ""))]
        expected = [
            100 * (1 - own.transport_cost / own.transport_cost_independent),
            own.curvature_fm,
            100 * (own.curvature_fm / baseline.curvature_fm - 1),
            own.path_excess_fm,
            own.coupling_ms,
            100 * own.coupling_share,
            100 * own.coupling_wait_share,
        ]
        for cell, value in zip(cells, expected, strict=True):
            if cell != "-":
                assert_shows(cell, value)


def test_solvers():
    rows = of_solvers(".")
    first, *_ = tables(PUBLISHED / "solver-cost/README.md")
    (shown,) = tables(ROOT / "docs/solvers.md")
    names = {
        "matrix product (lower bound)": "matrix product",
        "scipy on squared distances": "scipy assignment",
    }
    for table in (first, shown):
        for contender, *cells in table.body:
            name = names.get(contender, contender)
            for head, cell in zip(table.head[1:], cells, strict=True):
                assert_measured(cell, rows, name, head)


def test_solvers_over_dimensions():
    _, second, *_ = tables(PUBLISHED / "solver-cost/README.md")
    n = int(second.head[0].removeprefix("contender at n = ").replace(",", ""))
    for number, head in enumerate(second.head[1:], 1):
        d = int(head.removeprefix("d = ").replace(",", ""))
        rows = of_solvers("." if d == 3072 else f"gauss-{d}")
        assert set(rows.d.dropna()) == {d}
        for contender, *cells in second.body:
            time, _, gain = cells[number - 1].partition(" ")
            assert_measured(time, rows, contender, f"n = {n}")
            if gain:
                assert_measured(gain.strip("()"), rows, contender, f"gain at {n}")


def test_solvers_of_large_pools():
    *_, third = tables(PUBLISHED / "solver-cost/README.md")
    for number, head in enumerate(third.head[1:], 1):
        d = int(re.match(r"d = ([\d,]+)", head)[1].replace(",", ""))
        rows = of_solvers("cifar10-large" if d == 3072 else f"gauss-{d}-large")
        rows = rows.droplevel("n")
        for contender, *cells in third.body:
            time, _, cost = cells[number - 1].partition(" ")
            if time == "-":
                assert contender not in rows.index
                continue
            assert_shows(time, rows.median_ms[contender])
            assert_shows(cost.strip("()"), rows.cost[contender] / rows.cost["hiref"])


def of_solvers(folder):
    """The measurements of a benchmark, by contender and pool size."""
    table = pd.read_csv(PUBLISHED / "solver-cost" / folder / "solve.csv")
    return table.set_index(["contender", "n"])


def assert_measured(cell, rows, contender, head):
    """A cell shows the number that its head names; "-" is what was not measured."""
    what, n = re.fullmatch(r"(n =|times lapjv at|gain at|peak MB at) ([\d,]+)", head).groups()
    own, best = rows.loc[contender, int(n.replace(",", ""))], rows.loc["lapjv"]
    value = {
        "n =": own.median_ms,
        "times lapjv at": own.median_ms / best.median_ms[int(n.replace(",", ""))],
        "gain at": own.gain,
        "peak MB at": own.peak_mb,
    }[what]
    if cell == "-":
        assert pd.isna(value)
    else:
        assert_shows(cell, value)


@pytest.mark.parametrize("study", ["guidance-digits", "guidance-fashion-mnist-16"])
def test_guidance(study):
    (table,) = tables(PUBLISHED / study / "README.md")
    rows = results(study)
    for weight, nfe, *cells in table.body:
        guidance = "none" if weight == "1" else f"cfg:weight={weight}"
        here = rows[rows.nfe.eq(int(nfe)) & rows.guidance.eq(guidance) & rows.split.ne("train")]
        values = here.pivot_table(index="seed", columns=["metric", "coupling"], values="value")
        distance = values["fd_classifier"]
        coupling = ""
        for head, cell in zip(table.head[2:], cells, strict=True):
            if head == "agreement":
                # Of the coupling in the column before
                assert_shows(cell, values["class_agreement_classifier"][coupling].mean())
                continue
            coupling = head.rpartition(": ")[0].removesuffix(", label-blind")
            if coupling == "random":
                assert_shows(cell, distance.random.mean())
            else:
                log = np.log(distance[coupling] / distance.random)
                assert_shows(cell, 100 * (np.exp(log.mean()) - 1))

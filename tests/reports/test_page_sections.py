"""Every number in the page's sections and sentences against results.csv, computed again."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest

from reports.build import build
from reports.tables.claims import claims
from reports.tables.tidy import read_csv
from tests.reports.oracle import holm, interval, near, p_value, ratio
from tests.reports.oracle import side as verdict
from tests.reports.pages import Page, site

POOLS = {"g1": 256, "g2": 1024}
FIRST = "fd_classifier, test"
BEST = "Each coupling at its own best rho"
# The primary question: no run declares one, and 17 is the NFE nearest to 13.
ASKED = {(BEST, arm, 17) for arm in ("lapjv", "knn")}
PLAIN = {"start": "gaussian", "guidance": "none"}


@pytest.fixture(scope="module")
def report(jittered, tmp_path_factory):
    return build(jittered, tmp_path_factory.mktemp("sections"))


@pytest.fixture(scope="module")
def built(report):
    return site(report.html), pd.read_csv(report.csv)


@pytest.fixture(scope="module")
def screens(report):
    """Pool to the page of its comparison."""
    pages = [report.html.with_name(f"comparison-{number}.html") for number in (1, 2)]
    return dict(zip(POOLS.values(), [page.read_text() for page in pages], strict=True))


@pytest.fixture(scope="module")
def page(built):
    return built[0]


@pytest.fixture(scope="module")
def tidy(built):
    return built[1]


def pick(rows, **place):
    """The rows with these values; None picks empty ones."""
    for name, value in place.items():
        rows = rows[rows[name].isna() if value is None else rows[name].eq(value)]
    return rows


def seeds_of(rows):
    """Seed to value; each seed has one row."""
    values = rows.set_index("seed")["value"].sort_index()
    assert values.index.is_unique
    assert len(values)
    return values


def agrees(text, values, random=None):
    """Mean, spread and ratio of a cell as the page has them; ``random``: None where no ratio may
    stand there.
    """
    mean, *small = [part.strip() for part in text.replace("●", "").replace("≤", "").split("|")]
    assert near(mean, values.mean())
    spread = [part for part in small if part.startswith("±")]
    assert len(spread) == (len(values) > 1), text
    assert not spread or near(spread[0], values.std())
    ratios = [part for part in small if part.startswith("×")]
    assert len(ratios) == (random is not None), text
    if ratios:
        texts = re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", ratios[0]).groups()
        assert all(map(near, texts, (ratio(values, random), *interval(values, random))))
    return True


def best_rho(tidy):
    grid = pick(tidy, metric="grid_fd_classifier")
    return grid.loc[grid.groupby(["run_id", "nfe"])["value"].idxmin()].set_index(["run_id", "nfe"])[
        "rho"
    ]


def of_schedule(tidy, schedule, **place):
    """Rows of plain sampling at ``7`` or at each run's ``best`` rho."""
    rows = pick(tidy, sampler="heun", sigma=None, **PLAIN, **place)
    if schedule == "7":
        return rows[rows["rho"].eq(7)]
    best = best_rho(tidy)
    return rows[[best[r.run_id, r.nfe] == r.rho for r in rows.itertuples()]]


def tables(page, name):
    """Section, table and its rows without the header, for the tables of this class."""
    found = [t for t in page.tables if name in t["class"].split()]
    assert found
    return [(POOLS.get(t["section"]), t, t["rows"][1:]) for t in found]


def crossing(curve, target):
    """NFE at which the curve first is at the target, found by interpolating logarithms."""
    curve = curve.sort_index()
    below = np.flatnonzero(curve.to_numpy() <= target)
    if not len(below) or below[0] == 0:
        return float(curve.index[0]) if len(below) else None
    pair = curve.iloc[below[0] - 1 : below[0] + 1]
    heights, places = np.log(pair.to_numpy()), np.log(pair.index.to_numpy(float))
    return float(np.exp(np.interp(math.log(target), heights[::-1], places[::-1])))


def test_nfe_to_reach_a_target(page, tidy):
    kinds = set()
    for pool, table, rows in tables(page, "reach"):
        rows_of = {
            s: of_schedule(tidy, s, pool=pool, metric="fd_classifier", split="test")
            for s in ("7", "best")
        }
        random = [
            pick(part, coupling="random").groupby("nfe")["value"].mean()
            for part in rows_of.values()
        ]
        best = min(map(min, random))
        needed = {}
        factors = [
            re.fullmatch(r"(\S+) × best: (\S+)", head).groups() for head in table["rows"][0][2:]
        ]
        for schedule, part in rows_of.items():
            for arm, own in part.groupby("coupling"):
                curves = {seed: one.set_index("nfe")["value"] for seed, one in own.groupby("seed")}
                for factor, target in factors:
                    assert near(target, float(factor) * best)
                    found = {
                        s: crossing(curve, float(factor) * best) for s, curve in curves.items()
                    }
                    needed[schedule, arm, factor] = pd.Series(found, dtype=float)
        for arm, schedule, *cells in rows:
            for (factor, _), cell in zip(factors, cells, strict=True):
                own, random = needed[schedule, arm, factor], needed[schedule, "random", factor]
                kinds.add(kind := kind_of(own))
                if kind == "some":
                    assert cell.strip("| ") == f"in {own.count()} of {len(own)} seeds"
                elif kind == "none":
                    assert cell.strip("| ") == "not reached"
                else:
                    assert cell.startswith("≤") == (kind == "bound")
                    whole = arm != "random" and kind == kind_of(random) == "all"
                    assert agrees(cell, own, random if whole else None)
        assert len(rows) == 6
    assert {"all", "some"} <= kinds


def kind_of(needed):
    if needed.isna().any():
        return "none" if needed.isna().all() else "some"
    return "bound" if (needed == 3).any() else "all"


def test_adaptive_sampler(page, tidy):
    for pool, table, rows in tables(page, "adaptive"):
        assert table["rows"][0] == [
            "coupling",
            "sampler",
            "NFE",
            "fd_classifier, test",
            "truncation_error",
        ]
        for arm, sampler, nfe, *cells in rows:
            of = pick(tidy, pool=pool, sampler=sampler)
            counts = {
                name: one.groupby("seed")["nfe"].first() for name, one in of.groupby("coupling")
            }
            assert agrees(nfe, counts[arm], None if arm == "random" else counts["random"])
            for cell, metric in zip(cells, ("fd_classifier", "truncation_error"), strict=True):
                assert agrees(cell, seeds_of(pick(of, coupling=arm, metric=metric)))
        assert len(rows) == 2 * 3


def overheads(tidy, pool):
    """Work of the coupling over that of the training, by coupling and seed."""
    cost = pick(tidy, pool=pool).pivot_table("value", ["coupling", "seed"], "metric")
    work = cost["train_seconds"] * cost["coupling_share"] + cost["coupling_fit_seconds"].fillna(0)
    return work / (cost["train_seconds"] * (1 - cost["coupling_wait_share"]))


def test_quality_against_training_overhead(page, tidy):
    for pool, table, rows in tables(page, "pareto"):
        assert table["caption"] == "fd_classifier, test, rho 7, NFE 17"
        distance = of_schedule(tidy, "7", pool=pool, metric="fd_classifier", split="test", nfe=17)
        overhead = overheads(tidy, pool)
        places = {}
        for arm, own, quality, _ in rows:
            assert agrees(own, overhead[arm])
            assert agrees(quality, seeds_of(pick(distance, coupling=arm)))
            places[arm] = overhead[arm].mean(), seeds_of(pick(distance, coupling=arm)).mean()
        for arm, *_, front in rows:
            better = [p for p in places.values() if p != places[arm] and p[0] <= places[arm][0]]
            assert front == ("no" if any(p[1] <= places[arm][1] for p in better) else "yes")
        assert len(rows) == 3


def test_size_of_the_pool(page, tidy):
    for _, table, rows in tables(page, "pools"):
        wide = tidy[
            tidy["metric"].isin(["transport_cost", "transport_cost_independent", "curvature_fm"])
        ]
        wide = wide.pivot_table("value", ["pool", "coupling", "seed"], "metric")
        wide["Transport cost saved"] = (
            1 - wide["transport_cost"] / wide["transport_cost_independent"]
        )
        arms = table["rows"][0][1:]
        assert [int(row[0]) for row in rows] == [256, 1024]
        for pool, *cells in rows:
            for arm, cell in zip(arms, cells, strict=True):
                assert agrees(cell, wide.loc[(int(pool), arm), table["caption"]])


def test_first_pass_over_rho(page, tidy):
    for pool, table, rows in tables(page, "heat"):
        own = pick(tidy, pool=pool, coupling=table["caption"], metric="grid_fd_classifier")
        means = own.groupby(["rho", "nfe"])["value"].mean()
        nfes = [int(nfe) for nfe in table["rows"][0][1:]]
        for rho, *cells in rows[:-1]:
            for nfe, cell in zip(nfes, cells, strict=True):
                assert near(cell.strip("● "), means[float(rho), nfe])
                assert cell.startswith("●") == (means[:, nfe].idxmin() == float(rho))
        head, *chosen = rows[-1]
        assert (head, len(rows)) == ("best rho", 1 + own["rho"].nunique())
        best = best_rho(own)
        for nfe, cell in zip(nfes, chosen, strict=True):
            assert [float(rho) for rho in cell.split(",")] == sorted(set(best[:, nfe]))


def choices(tidy, pool, metric, nfe, arm, noising):
    """Split to weight to the values of the seeds; 0 is unguided."""
    found = {}
    for split in ("train", "test"):
        place = {
            "pool": pool,
            "metric": metric,
            "nfe": nfe,
            "coupling": arm,
            "split": split,
            "sampler": "heun",
        }
        rows = pick(tidy, start="gaussian", rho=7, **place)
        guidance = {0.0: "none"} | {w: f"dg-{noising}:weight={w:g}" for w in (0.5, 1.0, 2.0)}
        guidance = {
            w: name for w, name in guidance.items() if w or metric == "fd_classifier"
        }  # of pixels none is plain
        found[split] = {w: seeds_of(pick(rows, guidance=name)) for w, name in guidance.items()}
    return found


def test_guidance(page, tidy):
    lines = 0
    for pool, table, rows in tables(page, "guidance"):
        metric, nfe = re.fullmatch(r"(\S+), NFE (\d+)", table["caption"]).groups()
        unguided = ["unguided"] if metric == "fd_classifier" else []
        assert table["rows"][0][3:-2] == [*unguided, "weight 0.5", "weight 1", "weight 2"]
        for arm, noising, split, *cells, at, passes in rows:
            by_split = choices(tidy, pool, metric, int(nfe), arm, noising)
            means = {weight: values.mean() for weight, values in by_split["train"].items()}
            chosen = min(means, key=means.get)
            for (weight, values), cell in zip(by_split[split].items(), cells, strict=True):
                judged = unguided and split == "test" and weight == chosen != 0
                beside = by_split["test"][0.0] if judged else None
                assert agrees(cell, values, beside)
                assert cell.startswith("●") == (weight == chosen)
            assert (int(at), float(passes)) == (int(nfe), (int(nfe) + 1) / 2)
            if metric == "fd_classifier" and split == "test":
                lines += said_of_guidance(
                    page, table["section"], arm, noising, int(nfe), chosen, by_split["test"]
                )
    assert lines > 4  # sentences with a gain


def said_of_guidance(page, section, arm, noising, nfe, chosen, test):
    head = f"noising {noising}, NFE {nfe}: "
    (line,) = [
        i["text"]
        for i in page.items
        if (i["section"], i["h4"]) == (section, arm) and head in i["text"]
    ]
    if not chosen:
        assert line.endswith(
            "of the weights 0, 0.5, 1 and 2 the train split chooses 0, so guidance is not used."
        )
        return 0
    pattern = (
        r".*: weight (\S+) of 0, 0.5, 1 and 2 is chosen; on the test split (.+): (\S+) vs"
        r" (\S+), (\S+ %) "
        r"\[(\S+), (\S+)\]; (\S+) discriminator passes per image\."
    )
    weight, word, guided, plain, size, low, high, passes = re.fullmatch(pattern, line).groups()
    assert (float(weight), float(passes)) == (chosen, (nfe + 1) / 2)
    assert near(guided, test[chosen].mean())
    assert near(plain, test[0.0].mean())
    claims = {"lower": "lower (better) than unguided", "higher": "higher (worse) than unguided"}
    assert word == claims.get(verdict(test[chosen], test[0.0]), "no clear difference from unguided")
    assert changed((size, low, high), test[chosen], test[0.0])
    return 1


def changed(texts, own, random):
    """``−38 %``, ``−45`` and ``−30``: a change of the mean and its interval."""
    ratios = ratio(own, random), *interval(own, random)
    return all(
        near(text.strip(" %") + " %", one - 1) for text, one in zip(texts, ratios, strict=True)
    )


def test_discriminators(page, tidy):
    for pool, table, rows in tables(page, "discriminators"):
        metrics = table["rows"][0][3:]
        for arm, noising, split, *cells in rows:
            of = pick(
                tidy, pool=pool, coupling=arm, guidance=f"dg-{noising}", split=split, sigma=None
            )
            assert all(
                agrees(c, seeds_of(pick(of, metric=m))) for m, c in zip(metrics, cells, strict=True)
            )
        assert len(rows) == 3 * 2 * 2


def test_listings_and_facts_of_starts(page, tidy):
    numbers = 0
    for name in ("listing", "starts"):
        for pool, table, rows in tables(page, name):
            keys = ["nfe" if head == "NFE" else head for head in table["rows"][0]]
            count = sum(key in tidy.columns for key in keys)
            for row in rows:
                place = {
                    k: float(v) if k in ("nfe", "rho") else v
                    for k, v in zip(keys[:count], row, strict=False)
                }
                for column, cell in zip(keys[count:], row[count:], strict=True):
                    metric, _, split = column.partition(", ")
                    of = pick(
                        tidy, pool=pool, metric=metric, split=split or None, sigma=None, **place
                    )
                    assert cell != "–" or of.empty
                    assert cell == "–" or agrees(cell, seeds_of(of))
                    numbers += cell != "–"
    special = tidy[
        tidy["start"].fillna("gaussian").ne("gaussian")
        | tidy["guidance"].fillna("").str.contains("weight")
    ]
    assert numbers == len(special.drop(columns=["run_id", "seed", "value"]).drop_duplicates())


def test_hard_maps_beside_random_jumps(page, tidy):
    levels = ("0.5", "2", "10")
    found = []
    for line in [
        item["text"]
        for item in page.items
        if item["h3"] == "Starts" and " and random-index " in item["text"]
    ]:
        arm, kind = re.match(r"(\S+): (\S+) and random-index", line).groups()
        of = pick(tidy, pool=1024, coupling=arm, metric="fd_classifier", sampler="heun", rho=7)
        errors = {}
        for level, nfe, split in itertools.product(levels, (5, 9), ("train", "test")):
            here = pick(of, nfe=nfe, split=split)
            own, control = (
                seeds_of(pick(here, start=f"{k}:sigma={level}")) for k in (kind, "random-index")
            )
            error = (own - control).sem()
            errors[f"sigma {level}, NFE {nfe}, {split}"] = (
                (own - control).mean() / error,
                own.mean(),
                control.mean(),
            )
        apart = {place: found for place, found in errors.items() if abs(found[0]) > 3}
        most = re.search(
            r"within three standard errors at all 12 settings .*; 4 seeds\);"
            r" the largest difference is (\S+)\.",
            line,
        )
        assert bool(most) == (not apart)
        if most:
            assert near(most[1], max(abs(error) for error, *_ in errors.values()))
            continue
        assert f"at {len(apart)} of all 12 settings (level, NFE, split; 4 seeds): " in line
        said = re.findall(r"(sigma [^:;]+): (\S+) vs (\S+), (\S+) standard errors", line)
        assert {place for place, *_ in said} == set(apart)
        for place, own, control, error in said:
            assert near(own, apart[place][1])
            assert near(control, apart[place][2])
            assert near(error, abs(apart[place][0]))
            found.append(place)
    assert found


def is_claim(item):
    """True for a line of the summary that is no headline, no lowest mean and no turn."""
    others = ("Lowest" in item["text"], "Cost: " in item["text"])
    turn = item["view"] == "The verdict depends on rho"
    return item["section"] == "summary" and not turn and not any(others)


def view_of(item):
    """Without which of its claims are primary."""
    return item["view"].partition(" (")[0]


def claims_of(tidy, items):
    """Metric, view, arm and NFE to the side that is claimed: the primary question at 5 %, all
    others together by Holm's method, equal numbers once.
    """
    cells = {}
    for item in items:
        curves = curves_of(tidy, item)
        for arm, curve in curves.items():
            for nfe, values in curve.items() if arm != "random" else ():
                cells[item["h4"], view_of(item), arm, nfe] = values, curves["random"][nfe]
    numbers = {place: tuple(map(tuple, both)) for place, both in cells.items()}
    primary = {numbers[place] for place in cells if place[0] == FIRST and place[1:] in ASKED}
    p = {numbers[place]: p_value(*both) for place, both in cells.items()}
    claimed = holm({key: value for key, value in p.items() if key not in primary})
    claimed |= {key for key in primary if p[key] < 0.05}
    return {
        place: verdict(*both) if numbers[place] in claimed else "unclear"
        for place, both in cells.items()
    }


def curves_of(tidy, item):
    """Arm to NFE to the values of the seeds, for the finding and view that a line of the summary
    stands in.
    """
    metric, _, split = item["h4"].partition(", ")
    schedule = {"At rho 7": "7", "Each coupling at its own best rho": "best"}[view_of(item)]
    rows = of_schedule(
        tidy, schedule, pool=int(item["h3"].split()[-1]), metric=metric, split=split or None
    )
    return {
        arm: {n: seeds_of(p) for n, p in own.groupby("nfe")}
        for arm, own in rows.groupby("coupling")
    }


def nfes(text, grid):
    """``3 to 9 and 17`` as numbers."""
    found = []
    for part in re.split(r", | and ", text):
        first, _, last = part.partition(" to ")
        found += [nfe for nfe in grid if int(first) <= nfe <= int(last or first)]
    return found


CLAIM = (
    r"(lower|higher) \(\w+\) than random at NFE ([\d, toand]+?)(?:, most at NFE (\d+))?: (\S+ %)"
    r" \[(\S+), (\S+)\]"
)


def test_claims_of_the_summary(page, tidy):
    claims = [item for item in page.items if is_claim(item)]
    sized = 0
    for item in claims:
        arm, _, text = item["text"].partition(": ")
        curves = curves_of(tidy, item)
        found = claims_of(tidy, [i for i in claims if i["h3"] == item["h3"]])
        place = item["h4"], view_of(item), arm
        judged = {nfe: found[*place, nfe] for nfe in curves[arm]}
        unclear = re.findall(r"no clear difference at NFE ([^.;]+)", text)
        said = {nfe: "unclear" for where in unclear for nfe in nfes(where, judged)}
        for word, where, most, *texts in re.findall(CLAIM, text):
            at = nfes(where, judged)
            sizes = {nfe: ratio(curves[arm][nfe], curves["random"][nfe]) for nfe in at}
            extreme = (min if word == "lower" else max)(sizes, key=sizes.get)
            assert not most or int(most) == extreme
            assert changed(texts, curves[arm][extreme], curves["random"][extreme])
            said |= dict.fromkeys(at, word)
            sized += 1
        assert said == judged, item
    assert len(claims) == 2 * 3 * 2
    assert sized > 3


def test_headlines_of_the_summary(page, tidy):
    lines = [i for i in page.items if i["section"] == "summary" and "Cost: " in i["text"]]
    assert len(lines) == 2 * 2
    numbers = r"(\S+) vs (\S+) for random, (\S+ %) \[(\S+), (\S+)\]"
    pattern = rf"(\S+): [^:]*\(fd_classifier\), test, .*at NFE (\d+), rho 7: {numbers}"
    for item in lines:
        arm, nfe, *fixed = re.match(pattern, item["text"]).groups()
        best = re.search(f"; best rho: {numbers}", item["text"]).groups()
        for view, (own, base, *texts) in (
            ("At rho 7", fixed),
            ("Each coupling at its own best rho", best),
        ):
            curves = curves_of(tidy, item | {"h4": "fd_classifier, test", "view": view})
            values, random = (curves[name][int(nfe)] for name in (arm, "random"))
            assert near(own, np.exp(np.log(values).mean()))
            assert near(base, np.exp(np.log(values).mean()) / ratio(values, random))
            assert changed(texts, values, random)
        pool = int(item["h3"].split()[-1])
        cost = re.search(r"Cost: training work \+(\S+ %)", item["text"])
        assert near(cost[1], overheads(tidy, pool)[arm].mean())


def test_lowest_means_of_the_summary(page, tidy):
    lines = [item for item in page.items if item["text"].startswith("Lowest mean")]
    for item in lines:
        curves = curves_of(tidy, item)
        parts = item["text"].removesuffix(".").partition("claim): ")[2].split("; ")
        said = {
            nfe: part.split()[0]
            for part in parts
            for nfe in nfes(part.partition("NFE ")[2], curves["random"])
        }
        means = {
            nfe: {arm: curve[nfe].mean() for arm, curve in curves.items()}
            for nfe in curves["random"]
        }
        assert said == {nfe: min(row, key=row.get) for nfe, row in means.items()}
    assert len(lines) == 2 * 3


def test_where_the_verdict_depends_on_rho(page, tidy):
    words = {
        "no clear difference": "unclear",
        "lower (better)": "lower",
        "higher (worse)": "higher",
    }
    lines = [item for item in page.items if item["view"] == "The verdict depends on rho"]
    for pool in (256, 1024):
        said = {}
        for item in (item for item in lines if item["h3"].endswith(f" {pool}")):
            pattern = r"(\S+) at NFE ([\d, toand]+): (.+) at rho 7, (.+) at best rho\."
            arm, where, *verdicts = re.fullmatch(pattern, item["text"]).groups()
            said |= {
                (arm, nfe): tuple(words[word] for word in verdicts)
                for nfe in nfes(where, (3, 5, 9, 17))
            }
        places = itertools.product(("lapjv", "knn"), (3, 5, 9, 17))
        items = [i for i in page.items if i["h3"].endswith(f" {pool}") and is_claim(i)]
        found = claims_of(tidy, items)
        judged = {
            (a, n): tuple(found[FIRST, view, a, n] for view in ("At rho 7", BEST))
            for a, n in places
        }
        assert said == {place: both for place, both in judged.items() if both[0] != both[1]}
    assert lines


METRICS = {
    "Fréchet distance, classifier features": ("fd_classifier", "test"),
    "Truncation error": ("truncation_error", None),
}
SCHEDULES = {"each at its own best rho": "best", "all at rho 7": "7"}


def test_every_number_of_the_first_screen(screens, tidy, report):
    claimed = claims(read_csv(report.csv))
    judged = {}
    for row in claimed.itertuples():
        schedule = row.schedule.removesuffix(" rho").removeprefix("rho ")
        judged[row.pool, row.metric, schedule, row.coupling, row.nfe] = row.verdict
    views = set()
    for pool, text in screens.items():
        for cell in (cell for cell in Page(text).cells if "data-tip" in cell):
            metric, split = METRICS[cell["data-metric"]]
            schedule = SCHEDULES[cell["data-schedule"]]
            nfe = int(cell["data-nfe"])
            place = {"pool": pool, "metric": metric, "split": split, "nfe": nfe}
            rows = of_schedule(tidy, schedule, **place)
            arm = cell["head"].partition(" ")[0]
            own, random = (seeds_of(pick(rows, coupling=name)) for name in (arm, "random"))
            views.add((pool, metric, schedule))
            if arm == "random":
                assert near(cell["text"], random.mean())
                continue
            size = ratio(own, random)
            assert float(cell["data-value"]) == pytest.approx(size, rel=1e-12)
            low, high = cell["small"][0].strip("[]").split(",")
            assert changed((cell["text"], low, high), own, random)
            verdict_of = judged[pool, metric, schedule, arm, nfe]
            assert ("claimed" in cell["class"]) == (verdict_of != "unclear")
            assert f"clearly {verdict_of}" in cell["data-tip"] or verdict_of == "unclear"
            assert f"seeds {', '.join(map(str, own.index))};" in cell["data-tip"]
    assert len(views) == 2 * 3
    assert {"better", "unclear"} <= set(judged.values())


def test_cost_and_reach_of_the_first_screen(screens, tidy):
    saved = 0
    for pool, text in screens.items():
        cost = pick(tidy, pool=pool).pivot_table("value", ["coupling", "seed"], "metric")
        solving = cost["train_seconds"] * cost["coupling_share"]
        work = solving + cost["coupling_fit_seconds"].fillna(0)
        overhead = work / (cost["train_seconds"] * (1 - cost["coupling_wait_share"]))
        shown = [cell for cell in Page(text).cells if cell["class"] == "work"]
        assert shown
        for cell in shown:
            arm = cell["head"].partition(" ")[0]
            assert cell["text"] == "0" or near(cell["text"], overhead[arm].mean())
        pattern = (
            r"fewer evaluations</span><strong>(\S+) NFE, not (\S+)</strong><span>(\w+), to reach"
            r" twice random&#39;s best distance \((\S+)\)</span><span>×(\S+) \[(\S+), (\S+)\]"
        )
        views = re.split('<div class="view-of"', text)[1:]
        rows = {}
        for schedule in ("7", "best"):
            place = {"pool": pool, "metric": "fd_classifier", "split": "test"}
            rows[schedule] = of_schedule(tidy, schedule, **place)
        means = [pick(r, coupling="random").groupby("nfe")["value"].mean() for r in rows.values()]
        target = 2 * min(map(min, means))
        for view in views:
            found = re.search(pattern, view)
            if not found:
                continue
            own, base, arm, goal, *times = found.groups()
            schedule = SCHEDULES[re.search('data-schedule="([^"]*)"', view)[1]]
            needed = {}
            for name in (arm, "random"):
                curves = pick(rows[schedule], coupling=name).groupby("seed")
                reached = {s: crossing(c.set_index("nfe")["value"], target) for s, c in curves}
                needed[name] = pd.Series(reached)
            assert near(goal, target)
            size = ratio(needed[arm], needed["random"])
            ends = interval(needed[arm], needed["random"])
            assert all(map(near, times, (size, *ends)))
            assert near(own, np.exp(np.log(needed[arm]).mean()))
            assert float(base) == pytest.approx(float(own) / size, rel=0.02)
            saved += 1
    assert saved

"""The findings and the warnings in words; every claim is made from the cells of the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.rho import BEST, at_the_end, is_grid, missing_best
from reports.runs import Run
from reports.statistics import BASELINE, LEAST_SEEDS, Cell, ordered
from reports.tables import BUDGET, Group, Panel, marks, side_by_side, varying_fields
from reports.words import change, join, nfe_range, to_judge

SAFE_N = 10_000
MOST_TURNS = 2  # an arm may lose at very few evaluations, win, and lose again at many; more turns look like noise
UNEVEN = 1.5  # times that the speeds of one arm's seeds may differ before times mean nothing
_VERDICTS = {"unclear": "no clear difference", "lower": "lower (better)", "higher": "higher (worse)"}


@dataclass(frozen=True)
class View:
    """One panel in words: which arm is lowest where, and each arm against random; ``label`` names the rho."""

    label: str
    lowest: str
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """What one metric says, at the rho that all arms share and at each arm's best; ``turns``: where that matters."""

    title: str
    views: tuple[View, ...]
    turns: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The findings of one group and how far they can be trusted."""

    title: str
    seeds: str
    rho: str
    findings: tuple[Finding, ...]


def summarise(group: Group) -> Summary:
    """The group in words."""
    judged = [panel for panel in group.panels if panel.judged]
    found = [_finding(shared, group.trained) for shared in side_by_side(judged)]
    return Summary(group.title, _seeds(group), _rho(group, judged), tuple(found))


def _seeds(group: Group) -> str:
    counts = sorted({len(seeds) for seeds in group.seeds.values()})
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if not group.trained:
        noun = "seed" if counts == [1] else "seeds"
        return f"Networks from files, {many} {noun} each: there is no {BASELINE} arm, so only means are compared."
    if counts[-1] < LEAST_SEEDS:
        noun = "seed" if counts[-1] == 1 else "seeds"
        return (
            f"{many} {noun} an arm: nothing is claimed with fewer than three, for two agree by chance every other time "
            "and one always does. Repeat with at least three (--seeds 3)."
        )
    return (
        f"{many} seeds an arm. Lower and higher: the 95 % interval of the mean difference from {BASELINE}, seed by "
        "seed (Student's t), excludes zero; brackets give it in percent. Of twenty comparisons without any difference "
        "one does so by chance: trust what holds at several NFEs, and repeat with more seeds."
    )


def _rho(group: Group, judged: Sequence[Panel]) -> str:
    if any(panel.schedule == BEST for panel in judged):
        return (
            "The best rho is chosen for each run and NFE by the first pass: few images, against the train split. The "
            "numbers here are of all images, so none was chosen for its own sake; those of the test split are new to "
            "the choice."
        )
    rhos = sorted({rho for panel in judged for rho in panel.rows["rho"].dropna()})
    if len(rhos) != 1:
        return ""
    why = ", though the first pass over rho was made" if is_grid(group.rows).any() else ""
    return (
        f"All arms were measured at rho {rhos[0]:g} alone{why}. The best rho differs between couplings, so none can be "
        "said to gain nothing before each was measured at its own."
    )


def _finding(shared: Sequence[Panel], trained: bool) -> Finding:
    """Panels that differ in rho only, in words; networks that were not trained here are only ranked."""
    fixed, best = shared[0], next((panel for panel in shared if panel.schedule == BEST), None)
    title = ", ".join(part for part in (fixed.metric, fixed.split, fixed.settings) if part)
    title += f" ({fixed.note})" if fixed.note else ""
    turns = _turns(fixed, best) if best and best is not fixed else ()
    return Finding(title, tuple(_view(panel, trained) for panel in shared), turns)


def _view(panel: Panel, trained: bool) -> View:
    arms = ordered(panel.rows["coupling"])
    table = panel.cells
    claims = [(arm, _claim({nfe: row[arm] for nfe, row in table.items() if arm in row})) for arm in arms[1:]]
    if arms[0] != BASELINE:
        missing = f"no {BASELINE} arm with these settings, so there is nothing to compare with"
        claims = [(arm, missing) for arm in arms] if trained else []
    label = "each arm at its own best rho" if panel.schedule == BEST else panel.schedule and f"at {panel.schedule}"
    return View(label, _lowest(table), tuple(claims))


def _turns(fixed: Panel, best: Panel) -> tuple[str, ...]:
    """Arms whose verdict is another at their best rho: what a comparison at one rho would have got wrong."""
    found = []
    for arm in ordered(fixed.rows["coupling"])[1:]:
        both = [nfe for nfe, row in fixed.cells.items() if arm in row and arm in best.cells.get(nfe, {})]
        changed: dict[tuple[str, str], list[int]] = {}
        for nfe in both:
            verdicts = fixed.cells[nfe][arm].verdict, best.cells[nfe][arm].verdict
            if verdicts[0] != verdicts[1]:
                changed.setdefault(verdicts, []).append(nfe)
        found += [
            f"{arm} at NFE {nfe_range(nfes, both)}: {_VERDICTS[before]} at {fixed.schedule}, {_VERDICTS[after]} at "
            f"{best.schedule}"
            for (before, after), nfes in changed.items()
        ]
    return tuple(found)


def _lowest(table: dict[int | None, dict[str, Cell]]) -> str:
    """``lapjv at NFE 3 to 9; random at NFE 13``, by the means."""
    winners: dict[str, list[int]] = {}
    for nfe, row in table.items():
        finite = {arm: cell.mean for arm, cell in row.items() if math.isfinite(cell.mean)}
        if finite:
            winners.setdefault(min(finite, key=finite.get), []).append(nfe)
    grid = list(table)
    return "; ".join(f"{arm} at NFE {nfe_range(winners[arm], grid)}" for arm in winners) or "nothing finite"


def _claim(curve: dict[int, Cell]) -> str:
    """One arm against random, over NFE: where lower, where higher, where neither, and where it turns."""
    grid = [nfe for nfe, cell in curve.items() if cell.ratio is not None]
    judged = [nfe for nfe in grid if curve[nfe].difference is not None]
    parts = [_stretch(curve, judged, verdict) for verdict in ("lower", "higher")]
    unclear = [nfe for nfe in judged if curve[nfe].verdict == "unclear"]
    if unclear:
        parts.append(f"no clear difference at NFE {nfe_range(unclear, judged)}{_means(curve, unclear)}")
    parts.append(_crossover(curve, judged))
    few = [nfe for nfe in grid if nfe not in judged]
    if few:
        shared = join([str(n) for n in sorted({len(curve[nfe].baseline) for nfe in few})])
        why = f"{LEAST_SEEDS} shared seeds are the least, here {shared}"
        parts.append(f"no claim at NFE {nfe_range(few, grid)} ({why}){_means(curve, few)}")
    lost = [nfe for nfe in curve if nfe not in grid]
    if lost:
        why = f"a value is not finite, or no seed is shared with {BASELINE}"
        parts.append(f"no comparison at NFE {nfe_range(lost, list(curve))} ({why})")
    return "; ".join(part for part in parts if part)


def _stretch(curve: dict[int, Cell], grid: list[int], verdict: str) -> str:
    chosen = [nfe for nfe in grid if curve[nfe].verdict == verdict]
    if not chosen:
        return ""
    word = "lower (better)" if verdict == "lower" else "higher (worse)"
    extreme = (min if verdict == "lower" else max)(chosen, key=lambda nfe: curve[nfe].ratio)
    most = f", most at NFE {extreme}" if len(chosen) > 1 else ""
    size = change(curve[extreme].ratio, curve[extreme].ratio_interval)
    return f"{word} than {BASELINE} at NFE {nfe_range(chosen, grid)}{most}: {size}"


def _means(curve: dict[int, Cell], grid: list[int]) -> str:
    """Where the mean alone lies below or above that of random, where that is no claim."""
    parts = []
    for word, extreme in (("below", min), ("above", max)):
        chosen = [nfe for nfe in grid if curve[nfe].ratio != 1 and (curve[nfe].ratio < 1) == (word == "below")]
        if chosen:
            most = extreme(chosen, key=lambda nfe: curve[nfe].ratio)
            size = f"{'up to ' if len(chosen) > 1 else ''}{change(curve[most].ratio)}"
            at = f" at NFE {most}" if len(chosen) > 1 else ""
            parts.append(f"{word} that of {BASELINE} at NFE {nfe_range(chosen, grid)} ({size}{at})")
    sides = [nfe for nfe in grid if curve[nfe].ratio != 1]
    turns = [(a, b) for a, b in zip(sides, sides[1:], strict=False) if (curve[a].ratio < 1) != (curve[b].ratio < 1)]
    crossing = f": they cross {_between(turns)}" if 0 < len(turns) <= MOST_TURNS else ""
    return f"; the mean is {join(parts)}{crossing}" if parts else ""


def _crossover(curve: dict[int, Cell], grid: list[int]) -> str:
    """Where the verdict turns over, once or twice; unclear NFEs are passed over."""
    clear = [nfe for nfe in grid if curve[nfe].verdict != "unclear"]
    turns = [(a, b) for a, b in zip(clear, clear[1:], strict=False) if curve[a].verdict != curve[b].verdict]
    if len(turns) > MOST_TURNS:
        return "the sign changes several times, which looks like noise"
    return f"the crossover{'s lie' if len(turns) > 1 else ' lies'} {_between(turns)}" if turns else ""


def _between(turns: list[tuple[int, int]]) -> str:
    return join([f"between NFE {low} and {high}" for low, high in turns])


def warnings(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    """What a reader must know before believing a number; what holds for all groups is said once."""
    by_id = {run.run_id: run for run in runs}
    said: dict[str, list[str]] = {}
    for group in groups:
        members = [by_id[name] for name in group.rows.run_id.unique()]
        for line in [
            *_seed_warnings(group, groups),
            *_value_warnings(group),
            *_behind_warnings(members),
            *_small_n(group, members),
            *_rho_warnings(group),
        ]:
            said.setdefault(line, []).append(group.title)
    lines = [line if len(titles) == len(groups) else f"{'; '.join(titles)}: {line}" for line, titles in said.items()]
    return [
        *lines,
        *_marginal_warning(runs),
        *_class_warnings(runs),
        *_feature_warning(groups),
        *_budget_warning(groups, runs),
        *_code_warnings(runs),
    ]


def _seed_warnings(group: Group, groups: Sequence[Group]) -> list[str]:
    found, seeds = [], group.seeds
    single = [arm for arm, own in seeds.items() if len(own) < 2]
    if single:
        found.append(f"One seed only for {join(single)}: chance alone can make such differences.")
    two = [arm for arm, own in seeds.items() if 1 < len(own) < LEAST_SEEDS]
    if two:
        found.append(f"Fewer than three seeds for {join(two)}: nothing is claimed of these arms.")
    elsewhere = [other for other in groups if other.but_pool == group.but_pool and BASELINE in other.arms]
    if not group.trained:
        pass  # there is no pairing to compare with
    elif BASELINE not in seeds and elsewhere:
        at = join([f"{other.rows.pool.iloc[0]:,}" for other in elsewhere])
        found.append(f"{BASELINE} was trained at pool {at} only, so no coupling is judged at another.")
    elif BASELINE not in seeds:
        found.append(f"There is no {BASELINE} arm, so no coupling can be judged: run --coupling {BASELINE} as well.")
    if len({tuple(own) for own in seeds.values()}) > 1:
        listed = "; ".join(f"{arm} {', '.join(map(str, own))}" for arm, own in seeds.items())
        ratios = f"; ratios use those that an arm shares with {BASELINE}" if BASELINE in seeds else ""
        found.append(f"The arms have different seeds ({listed}){ratios}.")
    return found


def _value_warnings(group: Group) -> list[str]:
    found = []
    bad = group.rows[~group.rows.value.map(math.isfinite)]
    if len(bad):
        arms = join(ordered(bad.coupling))
        found.append(
            f"Values that are not finite: {len(bad)}, from {arms}. They are in the tables, not in the figures."
        )
    trained = sorted(group.rows[group.rows.metric == "images_per_s"].n.dropna().unique())
    if len(trained) > 1:
        found.append(f"Unequal training: the arms saw {join([f'{n:,}' for n in trained])} images.")
    speeds = group.rows[group.rows.metric == "images_per_s"].groupby("coupling").value
    if len(speeds) and (uneven := (speeds.max() / speeds.min()).max()) > UNEVEN:
        found.append(
            f"Equal runs trained at speeds up to {uneven:.1f} times apart: the machine may have done other work, and "
            "no seconds, milliseconds or images a second can be compared between arms."
        )
    return found


def _behind_warnings(members: Sequence[Run]) -> list[str]:
    """What must be equal behind equal configurations for the comparison to be fair."""
    found = []
    differing = varying_fields([run.provenance for run in members])
    if "data_checksum" in differing:
        found.append("The runs saw different data under the same name (data_checksum differs): do not compare them.")
    features = [name.removeprefix("features.") for name in differing if name.startswith("features.")]
    if features:
        found.append(f"The features {join(features)} are not the same in all runs: do not compare what rests on them.")
    if any(name.startswith("hardware.") or name == "device" for name in differing):
        found.append("The runs were made on different hardware: their times cannot be compared.")
    return found


def _small_n(group: Group, members: Sequence[Run]) -> list[str]:
    metric = group.rows.metric  # what is extrapolated is free of this bias
    fd = group.rows[metric.str.startswith("fd_") & ~metric.str.startswith("fd_infinity_") & group.rows.n.notna()]
    found = []
    for metric in fd.metric.unique():
        n = int(fd[fd.metric == metric].n.min())
        size = members[0].provenance.get(f"feature_sizes.{metric.removeprefix('fd_')}")
        if isinstance(size, int) and n <= size:
            found.append(f"{metric}: {n:,} images in {size:,} features make a singular covariance; it means little.")
    if len(fd) and fd.n.min() < SAFE_N:
        found.append(
            f"Fréchet distances from {fd.n.min():,} images are too high by about c/n, with c depending on the arm: "
            "compare at equal n only, and make nothing of small differences."
        )
    return found


def _rho_warnings(group: Group) -> list[str]:
    if not is_grid(group.rows).any():
        return []
    splits = group.rows["split"].astype(object).where(group.rows["split"].notna(), None)
    judged = [metric for metric, _ in to_judge(set(zip(group.rows["metric"], splits, strict=True)))]
    lines = [line for metric in judged if (line := missing_best(group.rows, metric))]
    # Of the first metric that has a search of its own: the exact distance of points in the plane has none.
    return lines + next((found for metric in judged if (found := at_the_end(group.rows, metric))), [])


def _marginal_warning(runs: Sequence[Run]) -> list[str]:
    kept = "exact_noise_marginal"
    biased = sorted({str(run.config["coupling"]) for run in runs if run.provenance.get(kept) is False})
    if not biased:
        return []
    verb = "does" if len(biased) == 1 else "do"
    return [
        f"{join(biased)} {verb} not keep the noise marginal: "
        "the denoiser is trained on other noise than it is sampled with."
    ]


def _class_warnings(runs: Sequence[Run]) -> list[str]:
    """The law of the classes of conditional denoisers; runs that do not record it are older and drew uniformly."""
    conditional = [run for run in runs if run.config.get("training.conditional") or "class_law" in run.provenance]
    laws = {str(run.provenance.get("class_law", "uniform")) for run in conditional}
    sentences = {
        "data": "Conditional denoisers are asked for each class as often as the training split has it.",
        "uniform": "Conditional denoisers were asked for all classes equally often: where the data's classes are not "
        "equally large, the distances contain that difference (--class-law data measures without it).",
    }
    return [sentences[law] for law in sorted(laws)]


def _feature_warning(groups: Sequence[Group]) -> list[str]:
    names = sorted({name for group in groups for name in group.rows.metric.unique() if name.startswith("fd_")})
    names = [name for name in names if not name.endswith("_inception")]
    if not names:
        return []
    verb = "uses" if len(names) == 1 else "use"
    return [f"{join(names)} {verb} other features than Inception-v3: no FID, and not comparable with published FIDs."]


def _budget_warning(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    mixed = any(BUDGET in line for group in groups for line in marks(group.rows))
    what = "they are compared nevertheless, as was asked for" if mixed else "only equal ones are compared"
    found = []
    for data in sorted({str(run.config["data"]) for run in runs}):
        of_data = [run for run in runs if run.config["data"] == data]
        budgets = sorted({run.config.get("training.images") for run in of_data} - {None})
        if len(budgets) > 1:
            listed = join([f"{budget:,}" for budget in budgets])
            found.append(f"{data}: training budgets differ ({listed} images); {what}.")
    return found


def _code_warnings(runs: Sequence[Run]) -> list[str]:
    found = []
    dirty = sum(bool(run.provenance.get("git_dirty")) for run in runs)
    if dirty:
        found.append(f"{dirty} of {len(runs)} runs were made from a git tree with changes that were not committed.")
    commits = {run.provenance.get("git_sha") for run in runs}
    if len(commits) > 1:
        found.append(f"The runs come from {len(commits)} versions of the code.")
    if None in commits:
        found.append("The code version of some runs is unknown (no git checkout).")
    return found

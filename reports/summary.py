"""The findings and the warnings in words; every claim is made from the cells of the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.runs import Run
from reports.statistics import BASELINE, Cell, ordered
from reports.tables import Group, Panel, panels, varying_fields
from reports.words import change, join, nfe_range

JUDGED = (("fd_classifier", "test"), ("truncation_error", None))
"""Metric and split of the panels that the summary speaks of; lower is better in all of them."""

SAFE_N = 10_000


@dataclass(frozen=True)
class Finding:
    """What one panel says: which arm is lowest where, and each arm against random."""

    title: str
    lowest: str
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Summary:
    """The findings of one group and how far they can be trusted."""

    title: str
    seeds: str
    findings: tuple[Finding, ...]


def summarise(group: Group) -> Summary:
    """The group in words."""
    judged = [panel for panel in panels(group) if (panel.metric, panel.split) in JUDGED and panel.per_nfe]
    return Summary(group.title, _seeds(group), tuple(_finding(panel) for panel in judged))


def _seeds(group: Group) -> str:
    counts = sorted({len(seeds) for seeds in group.seeds.values()})
    if counts[0] < 2:
        return "One seed proves nothing: another may turn all of this round. Repeat with at least three (--seeds 3)."
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{many} seeds an arm. Lower and higher mean: in every seed that the arm shares with {BASELINE}."


def _finding(panel: Panel) -> Finding:
    arms = ordered(panel.rows.coupling)
    table = panel.cells
    claims = [(arm, _claim({nfe: row[arm] for nfe, row in table.items() if arm in row})) for arm in arms[1:]]
    if arms[0] != BASELINE:
        missing = f"no {BASELINE} arm with these settings, so there is nothing to compare with"
        claims = [(arm, missing) for arm in arms]
    return Finding(panel.title, _lowest(table), tuple(claims))


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
    parts = [_stretch(curve, grid, verdict) for verdict in ("lower", "higher")]
    unclear = [nfe for nfe in grid if curve[nfe].verdict == "unclear"]
    if unclear:
        parts.append(f"no clear difference at NFE {nfe_range(unclear, grid)}")
    parts.append(_crossover(curve, grid))
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
    where = f"{word} than {BASELINE} at NFE {nfe_range(chosen, grid)}"
    if len(chosen) == 1:
        return f"{where}, by {_by(curve[extreme].ratio)}"
    return f"{where}, most at NFE {extreme}: {change(curve[extreme].ratio)}"


def _by(ratio: float) -> str:
    return change(ratio).removesuffix(" lower").removesuffix(" higher") if ratio < 2 else f"a factor of {ratio:.3g}"


def _crossover(curve: dict[int, Cell], grid: list[int]) -> str:
    """Where the verdict turns over, if it does so once; unclear NFEs are passed over."""
    clear = [nfe for nfe in grid if curve[nfe].verdict != "unclear"]
    turns = [(a, b) for a, b in zip(clear, clear[1:], strict=False) if curve[a].verdict != curve[b].verdict]
    if len(turns) != 1:
        return "the sign changes several times, which looks like noise" if turns else ""
    return f"the crossover lies between NFE {turns[0][0]} and {turns[0][1]}"


def warnings(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    """What a reader must know before believing a number; what holds for all groups is said once."""
    by_id = {run.run_id: run for run in runs}
    said: dict[str, list[str]] = {}
    for group in groups:
        members = [by_id[name] for name in group.rows.run_id.unique()]
        for line in [
            *_seed_warnings(group),
            *_value_warnings(group),
            *_behind_warnings(members),
            *_small_n(group, members),
        ]:
            said.setdefault(line, []).append(group.title)
    lines = [line if len(titles) == len(groups) else f"{'; '.join(titles)}: {line}" for line, titles in said.items()]
    return [*lines, *_marginal_warning(runs), *_feature_warning(groups), *_budget_warning(runs), *_code_warnings(runs)]


def _seed_warnings(group: Group) -> list[str]:
    found, seeds = [], group.seeds
    single = [arm for arm, own in seeds.items() if len(own) < 2]
    if single:
        found.append(f"One seed only for {join(single)}: chance alone can make such differences.")
    if BASELINE not in seeds:
        found.append(f"There is no {BASELINE} arm, so no coupling can be judged: run --coupling {BASELINE} as well.")
    if len({tuple(own) for own in seeds.values()}) > 1:
        listed = "; ".join(f"{arm} {', '.join(map(str, own))}" for arm, own in seeds.items())
        found.append(f"The arms have different seeds ({listed}); ratios use those that an arm shares with {BASELINE}.")
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


def _feature_warning(groups: Sequence[Group]) -> list[str]:
    names = sorted({name for group in groups for name in group.rows.metric.unique() if name.startswith("fd_")})
    if not names:
        return []
    verb = "uses" if len(names) == 1 else "use"
    return [f"{join(names)} {verb} other features than Inception-v3: no FID, and not comparable with published FIDs."]


def _budget_warning(runs: Sequence[Run]) -> list[str]:
    found = []
    for data in sorted({str(run.config["data"]) for run in runs}):
        budgets = sorted({run.config.get("training.images") for run in runs if run.config["data"] == data} - {None})
        if len(budgets) > 1:
            listed = join([f"{budget:,}" for budget in budgets])
            found.append(f"{data}: training budgets differ ({listed} images); only equal ones are compared.")
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

"""The findings and the warnings in words; every claim is made from the cells of the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.tables.groups import Group, Panel, side_by_side
from reports.tables.rho import BEST, is_grid
from reports.tables.statistics import BASELINE, LEAST_SEEDS, Cell, change, ordered
from reports.text import join, nfe_range

# An arm may lose at very few evaluations, win, and lose again at many; more turns look like noise
MOST_TURNS = 2
_VERDICTS = {
    "unclear": "no clear difference",
    "lower": "lower (better)",
    "higher": "higher (worse)",
}


@dataclass(frozen=True)
class View:
    """One panel in words: which arm is lowest where, and each arm against random; ``label`` names
    the rho.
    """

    label: str
    lowest: str
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """What one metric says, at the rho that all arms share and at each arm's best; ``turns``: where
    that matters.
    """

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
        return (
            f"Networks from files, {many} {noun} each: there is no {BASELINE} arm, so only means"
            " are compared."
        )
    if counts[-1] < LEAST_SEEDS:
        noun = "seed" if counts[-1] == 1 else "seeds"
        return (
            f"{many} {noun} an arm: nothing is claimed with fewer than three, for two agree by"
            " chance every other time and one always does. Repeat with at least three (--seeds 3)."
        )
    return (
        f"{many} seeds an arm. Lower and higher: the 95 % interval of the mean difference from"
        f" {BASELINE}, seed by seed (Student's t), excludes zero; brackets give it in percent. Of"
        " twenty comparisons without any difference one does so by chance: trust what holds at"
        " several NFEs, and repeat with more seeds."
    )


def _rho(group: Group, judged: Sequence[Panel]) -> str:
    if any(panel.schedule == BEST for panel in judged):
        return (
            "The best rho is chosen for each run and NFE by the first pass: few images, against the"
            " train split. The numbers here are of all images, so none was chosen for its own sake;"
            " those of the test split are new to the choice."
        )
    rhos = sorted({rho for panel in judged for rho in panel.rows["rho"].dropna()})
    if len(rhos) != 1:
        return ""
    why = ", though the first pass over rho was made" if is_grid(group.rows).any() else ""
    return (
        f"All arms were measured at rho {rhos[0]:g} alone{why}. The best rho differs between"
        " couplings, so none can be said to gain nothing before each was measured at its own."
    )


def _finding(shared: Sequence[Panel], trained: bool) -> Finding:
    """Panels that differ in rho only, in words; networks that were not trained here are only
    ranked.
    """
    fixed, best = shared[0], next((panel for panel in shared if panel.schedule == BEST), None)
    title = ", ".join(part for part in (fixed.metric, fixed.split, fixed.settings) if part)
    title += f" ({fixed.note})" if fixed.note else ""
    turns = _turns(fixed, best) if best and best is not fixed else ()
    return Finding(title, tuple(_view(panel, trained) for panel in shared), turns)


def _view(panel: Panel, trained: bool) -> View:
    arms = ordered(panel.rows["coupling"])
    table = panel.cells
    claims = [
        (arm, _claim({nfe: row[arm] for nfe, row in table.items() if arm in row}))
        for arm in arms[1:]
    ]
    if arms[0] != BASELINE:
        missing = f"no {BASELINE} arm with these settings, so there is nothing to compare with"
        claims = [(arm, missing) for arm in arms] if trained else []
    label = (
        "each arm at its own best rho"
        if panel.schedule == BEST
        else panel.schedule and f"at {panel.schedule}"
    )
    return View(label, _lowest(table), tuple(claims))


def _turns(fixed: Panel, best: Panel) -> tuple[str, ...]:
    """Arms whose verdict is another at their best rho: what a comparison at one rho would have got
    wrong.
    """
    found = []
    for arm in ordered(fixed.rows["coupling"])[1:]:
        both = [
            nfe for nfe, row in fixed.cells.items() if arm in row and arm in best.cells.get(nfe, {})
        ]
        changed: dict[tuple[str, str], list[int]] = {}
        for nfe in both:
            verdicts = fixed.cells[nfe][arm].verdict, best.cells[nfe][arm].verdict
            if verdicts[0] != verdicts[1]:
                changed.setdefault(verdicts, []).append(nfe)
        found += [
            f"{arm} at NFE {nfe_range(nfes, both)}: {_VERDICTS[before]} at {fixed.schedule},"
            f" {_VERDICTS[after]} at {best.schedule}"
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
    return (
        "; ".join(f"{arm} at NFE {nfe_range(winners[arm], grid)}" for arm in winners)
        or "nothing finite"
    )


def _claim(curve: dict[int, Cell]) -> str:
    """One arm against random, over NFE: where lower, where higher, where neither, and where it
    turns.
    """
    grid = [nfe for nfe, cell in curve.items() if cell.ratio is not None]
    judged = [nfe for nfe in grid if curve[nfe].difference is not None]
    parts = [_stretch(curve, judged, verdict) for verdict in ("lower", "higher")]
    unclear = [nfe for nfe in judged if curve[nfe].verdict == "unclear"]
    if unclear:
        parts.append(
            f"no clear difference at NFE {nfe_range(unclear, judged)}{_means(curve, unclear)}"
        )
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
        chosen = [
            nfe
            for nfe in grid
            if curve[nfe].ratio != 1 and (curve[nfe].ratio < 1) == (word == "below")
        ]
        if chosen:
            most = extreme(chosen, key=lambda nfe: curve[nfe].ratio)
            size = f"{'up to ' if len(chosen) > 1 else ''}{change(curve[most].ratio)}"
            at = f" at NFE {most}" if len(chosen) > 1 else ""
            parts.append(f"{word} that of {BASELINE} at NFE {nfe_range(chosen, grid)} ({size}{at})")
    sides = [nfe for nfe in grid if curve[nfe].ratio != 1]
    turns = [
        (a, b)
        for a, b in zip(sides, sides[1:], strict=False)
        if (curve[a].ratio < 1) != (curve[b].ratio < 1)
    ]
    crossing = f": they cross {_between(turns)}" if 0 < len(turns) <= MOST_TURNS else ""
    return f"; the mean is {join(parts)}{crossing}" if parts else ""


def _crossover(curve: dict[int, Cell], grid: list[int]) -> str:
    """Where the verdict turns over, once or twice; unclear NFEs are passed over."""
    clear = [nfe for nfe in grid if curve[nfe].verdict != "unclear"]
    turns = [
        (a, b)
        for a, b in zip(clear, clear[1:], strict=False)
        if curve[a].verdict != curve[b].verdict
    ]
    if len(turns) > MOST_TURNS:
        return "the sign changes several times, which looks like noise"
    return (
        f"the crossover{'s lie' if len(turns) > 1 else ' lies'} {_between(turns)}" if turns else ""
    )


def _between(turns: list[tuple[int, int]]) -> str:
    return join([f"between NFE {low} and {high}" for low, high in turns])

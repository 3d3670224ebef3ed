"""The findings of a comparison in words; every claim is made from the cells of its tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.record.infos import Info
from reports.overview.headline import Headline, headlines
from reports.overview.question import role_of
from reports.overview.seeds import notes
from reports.tables.arms import BASELINE, baseline_of, is_baseline, objectives, ordered, variant_of
from reports.tables.floors import Floor
from reports.tables.floors import change as of_excess
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.panels import Panel, side_by_side
from reports.tables.schedules import FIXED, best_label, has_schedule, is_grid, noun_of
from reports.tables.statistics import LEAST_SEEDS, Cell
from reports.text import change, counts, join, nfe_range, plural, schedule_label

# A coupling may lose at very few evaluations, win, and lose again at many; more turns are noise.
MOST_TURNS = 2

Curve = dict[int, Cell]


@dataclass(frozen=True)
class View:
    """One panel in words.

    Attributes:
        label: the schedule; empty if there is only one.
        role: which of its claims are primary, and which adjusted.
        lowest: the coupling with the lowest mean at each NFE.
        claims: coupling and its comparison with random.

    """

    label: str
    role: str
    lowest: str
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """One metric in words, at the fixed schedule and at each run's best.

    Attributes:
        title: the metric.
        views: one for the fixed schedule and one for the best.
        turns: couplings whose verdict depends on the schedule.
        noun: what schedules differ in, such as ``rho``.

    """

    title: str
    views: tuple[View, ...]
    turns: tuple[str, ...]
    noun: str


@dataclass(frozen=True)
class Summary:
    """The findings of one comparison and how far they can be trusted.

    Attributes:
        id: of the comparison.
        title: of the comparison.
        headlines: a sentence for each coupling.
        notes: the primary question, arms that are equal, seeds that differences need.
        seeds: how claims are made.
        schedule: at which schedules.
        findings: each metric.

    """

    id: str
    title: str
    headlines: tuple[Headline, ...]
    notes: tuple[str, ...]
    seeds: str
    schedule: str
    findings: tuple[Finding, ...]


def summarise(group: Group) -> Summary:
    """The comparison in words."""
    group = group.plain
    judged = [panel for panel in group.panels if panel.judged]
    findings = [_finding(shared, group) for shared in side_by_side(judged)]
    return Summary(
        group.id,
        group.title,
        tuple(headlines(group)),
        tuple(notes(group)),
        _seeds(group),
        _schedule(group, judged),
        tuple(findings),
    )


def _seeds(group: Group) -> str:
    numbers = sorted({len(seeds) for seeds in group.seeds.values()})
    fewest = numbers[0]
    most = numbers[-1]
    seeds = plural(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    if not group.trained:
        return (
            f"Networks from files, {seeds} each: there is no {BASELINE} pairing, so means are"
            " compared without claims."
        )
    if most < LEAST_SEEDS:
        return (
            f"{seeds} per coupling: no claims below three seeds, because two agree in sign by"
            " chance half the time. Repeat with at least three: --seeds 3."
        )
    return (
        f"{seeds} per coupling. Changes are ratios of geometric means to {BASELINE}, seed by seed,"
        " with the 95 % interval of Student's t of their logarithms in brackets."
        f"{_matched(group)} A claim on the primary question needs an interval that excludes zero"
        " change. All other claims are adjusted for each other by Holm's method: at most 5 % of"
        " studies contain a false one. Their intervals are not adjusted. Fix the number of seeds in"
        " advance: adding seeds until a result is significant finds differences that do not exist."
    )


def _matched(group: Group) -> str:
    """With which random arm others are compared, if there are several; with a space before it."""
    if not any(map(variant_of, group.seeds)):
        return ""
    return f" {BASELINE} is always that of the same objective and noise law."


def _schedule(group: Group, judged: Sequence[Panel]) -> str:
    if any(panel.at_best for panel in judged):
        return (
            f"{best_label(group.rows).capitalize()}: chosen at each NFE in a cheap search (few"
            " images, training split). The values shown use all images; the test split played no"
            f" part in the choice.{_fixed(judged)}"
        )
    shared = _shared_schedules(judged)
    if not shared:
        return ""
    noun = noun_of(group.rows)
    why = f", although the best {noun} was searched for" if is_grid(group.rows).any() else ""
    return (
        f"All couplings were measured at {join(shared)} only{why}. The best {noun} differs between"
        " couplings, so a coupling without a gain here may have one at its own best."
    )


def _fixed(judged: Sequence[Panel]) -> str:
    """The fixed schedule of each objective, where these differ; with a space before it."""
    fixed = _shared_schedules([panel for panel in judged if panel.schedule == FIXED])
    return f" Fixed schedules: {join(fixed)}, one for each objective." if fixed else ""


def _shared_schedules(judged: Sequence[Panel]) -> list[str]:
    """The one schedule of each objective; empty if there are none, or several of one objective."""
    found: dict[str, set[str]] = {}
    for panel in judged:
        rows = panel.rows[has_schedule(panel.rows)]
        for objective, schedule in zip(objectives(rows), rows["schedule"], strict=True):
            found.setdefault(str(objective), set()).add(schedule_label(schedule))
    # Several schedules without a search are named in the titles.
    if any(len(schedules) > 1 for schedules in found.values()):
        return []
    return sorted(set().union(*found.values()))


def _finding(shared: Sequence[Panel], group: Group) -> Finding:
    """Panels that differ in schedule only, in words; networks from files are only ranked."""
    fixed = shared[0]
    title = f"{fixed.family_heading} ({fixed.note})" if fixed.note else fixed.family_heading
    turns: list[str] = []
    for panel in shared[1:]:
        if panel.at_best:
            turns = _turns(fixed, panel)
    views = [_view(panel, group.trained) for panel in shared]
    return Finding(title, tuple(views), tuple(turns), noun_of(group.rows))


def _view(panel: Panel, trained: bool) -> View:
    arms = ordered(panel.rows["coupling"])
    missing = f"no {BASELINE} run with these settings to compare with"
    claims = []
    for arm in arms:
        if is_baseline(arm):
            continue
        if baseline_of(arm) in arms:
            against = baseline_of(arm)
            claims.append((arm, compare(panel.info, _curve(panel, arm), against, panel.floor)))
        elif trained:
            claims.append((arm, missing))
    label = f"at {panel.schedule}" if panel.schedule else ""
    if panel.at_best:
        label = f"each coupling at its own {panel.schedule}"
    return View(label, role_of(panel), _lowest(panel), tuple(claims))


def _curve(panel: Panel, coupling: str) -> Curve:
    return {nfe: row[coupling] for nfe, row in panel.cells.items() if coupling in row}


def _turns(fixed: Panel, best: Panel) -> list[str]:
    """Couplings whose verdict at their best schedule differs: a comparison at one would mislead."""
    lines = []
    for coupling in ordered(fixed.rows["coupling"]):
        if is_baseline(coupling):
            continue
        at_fixed = _curve(fixed, coupling)
        at_best = _curve(best, coupling)
        both = [nfe for nfe in at_fixed if nfe in at_best]
        changed: dict[tuple[str, str], list[int]] = {}
        for nfe in both:
            before = claim(fixed.info, at_fixed[nfe])
            after = claim(best.info, at_best[nfe])
            if before != after:
                # Grouped by what changed, because a line for each NFE would fill the page.
                changed.setdefault((before, after), []).append(nfe)
        for (before, after), nfes in changed.items():
            lines.append(
                f"{coupling} at NFE {nfe_range(nfes, both)}: {before} at {fixed.schedule}, {after}"
                f" at {best.schedule}"
            )
    return lines


def _lowest(panel: Panel) -> str:
    """``lapjv at NFE 3 to 9; random at NFE 13``, by the means."""
    # By the means, whatever their intervals: the line says that it is not a claim.
    winners: dict[str, list[int]] = {}
    for nfe, row in panel.cells.items():
        means = {name: cell.mean for name, cell in row.items() if math.isfinite(cell.mean)}
        if means:
            winners.setdefault(min(means, key=means.get), []).append(nfe)
    grid = list(panel.cells)
    parts = [f"{name} at NFE {nfe_range(nfes, grid)}" for name, nfes in winners.items()]
    return "; ".join(parts) or "none is finite"


def compare(info: Info, curve: Curve, against: str = BASELINE, floor: Floor | None = None) -> str:
    """One arm compared with another over NFE: where it is lower, higher or neither, and where the
    mean changes sign.

    Args:
        info: the metric.
        curve: NFE to the arm's cell, whose baseline is the other arm.
        against: name of the other arm.
        floor: the value of real images, if it is known.

    """
    grid = [nfe for nfe, cell in curve.items() if cell.ratio is not None]
    judged = [nfe for nfe in grid if curve[nfe].estimate is not None]
    # A claim needs an interval that excludes zero; other means are said to be means.
    parts = [_stretch(info, curve, judged, side, against, floor) for side in ("lower", "higher")]
    unclear = [nfe for nfe in judged if curve[nfe].side == "unclear"]
    if unclear:
        nfes = nfe_range(unclear, judged)
        parts.append(f"no clear difference at NFE {nfes}{_means(curve, unclear)}")
    few = [nfe for nfe in grid if nfe not in judged]
    if few:
        shared = {len(curve[nfe].baseline) for nfe in few}
        place = f" at NFE {nfe_range(few, grid)}" if judged else ""
        why = f"at least {LEAST_SEEDS} seeds shared with {against} are needed"
        parts.append(f"no claims{place}: {why} (here {counts(shared)}){_means(curve, few)}")
    parts.append(_sign_changes(curve, grid))
    lost = [nfe for nfe in curve if nfe not in grid]
    if lost:
        why = f"a value is not finite, or no seed is shared with {against}"
        parts.append(f"no comparison at NFE {nfe_range(lost, list(curve))} ({why})")
    return "; ".join(part for part in parts if part)


def _stretch(
    info: Info, curve: Curve, grid: list[int], side: str, against: str, floor: Floor | None
) -> str:
    """The NFEs of one verdict, with the largest change among them."""
    chosen = [nfe for nfe in grid if curve[nfe].side == side]
    if not chosen:
        return ""
    extreme = _extreme(min if side == "lower" else max, curve, chosen)
    most = f", most at NFE {extreme}" if len(chosen) > 1 else ""
    words = claim(info, curve[extreme])
    nfes = nfe_range(chosen, grid)
    return f"{words} than {against} at NFE {nfes}{most}: {of_excess(curve[extreme], floor)}"


def _extreme(select: Callable, curve: Curve, nfes: Sequence[int]) -> int:
    return select(nfes, key=lambda nfe: curve[nfe].ratio)


def _means(curve: Curve, grid: list[int]) -> str:
    """The side of the means, where it is not a claim: ``; lower mean at NFE 7 to 35 (...)``."""
    below = [nfe for nfe in grid if curve[nfe].ratio < 1]
    above = [nfe for nfe in grid if curve[nfe].ratio > 1]
    parts: list[str] = []
    for word, select, chosen in (("lower", min, below), ("higher", max, above)):
        if chosen:
            most = _extreme(select, curve, chosen)
            size = change(curve[most].ratio)
            if len(chosen) > 1:
                size = f"up to {size} at NFE {most}"
            noun = "" if parts else " mean"
            parts.append(f"{word}{noun} at NFE {nfe_range(chosen, grid)} ({size})")
    return f"; {', '.join(parts)}" if parts else ""


def _sign_changes(curve: Curve, grid: list[int]) -> str:
    """The NFEs between which the change of the mean changes its sign, claimed or not."""
    # A ratio of exactly 1 has no side, and would count as a change before and after it.
    sides = {nfe: curve[nfe].ratio < 1 for nfe in grid if curve[nfe].ratio != 1}
    turns = _between(sides)
    if not turns:
        return ""
    if len(turns) > MOST_TURNS:
        return f"the mean changes sign {len(turns)} times, which looks like noise"
    return f"the mean changes sign {_places(turns)}"


def _between(sides: Mapping[int, object]) -> list[tuple[int, int]]:
    """Neighbouring NFEs with different sides."""
    nfes = list(sides)
    pairs = zip(nfes, nfes[1:], strict=False)
    return [(low, high) for low, high in pairs if sides[low] != sides[high]]


def _places(turns: list[tuple[int, int]]) -> str:
    return join([f"between NFE {low} and {high}" for low, high in turns])

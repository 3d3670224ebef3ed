"""Sentences on the number of seeds: what those there are can show, and what more would show."""

from __future__ import annotations

from reports.overview.question import equal_lines, placebo_lines, question_line
from reports.tables.arms import is_baseline
from reports.tables.evaluation_noise import evaluation_variance
from reports.tables.family import numbers_of
from reports.tables.groups import Group
from reports.tables.panels import Panel
from reports.tables.power import MOST_SEEDS, POWER, Plan, plan, seeds_until_clear
from reports.tables.primary import primary_panels
from reports.tables.statistics import Cell
from reports.text import plural


def notes(group: Group) -> list[str]:
    """Lines above the findings: the primary question, equal arms, placebos, and seeds; in ASCII."""
    lines = [
        question_line(group),
        *equal_lines(group),
        *placebo_lines(group),
        *seed_lines(group),
    ]
    return [line for line in lines if line]


def seed_lines(group: Group) -> list[str]:
    """Lines on the primary question, in ASCII: seeds that differences need, and couplings that a
    few more seeds would make clear. Empty with fewer than three shared seeds.
    """
    if not group.question:
        return []
    asked = primary_panels(group.panels, group.question)
    if not asked:
        return []
    # The last one is the one that is claimed.
    panel = asked[-1]
    # At the NFE of the question: the spread over seeds differs between NFEs.
    cells = _different(panel, group.question.nfe)
    found = plan([*cells.values()])
    if found is None:
        return []
    place = f"{panel.title}, at NFE {group.question.nfe}"
    lines = [f"{place}: {_differences(found)}."]
    lines += _split(evaluation_variance(panel, group.question.nfe, group.rows), found)
    # The estimate of one coupling may be far from all three differences.
    for names, cell in cells.items():
        more = seeds_until_clear(cell)
        if more:
            lines.append(
                f"{names}: x{cell.ratio:.2f} is not significant with {len(cell.baseline)} seeds."
                f" With {more} more it would be, if mean and spread stay the same."
            )
    return lines


def _split(variance: float | None, found: Plan) -> list[str]:
    """A line on the share of evaluation in the variance over seeds; empty if it is not known."""
    if variance is None or found.spread == 0:
        return []
    share = variance / found.spread**2
    # The variance over a few seeds is itself uncertain, so the estimate may exceed all of it.
    words = "nearly all" if share > 0.9 else f"about {5 * round(20 * share)} %"
    if share < 0.05:
        words = "less than 5 %"
    advice = "more images (--samples) would help less than more seeds"
    if share > 0.5:
        advice = "more images (--samples) would help as more seeds would"
    return [
        f"Evaluation (which latents are drawn) accounts for {words} of the variance of that log"
        f" ratio over seeds, training for the rest: {advice}."
    ]


def _different(panel: Panel, nfe: int) -> dict[str, Cell]:
    """The couplings but random, those of equal values together, to their cells."""
    names: dict[object, list[str]] = {}
    cells = {}
    for arm, cell in panel.cells[nfe].items():
        if cell.baseline and not is_baseline(arm):
            # Equal arms would say the same thing several times.
            names.setdefault(numbers_of(cell), []).append(arm)
            cells[numbers_of(cell)] = cell
    return {", ".join(arms): cells[numbers] for numbers, arms in names.items()}


def _differences(found: Plan) -> str:
    """``2 more seeds would show a difference of 20 %; 10 % needs 14 seeds, 5 % needs 52``."""
    shown = []
    missing = []
    # The largest difference first, which needs the fewest seeds.
    for effect, seeds in sorted(found.needed.items(), reverse=True):
        size = f"{100 * effect:.0f} %"
        if seeds is None:
            missing.append(f"{size} needs more than {MOST_SEEDS:,} seeds")
        elif seeds <= found.seeds:
            shown.append(size)
        elif missing:
            # In all: only the first number is what somebody may add today.
            missing.append(f"{size} needs {seeds} seeds")
        else:
            more = plural(seeds - found.seeds, "more seed")
            missing.append(f"{more} would show a difference of {size}")
    known = [f"{plural(found.seeds, 'seed')} can show a difference of {shown[-1]}"] if shown else []
    basis = f"power {100 * POWER:.0f} %, by the spread of the log ratio, {found.spread:.2f}"
    return f"{'; '.join(known + missing)} ({basis})"

"""Warnings: reasons to doubt the numbers of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from reports.overview.marginals import marginals
from reports.tables.arms import BASELINE, baseline_of, is_baseline, ordered
from reports.tables.groups import BUDGET, Group
from reports.tables.panels import marks
from reports.tables.runs import Run
from reports.tables.schedules import at_the_end, is_grid, missing_best, unshared
from reports.tables.statistics import LEAST_SEEDS
from reports.tables.tidy import varying_fields
from reports.text import counts, join, plural

SAFE_N = 10_000  # images from which the bias of a distance is small
UNEVEN = 1.5  # ratio of the speeds of equal runs from which times mean nothing


def warnings(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    """Lines to read before believing a number; a line that holds for all groups comes once."""
    # Ordered by first appearance, as the comparisons are.
    said: dict[str, list[str]] = {}
    for group in groups:
        lines = _seeds(group, groups) + _values(group) + _origins(group.runs)
        for line in lines + _few_images(group) + _schedules(group):
            said.setdefault(line, []).append(group.title)
    found = []
    for line, titles in said.items():
        found.append(line if len(titles) == len(groups) else f"{'; '.join(titles)}: {line}")
    found += (
        _spaces(runs)
        + _trainers(runs)
        + _noise_marginal(runs)
        + marginals(runs)
        + class_law(runs)
        + _features(groups)
    )
    return found + _budgets(groups, runs) + _code(runs)


def _seeds(group: Group, groups: Sequence[Group]) -> list[str]:
    lines = []
    counted = {coupling: len(seeds) for coupling, seeds in group.seeds.items()}
    single = [coupling for coupling, count in counted.items() if count < 2]
    if single:
        lines.append(f"One seed only for {join(single)}: differences of this size can be chance.")
    few = [coupling for coupling, count in counted.items() if 1 < count < LEAST_SEEDS]
    if few:
        lines.append(f"Fewer than three seeds for {join(few)}: no claims are made about them.")
    # Networks from files have no pairing, so a random one would not be their baseline.
    has_baseline = any(map(is_baseline, group.seeds))
    if group.trained and not has_baseline:
        lines.append(_no_baseline(group, groups))
    elif group.trained:
        lines += _alone(group.own_couplings)
    if len(set(map(tuple, group.seeds.values()))) > 1:
        parts = [f"{name} {', '.join(map(str, seeds))}" for name, seeds in group.seeds.items()]
        ratios = ""
        if has_baseline:
            ratios = (
                f"; ratios use the seeds that a coupling shares with {BASELINE}, and further seeds"
                f" of {BASELINE} count in part"
            )
        lines.append(f"The couplings have different seeds ({'; '.join(parts)}){ratios}.")
    return lines


def _alone(arms: Sequence[str]) -> list[str]:
    """A line on arms without random pairing under their objective and law."""
    # Another law or objective changes random pairing as well, so it is no baseline for them.
    alone = [arm for arm in arms if baseline_of(arm) not in arms]
    if not alone:
        return []
    return [
        f"There is no {BASELINE} run with the objective and noise law of {join(alone)}, so"
        f" {'it is' if len(alone) == 1 else 'they are'} not compared with {BASELINE}."
    ]


def _no_baseline(group: Group, groups: Sequence[Group]) -> str:
    pools = []
    for other in groups:
        if other.but_pool == group.but_pool and any(map(is_baseline, other.own_couplings)):
            pools.append(f"{other.rows['pool'].iloc[0]:,}")
    if pools:
        return (
            f"{BASELINE} was trained at pool {join(pools)} only, so couplings at other pools are"
            " not judged."
        )
    return (
        f"There is no {BASELINE} run, so no coupling can be judged: add one with --coupling"
        f" {BASELINE}."
    )


def _values(group: Group) -> list[str]:
    lines = []
    bad = group.rows[~group.rows["value"].map(math.isfinite)]
    if len(bad):
        lines.append(
            f"Values that are not finite: {len(bad)}, from {join(ordered(bad['coupling']))}. They"
            " are in the tables, not in the figures."
        )
    speeds = group.rows[group.rows["metric"].eq("images_per_s")]
    trained = speeds["n"].dropna().unique()
    if len(trained) > 1:
        lines.append(f"Unequal training: the runs saw {counts(trained)} images.")
    uneven = unevenness(group)
    if uneven > UNEVEN:
        lines.append(
            f"Identical runs differ up to {uneven:.1f}x in speed, so the machine was busy: do not"
            " compare times."
        )
    return lines


def unevenness(group: Group) -> float:
    """The largest ratio of the speeds of runs of one coupling; above ``UNEVEN`` times mean nothing.

    1 if no speed was measured twice.
    """
    speeds = group.rows[group.rows["metric"].eq("images_per_s")]
    # Couplings may well have different speeds, seeds of one may not.
    by_coupling = speeds.groupby("coupling")["value"]
    return (by_coupling.max() / by_coupling.min()).max() if len(speeds) else 1.0


def _spaces(runs: Sequence[Run]) -> list[str]:
    """A line for data whose distances are not those of images, such as latents."""
    lines = []
    for run in runs:
        for note in json.loads(run.provenance.get("data_notes", "[]")):
            # Other notes say how the files were read; they are in the provenance.
            if note.startswith("distances "):
                lines.append(f"Of {run.config.get('data')}, {note}.")
    return list(dict.fromkeys(lines))


def _origins(runs: Sequence[Run]) -> list[str]:
    """Provenance that must be equal for a fair comparison."""
    lines = []
    # A table of results has no hardware, which is no difference of it.
    differing = varying_fields([run.provenance for run in runs if not run.from_csv])
    recorded = [run.provenance for run in runs if "data_checksum" in run.provenance]
    if "data_checksum" in differing or len({str(p["data_checksum"]) for p in recorded}) > 1:
        lines.append(
            "The runs saw different data under the same name (data_checksum differs): do not"
            " compare them."
        )
    prefix = "features."
    features = [name.removeprefix(prefix) for name in differing if name.startswith(prefix)]
    if features:
        lines.append(
            f"The features {join(features)} are not the same in all runs: do not compare values"
            " that use them."
        )
    if any(name.startswith("hardware.") or name == "device" for name in differing):
        lines.append("The runs were made on different hardware: their times cannot be compared.")
    at_once = sorted({runs_at_once(run) for run in runs})
    if len(at_once) > 1:
        # A run alone on the machine trains faster than one that shares its caches and memory.
        numbers = join([str(count) for count in at_once])
        lines.append(
            f"The runs were made {numbers} at once (--parallel) and shared the cores: their times"
            " cannot be compared."
        )
    return lines


def runs_at_once(run: Run) -> int:
    """The most runs that were made at once with this one, itself included, in any session.

    Earlier versions made one after the other and do not record it.
    """
    # The training may have been made in another session than the last one. Lists come as JSON text.
    earlier = json.loads(run.provenance.get("earlier_sessions", "[]"))
    sessions = [run.provenance, *earlier]
    return max(session.get("parallel") or 1 for session in sessions)


def _few_images(group: Group) -> list[str]:
    # Distances that are extrapolated to infinitely many images have no such bias.
    biased = group.metrics.distances(group.rows["metric"].unique())
    distances = group.rows[group.rows["metric"].isin(biased) & group.rows["n"].notna()]
    lines = []
    for metric, part in distances.groupby("metric", sort=False):
        # The least n, at which the covariance is singular first.
        n = int(part["n"].min())
        size = group.sizes.get(metric)
        if size is not None and n <= size:
            lines.append(
                f"{metric} from {n:,} images in {size:,} dimensions is unreliable: the covariance"
                " is singular."
            )
    if len(distances) and distances["n"].min() < SAFE_N:
        lines.append(
            f"Distances from {distances['n'].min():,} images are biased upwards, Fréchet distances"
            " by about c/n, and c differs between couplings: compare only at equal n, and ignore"
            " small differences."
        )
    return lines


def different_schedules(group: Group) -> str | None:
    """A line if seeds of one coupling are compared at different best schedules."""
    known = group.rows["metric"].unique()
    lines = [unshared(group.rows, group.best, metric) for metric in group.metrics.distances(known)]
    # Of the first metric with a search only: those in the same features share their schedules.
    return next((line for line in lines if line), None)


def _schedules(group: Group) -> list[str]:
    if not is_grid(group.rows).any():
        return []
    # None, by which the metrics say that they have no split; NA is not equal to it.
    splits = group.rows["split"].astype(object).where(group.rows["split"].notna(), None)
    measured = set(zip(group.rows["metric"], splits, strict=True))
    judged = [metric for metric, _ in group.metrics.judged(measured)]
    lines = [missing_best(group.rows, group.best, metric) for metric in judged]
    for metric in judged:
        # Of the first metric with a search only: one line is enough, and the exact distance of
        # points in the plane has no search.
        at_end = at_the_end(group.rows, group.best, metric)
        if at_end:
            lines += at_end
            break
    lines.append(different_schedules(group))
    return [line for line in lines if line]


def _trainers(runs: Sequence[Run]) -> list[str]:
    """A line on runs of other programs: what is missing of them, and what is only said of them."""
    names = sorted({run.trainer for run in runs if run.trainer})
    if not names:
        return []
    return [
        f"The networks of {join(names)} were trained by another program: the cost and the settings"
        " of their training are not known, so their columns are empty, and their couplings and"
        " seeds are as declared."
    ]


def _noise_marginal(runs: Sequence[Run]) -> list[str]:
    biased = set()
    for run in runs:
        # Older runs lack the field, which says nothing about their noise samples.
        if run.provenance.get("exact_noise_marginal") is False:
            biased.add(str(run.config["coupling"]))
    if not biased:
        return []
    verb = "does" if len(biased) == 1 else "do"
    return [
        f"{join(sorted(biased))} {verb} not preserve the noise distribution: training noise differs"
        " from sampling noise."
    ]


_CLASS_LAWS = {
    "data": "Conditional denoisers generated each class as often as the training split has it.",
    "uniform": (
        "Conditional denoisers generated all classes equally often: if the classes of the data are"
        " not equally large, the distances contain that difference (--class-law data avoids it)."
    ),
}


def class_law(runs: Sequence[Run]) -> list[str]:
    """The law of the classes of conditional denoisers; runs that do not record it are older and
    drew uniformly.
    """
    laws = set()
    for run in runs:
        # Tables of earlier versions do not have it, whatever it was.
        if run.from_csv and "class_law" not in run.provenance:
            continue
        if run.config.get("training.conditional") or "class_law" in run.provenance:
            laws.add(str(run.provenance.get("class_law", "uniform")))
    return [_CLASS_LAWS[law] for law in sorted(laws)]


def _features(groups: Sequence[Group]) -> list[str]:
    names: set[str] = set()
    for group in groups:
        # A distance without features, such as w2, is nobody's FID by mistake.
        frechet = group.metrics.of_family("fd") + group.metrics.of_family("fd_infinity")
        names.update(set(frechet) & set(group.rows["metric"]))
    other = sorted(name for name in names if not name.endswith("_inception"))
    if not other:
        return []
    verb = "does" if len(other) == 1 else "do"
    return [
        f"{join(other)} {verb} not use Inception-v3 features: not FID, and not comparable with"
        " published FIDs."
    ]


def _budgets(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    consequence = "only equal ones are compared"
    for group in groups:
        if any(BUDGET in mark for mark in marks(group.rows)):
            consequence = "they are compared because --mixed asks for it"
    by_data: dict[str, set[int]] = {}
    for run in runs:
        budget = run.config.get(BUDGET)
        if budget is not None:
            by_data.setdefault(str(run.config["data"]), set()).add(budget)
    lines = []
    for data, budgets in sorted(by_data.items()):
        # Of one data set: other data needs another budget.
        if len(budgets) > 1:
            words = counts(budgets)
            lines.append(f"{data}: training budgets differ ({words} images); {consequence}.")
    return lines


def _code(runs: Sequence[Run]) -> list[str]:
    lines = []
    tables = sum(run.from_csv for run in runs)
    if tables:
        lines.append(
            f"{plural(tables, 'run')} of {len(runs)} were read from a results.csv: their hardware,"
            " versions and commits are not known, and no pictures of them are shown."
        )
    runs = [run for run in runs if not run.from_csv]
    dirty = sum(bool(run.provenance.get("git_dirty")) for run in runs)
    if dirty:
        lines.append(f"{dirty} of {plural(len(runs), 'run')} were made with uncommitted changes.")
    commits = {run.provenance.get("git_sha") for run in runs}
    if len(commits) > 1:
        lines.append(f"The runs come from {len(commits)} versions of the code.")
    if None in commits:
        lines.append("The code version of some runs is unknown (no git checkout).")
    return lines

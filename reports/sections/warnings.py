"""Warnings of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.tables.groups import BUDGET, Group, marks
from reports.tables.metrics import to_judge
from reports.tables.rho import at_the_end, is_grid, missing_best
from reports.tables.runs import Run
from reports.tables.statistics import BASELINE, LEAST_SEEDS, ordered
from reports.tables.tidy import varying_fields
from reports.text import join

SAFE_N = 10_000
UNEVEN = 1.5  # times that the speeds of one arm's seeds may differ before times mean nothing


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
    lines = [
        line if len(titles) == len(groups) else f"{'; '.join(titles)}: {line}"
        for line, titles in said.items()
    ]
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
    elsewhere = [
        other for other in groups if other.but_pool == group.but_pool and BASELINE in other.arms
    ]
    if not group.trained:
        pass  # there is no pairing to compare with
    elif BASELINE not in seeds and elsewhere:
        at = join([f"{other.rows.pool.iloc[0]:,}" for other in elsewhere])
        found.append(
            f"{BASELINE} was trained at pool {at} only, so no coupling is judged at another."
        )
    elif BASELINE not in seeds:
        found.append(
            f"There is no {BASELINE} arm, so no coupling can be judged: run --coupling {BASELINE}"
            " as well."
        )
    if len({tuple(own) for own in seeds.values()}) > 1:
        listed = "; ".join(f"{arm} {', '.join(map(str, own))}" for arm, own in seeds.items())
        ratios = (
            f"; ratios use those that an arm shares with {BASELINE}" if BASELINE in seeds else ""
        )
        found.append(f"The arms have different seeds ({listed}){ratios}.")
    return found


def _value_warnings(group: Group) -> list[str]:
    found = []
    bad = group.rows[~group.rows.value.map(math.isfinite)]
    if len(bad):
        arms = join(ordered(bad.coupling))
        found.append(
            f"Values that are not finite: {len(bad)}, from {arms}. They are in the tables, not in"
            " the figures."
        )
    trained = sorted(group.rows[group.rows.metric == "images_per_s"].n.dropna().unique())
    if len(trained) > 1:
        found.append(f"Unequal training: the arms saw {join([f'{n:,}' for n in trained])} images.")
    speeds = group.rows[group.rows.metric == "images_per_s"].groupby("coupling").value
    if len(speeds) and (uneven := (speeds.max() / speeds.min()).max()) > UNEVEN:
        found.append(
            f"Equal runs trained at speeds up to {uneven:.1f} times apart: the machine may have"
            " done other work, and no seconds, milliseconds or images a second can be compared"
            " between arms."
        )
    return found


def _behind_warnings(members: Sequence[Run]) -> list[str]:
    """What must be equal behind equal configurations for the comparison to be fair."""
    found = []
    differing = varying_fields([run.provenance for run in members])
    if "data_checksum" in differing:
        found.append(
            "The runs saw different data under the same name (data_checksum differs): do not"
            " compare them."
        )
    features = [
        name.removeprefix("features.") for name in differing if name.startswith("features.")
    ]
    if features:
        found.append(
            f"The features {join(features)} are not the same in all runs: do not compare what rests"
            " on them."
        )
    if any(name.startswith("hardware.") or name == "device" for name in differing):
        found.append("The runs were made on different hardware: their times cannot be compared.")
    return found


def _small_n(group: Group, members: Sequence[Run]) -> list[str]:
    metric = group.rows.metric  # what is extrapolated is free of this bias
    fd = group.rows[
        metric.str.startswith("fd_") & ~metric.str.startswith("fd_infinity_") & group.rows.n.notna()
    ]
    found = []
    for metric in fd.metric.unique():
        n = int(fd[fd.metric == metric].n.min())
        size = members[0].provenance.get(f"feature_sizes.{metric.removeprefix('fd_')}")
        if isinstance(size, int) and n <= size:
            found.append(
                f"{metric}: {n:,} images in {size:,} features make a singular covariance; it means"
                " little."
            )
    if len(fd) and fd.n.min() < SAFE_N:
        found.append(
            f"Fréchet distances from {fd.n.min():,} images are too high by about c/n, with c"
            " depending on the arm: compare at equal n only, and make nothing of small"
            " differences."
        )
    return found


def _rho_warnings(group: Group) -> list[str]:
    if not is_grid(group.rows).any():
        return []
    splits = group.rows["split"].astype(object).where(group.rows["split"].notna(), None)
    judged = [metric for metric, _ in to_judge(set(zip(group.rows["metric"], splits, strict=True)))]
    lines = [line for metric in judged if (line := missing_best(group.rows, metric))]
    # Of the first metric that has a search of its own: the exact distance of points in the plane
    # has none.
    return lines + next(
        (found for metric in judged if (found := at_the_end(group.rows, metric))), []
    )


def _marginal_warning(runs: Sequence[Run]) -> list[str]:
    kept = "exact_noise_marginal"
    biased = sorted(
        {str(run.config["coupling"]) for run in runs if run.provenance.get(kept) is False}
    )
    if not biased:
        return []
    verb = "does" if len(biased) == 1 else "do"
    return [
        f"{join(biased)} {verb} not keep the noise marginal: "
        "the denoiser is trained on other noise than it is sampled with."
    ]


def _class_warnings(runs: Sequence[Run]) -> list[str]:
    """The law of the classes of conditional denoisers; runs that do not record it are older and
    drew uniformly.
    """
    conditional = [
        run
        for run in runs
        if run.config.get("training.conditional") or "class_law" in run.provenance
    ]
    laws = {str(run.provenance.get("class_law", "uniform")) for run in conditional}
    sentences = {
        "data": (
            "Conditional denoisers are asked for each class as often as the training split has it."
        ),
        "uniform": (
            "Conditional denoisers were asked for all classes equally often: where the data's"
            " classes are not equally large, the distances contain that difference (--class-law"
            " data measures without it)."
        ),
    }
    return [sentences[law] for law in sorted(laws)]


def _feature_warning(groups: Sequence[Group]) -> list[str]:
    names = sorted(
        {name for group in groups for name in group.rows.metric.unique() if name.startswith("fd_")}
    )
    names = [name for name in names if not name.endswith("_inception")]
    if not names:
        return []
    verb = "uses" if len(names) == 1 else "use"
    return [
        f"{join(names)} {verb} other features than Inception-v3: no FID, and not comparable with"
        " published FIDs."
    ]


def _budget_warning(groups: Sequence[Group], runs: Sequence[Run]) -> list[str]:
    mixed = any(BUDGET in line for group in groups for line in marks(group.rows))
    what = (
        "they are compared nevertheless, as was asked for"
        if mixed
        else "only equal ones are compared"
    )
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
        found.append(
            f"{dirty} of {len(runs)} runs were made from a git tree with changes that were not"
            " committed."
        )
    commits = {run.provenance.get("git_sha") for run in runs}
    if len(commits) > 1:
        found.append(f"The runs come from {len(commits)} versions of the code.")
    if None in commits:
        found.append("The code version of some runs is unknown (no git checkout).")
    return found

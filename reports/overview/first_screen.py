"""The first screen of a comparison: its question, one line of facts, and for each judged metric and
schedule the cards and the table of changes.

It has no HTML, because the page and the terminal show the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.overview.cards import Card, cards, reach_card
from reports.tables.arms import coupling_of, objectives
from reports.tables.changes import ChangeTable, change_table
from reports.tables.groups import BUDGET, Group
from reports.tables.overhead import overhead
from reports.tables.panels import Panel, side_by_side
from reports.tables.primary import equal_arms, primary_panels
from reports.tables.reach import reach
from reports.tables.titles import data_title, short_names
from reports.text import is_missing, join, listed, plural

_OBJECTIVES = {"edm": "EDM", "flow": "flow matching"}


@dataclass(frozen=True)
class View:
    """One metric at one schedule.

    Attributes:
        metric: in words, with settings that differ from the usual ones.
        code: name of the metric, as in ``results.csv``.
        schedule: in words; empty if there is only one.
        table: the changes.
        cards: the answers.
        default: True for the view that answers the primary question.

    """

    metric: str
    code: str
    schedule: str
    table: ChangeTable
    cards: tuple[Card, ...]
    default: bool

    @property
    def title(self) -> str:
        """Metric and schedule in words."""
        return listed([self.metric, self.schedule])


@dataclass(frozen=True)
class Screen:
    """The first screen.

    Attributes:
        title: the question with the data set.
        facts: couplings, pool, training images, seeds, and what else distinguishes the comparison.
        views: of the judged metrics, the default first; empty if none was measured.

    """

    title: str
    facts: tuple[str, ...]
    views: tuple[View, ...]

    @property
    def default(self) -> View | None:
        """The view that answers the primary question; None without any."""
        return self.views[0] if self.views else None


def first_screen(group: Group) -> Screen:
    """The first screen of one comparison, without guidance and other starts."""
    group = group.plain
    return Screen(_title(group), tuple(_facts(group)), tuple(_views(group)))


def question_of(data: str, judged: bool = True) -> str:
    """The title of a page: the question, with the data in words."""
    asked = "which coupling at your NFE?" if judged else "paths and costs of couplings"
    return f"{data}: {asked}"


def objective_title(objective: str) -> str:
    """``flow matching`` for ``flow``; an objective of the user's own as it is."""
    return _OBJECTIVES.get(objective, objective)


def _title(group: Group) -> str:
    data = str(group.rows["data"].iloc[0])
    named, _, _ = group.title.partition(", ")
    # Another source of the noise samples belongs to the data: "moons from eight-gaussians".
    source = named.removeprefix(data) if named.startswith(f"{data} from ") else ""
    return question_of(data_title(data) + source, any(panel.judged for panel in group.panels))


def _facts(group: Group) -> list[str]:
    # One coupling under two objectives is named twice, and is one coupling.
    couplings = {coupling_of(arm) for arm in group.own_couplings}
    facts = [plural(len(couplings), "coupling")]
    # Results with one objective say nothing about the other.
    if group.trainer:
        facts.append(f"trained by {group.trainer}")
    elif group.trained:
        facts.append(join([*map(objective_title, objectives(group.rows).unique())]))
    pool = group.rows["pool"].iloc[0]
    if not is_missing(pool):
        facts.append(f"pool {pool:,}")
    trained = _training_images(group)
    if len(trained) == 1:
        facts.append(f"{trained.pop():,} training images per run")
    counted = sorted({len(seeds) for seeds in group.seeds.values()})
    # An en dash, as in other ranges of numbers on one line.
    few = f"{counted[0]}–{counted[-1]} seeds"
    facts.append(few if len(counted) > 1 else plural(counted[0], "seed"))
    # What is left of the title distinguishes the comparison from others of this data set.
    _, _, rest = group.title.partition(f", pool {pool}")
    if rest.strip(", "):
        facts.append(rest.strip(", "))
    return facts


def _training_images(group: Group) -> set[int]:
    """The training budgets of the runs; those of older tables from the images that were timed."""
    known = {run.config.get(BUDGET) for run in group.runs} - {None}
    # A table that is read without its runs has their configuration in its columns.
    if not known and BUDGET in group.rows:
        known = set(group.rows[BUDGET].dropna().unique())
    if known:
        return {int(images) for images in known}
    timed = group.rows["n"][group.rows["metric"].eq("images_per_s")]
    return {int(images) for images in timed.dropna().unique()}


def _views(group: Group) -> list[View]:
    judged = [panel for panel in group.panels if panel.judged]
    # Of several samplers the one that all are compared with.
    judged = [panel for panel in judged if panel.plain] or judged
    asked = primary_panels(group.panels, group.question) if group.question else []
    answers = asked[-1:] or judged[-1:]
    equal = equal_arms(group.panels)
    work = overhead(group.rows)
    names = short_names(group.own_couplings)
    found = []
    for shared in side_by_side(judged):
        # The truncation error has no split: to be near the model's own paths is no quality.
        reached = reach(shared) if shared[0].split == "test" else None
        for panel in shared:
            table = change_table(panel, group.question, equal, work)
            saving = reach_card(reached, panel.schedule, names)
            shown = (*cards(table), *([saving] if saving else []))
            metric = listed([panel.info.words, panel.settings, _unreliable(group, panel)])
            default = any(panel is one for one in answers)
            view = View(metric, panel.metric, _schedule(panel), table, shown, default)
            found.append(view)
    # The default first, the others in the order of the report.
    return sorted(found, key=lambda view: not view.default)


def _unreliable(group: Group, panel: Panel) -> str:
    """``unreliable: 6 images in 768 dimensions`` for a distance with a singular covariance."""
    size = group.sizes.get(panel.metric)
    measured = group.rows["metric"].eq(panel.metric) & group.rows["split"].eq(panel.split)
    n = group.rows["n"][measured].min()
    # Distances without features, such as W2, have no covariance.
    if size is None or is_missing(n) or n > size:
        return ""
    return f"unreliable: {plural(int(n), 'image')} in {size:,} dimensions"


def _schedule(panel: Panel) -> str:
    if panel.at_best:
        return f"each at its own {panel.schedule}"
    return f"all at {panel.schedule}" if panel.schedule else ""

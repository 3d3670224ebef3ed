"""The pages of a report: an overview, and a page for each comparison if there are several."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.record.infos import Info
from reports import text
from reports.figures.style import looks
from reports.files import html
from reports.overview.face import Face, face
from reports.overview.first_screen import first_screen
from reports.overview.pools import CUT, pools
from reports.overview.summary import Summary, summarise
from reports.overview.warnings import warnings
from reports.sections.contract import Section
from reports.tables.arms import ordered
from reports.tables.changes import certainty, change_of, direction, in_words, strength
from reports.tables.groups import Group
from reports.tables.metrics import verdict
from reports.tables.primary import NFE
from reports.tables.runs import Excluded, Run
from reports.tables.statistics import Cell
from reports.tables.tidy import varying_fields
from reports.tables.titles import data_title

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

ENTRY = "report.html"
_PAGE = "comparison-{}.html"  # of one comparison, numbered from 1
# Fields of the configuration that tables show in columns of their own
_SHOWN = {"data", "coupling", "seed", "training.pool"}


@dataclass(frozen=True)
class Part:
    """A section of one comparison as HTML.

    Attributes:
        key: end of its anchor.
        title: heading and entry in the contents.
        html: its content.
        folded: True if a reader opens it.

    """

    key: str
    title: str
    html: Markup
    folded: bool


@dataclass(frozen=True)
class Comparison:
    """One comparison on the page.

    Attributes:
        group: the runs.
        face: its first screen.
        summary: its findings in words.
        parts: its sections.
        page: file of its page; empty if it is on the entry page.

    """

    group: Group
    face: Face
    summary: Summary
    parts: list[Part]
    page: str

    @property
    def id(self) -> str:
        """Start of its anchors."""
        return self.group.id

    @property
    def title(self) -> str:
        """Its title."""
        return self.group.title


def render(
    table: pd.DataFrame,
    groups: Sequence[Group],
    runs: Sequence[Run],
    excluded: Sequence[Excluded],
    sections: Sequence[Section],
) -> dict[str, str]:
    """File name to page, the entry last; the same runs give the same bytes.

    Args:
        table: tidy results.
        groups: its comparisons.
        runs: the runs that they are of.
        excluded: folders that are left out.
        sections: of the page of a comparison, in order.

    """
    environment = page_environment(groups[0].couplings if groups else [], sections)
    # A page for each comparison keeps pages small; one comparison needs no second click.
    several = len(groups) > 1
    look = looks(groups[0].couplings if groups else [])
    comparisons = []
    for number, group in enumerate(groups, 1):
        page = page_of(number) if several else ""
        parts = _parts(environment, group, sections)
        first = face(first_screen(group), look)
        comparisons.append(Comparison(group, first, summarise(group), parts, page))
    # The entry is written last, so its links never lead to a page that is missing.
    pages = {}
    if several:
        template = environment.get_template("comparison.html")
        for number, comparison in enumerate(comparisons):
            group = comparison.group
            pages[comparison.page] = template.render(
                comparison=comparison,
                before=comparisons[number - 1] if number else None,
                after=comparisons[number + 1] if number + 1 < len(comparisons) else None,
                # A doubt about the runs of another page would be read as one about these.
                warnings=warnings([group], group.runs),
            )
    over_pools = pools(table)
    lead = _lead(comparisons)
    pages[ENTRY] = environment.get_template(ENTRY).render(
        title=_title(table, lead, bool(over_pools)),
        facts=lead.face.facts if lead else _facts(runs, groups),
        lead=lead,
        comparisons=comparisons,
        runs=runs,
        excluded=excluded,
        warnings=warnings(groups, runs),
        pools=over_pools,
        saved=CUT,
        **_origins(runs),
    )
    return pages


def _lead(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison that a report begins with: the newest of those with an answer, by the start of
    its runs; that of most runs where this is not known. None without an answer.
    """
    answered = [one for one in comparisons if one.face.views] or [*comparisons][:1]
    if len(comparisons) > 1 and not answered[0].face.views:
        return None
    return max(answered, key=_newest, default=None)


def _newest(comparison: Comparison) -> tuple[str, int]:
    started = [str(run.provenance.get("started") or "") for run in comparison.group.runs]
    runs = comparison.group.rows["run_id"].nunique()
    return max(started, default=""), int(runs)


def _title(table: pd.DataFrame, lead: Comparison | None, over_pools: bool) -> str:
    if lead:
        return lead.face.title
    data = text.join([data_title(name) for name in sorted(set(table["data"]))])
    if over_pools:
        return f"{data}: how large a pool?"
    return f"{data}: paths and costs of couplings" if data else "Couplings compared"


def _facts(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """Phrases on all runs, where no comparison leads."""
    facts = [text.plural(len(runs), "finished run")]
    if groups:
        facts.append(text.join(ordered(groups[0].couplings)))
        most = max(max(map(len, group.seeds.values())) for group in groups)
        facts.append(text.plural(most, "seed"))
    return facts


def page_of(number: int) -> str:
    """File of the page of one comparison of several, numbered from 1."""
    return _PAGE.format(number)


def stale_pages(folder: Path, count: int) -> list[Path]:
    """Pages in a folder of an earlier report with more than ``count`` comparisons."""
    # A single comparison is part of the entry page, so a numbered page of it is stale as well.
    pages = [page_of(number) for number in range(1, count + 1)] if count > 1 else []
    # A file of the user's own, such as comparison-2-notes.html, is not ours to remove.
    numbered = re.compile(_PAGE.format(r"\d+").replace(".", r"\."))
    ours = [path for path in folder.glob("*.html") if numbered.fullmatch(path.name)]
    return [path for path in ours if path.name not in pages]


def page_environment(couplings: Sequence[str], sections: Sequence[Section] = ()) -> Environment:
    """The environment of pages with first screens.

    Args:
        couplings: all that the pages show, each with one look.
        sections: of the page of a comparison.

    """
    # Templates of a user's own sections stand next to their modules, wherever that is.
    templates = {str(own.template): own.template.read_text(encoding="utf-8") for own in sections}
    found = html.environment(templates)
    for form in (change_of, certainty, strength, direction, in_words):
        found.filters[form.__name__] = form
    found.filters["verdict"] = _verdict
    found.filters["value"] = _value
    found.globals["look"] = looks(couplings)
    found.globals["headline_nfe"] = NFE
    return found


def _parts(environment: Environment, group: Group, sections: Sequence[Section]) -> list[Part]:
    """The sections that have something to show."""
    parts = []
    for section in sections:
        content = section.module.build(group)
        if content is not None:
            template = environment.get_template(str(section.template))
            # Its own template escaped it; as plain text the page would escape its tags once more.
            rendered = Markup(template.render(group=group, content=content))
            folded = bool(getattr(section.module, "folded", False))
            parts.append(Part(section.key, section.module.title, rendered, folded))
    return parts


def _origins(runs: Sequence[Run]) -> dict[str, object]:
    """Configuration and provenance of the runs, for the template: what they share and what
    differs.
    """
    configs = [run.config for run in runs]
    provenance = [_words(run.provenance) for run in runs]
    # Fields that are equal in all runs are listed once; the others are columns of the runs.
    varying = varying_fields(configs)
    # The seed is a column of the runs anyway.
    differing = [name for name in varying_fields(provenance) if name != "seed"]
    return {
        "config_common": _common(configs, varying),
        "config_varying": varying,
        "from_files": any(run.network and not run.trainer for run in runs),
        "provenance": provenance,
        "provenance_common": _common(provenance, differing),
        "provenance_differing": differing,
    }


def _words(record: Mapping[str, object]) -> dict[str, object]:
    """A flat record with its lists as words."""
    return {key: _readable(value) for key, value in record.items()}


def _readable(value: object) -> object:
    """A list of the provenance as words; it comes as JSON."""
    # Records are flat, so lists come as JSON text (``reports.tables.runs.flatten``).
    if not isinstance(value, str) or not value.startswith("["):
        return value
    # Not all that begins with a bracket is JSON: a name or a commit message may do so, too.
    try:
        items = json.loads(value)
    except ValueError:
        return value
    return "; ".join(map(_item, items)) or "none"


def _item(item: object) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{key} {_item(value)}" for key, value in item.items())
    if isinstance(item, list):
        return " ".join(map(_item, item))
    return text.plain(item)


def _common(records: Sequence[dict[str, object]], differing: Sequence[str]) -> dict[str, object]:
    """Fields that all records which have them share with one value, by name."""
    common: dict[str, object] = {}
    for record in records:
        # The first record wins; common fields are equal in all that have them.
        common = record | common
    return {name: common[name] for name in sorted(common) if name not in _SHOWN.union(differing)}


def _verdict(cell: Cell, info: Info) -> str:
    """The verdict as a filter: its cell comes first."""
    return verdict(info, cell)


def _value(cell: Cell, info: Info) -> str:
    """A value per run; shares in percent."""
    return text.percent(cell.mean) if info.share else text.number(cell.mean)

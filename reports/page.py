"""The page: what the template shows, gathered from the tidy table and the run folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from reports import text as words
from reports.figures import charts, style
from reports.files.wide import COST, CURVATURE
from reports.room import CELLS, CHARTS, FIGURES, Room, pictures
from reports.sections import plane
from reports.sections.adaptive import Adaptive, adaptive
from reports.sections.cost import NFE, Pareto, pareto
from reports.sections.guidance import Guided, guided, sentences
from reports.sections.headline import Headline, headlines
from reports.sections.heats import Heat, heats
from reports.sections.images import Grid, Pictures, grids, pictures_of
from reports.sections.pools import pools
from reports.sections.reach import Reach, reach
from reports.sections.starts import Started, started
from reports.sections.summary import Summary, summarise
from reports.sections.values import BAR_CHARTS, Curve, Figure, curve_of, figure_of
from reports.sections.warnings import warnings
from reports.tables import metrics
from reports.tables.groups import Group, Panel, cost_cut, profiles, side_by_side
from reports.tables.runs import Excluded, Run
from reports.tables.select import floors, ordinary
from reports.tables.statistics import Cell, ordered
from reports.tables.tidy import varying_fields
from reports.text import _breakable, _plain

if TYPE_CHECKING:
    import pandas as pd


T = TypeVar("T", Guided, Started)
_SHARES = ("coupling_share", "coupling_wait_share", "classifier_accuracy")
_NO_RATIO = (
    "classifier_accuracy",
    "coupling_fit_seconds",
    "coupling_ms",
    "coupling_share",
    "coupling_wait_share",
    "transport_cost_independent",
    "validation_loss_own",
)
"""Metrics of which a ratio to random says nothing: random couples in no time, or all arms have the
same value.
"""


@dataclass(frozen=True)
class Section:
    """All that is shown of one group.

    Attributes: trained: whether the arms were trained here; networks from files have no random arm
        to be compared with. charts: the room for charts of guidance, starts and overhead, which are
        drawn with the page. left_out: how many figures, tables and pictures found no room.

    """

    id: str
    title: str
    trained: bool
    arms: list[str]
    headlines: list[Headline]
    summary: Summary
    figures: list[Figure]
    other_figures: list[Figure]
    profiles: list[Figure]
    reach: list[Reach]
    curves: list[Curve]
    more: list[Curve]
    heats: list[list[Heat]]
    adaptive: list[Adaptive]
    costs: list[Panel]
    cut: dict[str, float]
    pareto: Pareto | None
    guided: Guided | None
    started: Started | None
    samples: dict[str, list[Grid]]
    points: Figure | None
    charts: Room
    left_out: dict[str, int]


def render(
    table: pd.DataFrame, found: Sequence[Group], runs: Sequence[Run], excluded: Sequence[Excluded]
) -> str:
    """The whole page as HTML; the same runs give the same bytes. ``found``: the groups of the
    table.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    look = style.looks(table.coupling)
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number, "short": words.short, "percent": words.percent, "cost": _cost, "plain": _plain,
        "breakable": _breakable, "judged": metrics.judged, "about": metrics.about,
    }  # fmt: skip
    environment.globals |= {"charted": _charted, "sentences": sentences}
    configs, origins = [run.config for run in runs], [run.provenance for run in runs]
    varying, differing = varying_fields(configs), _differing(origins)
    pooled = pools(ordinary(table))
    return environment.get_template("report.html").render(
        runs=runs,
        excluded=excluded,
        arms=ordered(table.coupling),
        data=sorted(set(table.data)),
        look=look,
        warnings=warnings(found, runs),
        sections=_sections(found, runs, look),
        pools=pooled,
        room=Room(CHARTS),
        metrics=metrics.METRICS,
        missing=words.MISSING,
        no_ratio=_NO_RATIO,
        costs_time=(*COST, "evaluate_seconds"),
        of_paths=CURVATURE,
        pareto_nfe=NFE,
        config_common=_common(configs, varying),
        from_files=any(config.get("checkpoint") for config in configs),
        config_varying=varying,
        provenance_common=_common(origins, differing),
        provenance_differing=differing,
    )


def _sections(
    found: Sequence[Group], runs: Sequence[Run], look: dict[str, style.Look]
) -> list[Section]:
    """All groups, each with an equal share of the room."""
    ids = [set(group.rows.run_id.unique()) for group in found]
    members = [[run for run in runs if run.run_id in own] for own in ids]
    there = [pictures_of(own) for own in members]
    shares = [share // max(1, len(found)) for share in (FIGURES, CELLS, CHARTS)]
    numbered = enumerate(
        zip(found, there, pictures(there), map(plane.scatter, members), strict=True), 1
    )
    return [
        _section(f"g{i}", group, look, map(Room, shares), *shown) for i, (group, *shown) in numbered
    ]


def _section(
    id_: str,
    group: Group,
    look: dict[str, style.Look],
    shares: Iterable[Room],
    there: Pictures,
    shown: Pictures,
    points: plane.Scatter | None,
) -> Section:
    every, group = group, group.plain if len(group.plain.rows) else group
    drawings, cells, rest = shares
    found, real = group.panels, floors(every.rows)
    over_nfe = [panel for panel in found if panel.per_nfe and not metrics.family(panel.metric)]
    of_samples = [panel for panel in found if panel.per_nfe and metrics.family(panel.metric)]
    costs = [panel for panel in found if not panel.per_nfe]
    drawn = side_by_side(over_nfe)
    bars = [[panel] for panel in costs if panel.metric in BAR_CHARTS]
    distances = [panel for panel in over_nfe if panel.judged and panel.split == "test"]

    def draw(several: Sequence[Sequence[Panel]]) -> list[Figure]:
        return drawings.keep(
            [partial(figure_of, shared, look) for shared in several], lambda figure: len(figure.svg)
        )

    def curves(panels: Sequence[Panel], real: dict[str, float] | None) -> list[Curve]:
        return cells.keep(
            [partial(curve_of, panel, real) for panel in panels], lambda curve: curve.size
        )

    # What finds room first: the values that all compare, then how their rho was chosen, then other
    # samplers.
    plain = curves([panel for panel in over_nfe if panel.plain], None)
    first_pass = cells.keep(
        [partial(list, one) for one in _by_title(heats(group.rows))],
        lambda arms: sum(map(len, arms)),
    )
    section = Section(
        id=id_,
        title=group.title,
        trained=group.trained,
        arms=group.arms,
        headlines=headlines(group.panels),
        summary=summarise(group),
        figures=draw([shared for shared in drawn if shared[0].plain] + bars),
        profiles=draw(side_by_side(profiles(group))),
        other_figures=draw([shared for shared in drawn if not shared[0].plain]),
        reach=[found for shared in side_by_side(distances) if (found := reach(shared))],
        heats=first_pass,
        curves=plain + curves([panel for panel in over_nfe if not panel.plain], None),
        adaptive=adaptive(group),
        costs=costs,
        cut=cost_cut(group),
        pareto=pareto(group.rows, group.panels),
        guided=_listed(guided(every.rows, look), cells),
        started=_listed(started(every.rows), cells),
        more=curves(of_samples, real),
        samples=grids(shown),
        points=(
            drawings.take(lambda: _points(points, look), lambda figure: len(figure.svg))
            if points
            else None
        ),
        charts=rest,
        left_out={},
    )
    pictures_left = sum(map(len, there.values())) - sum(map(len, shown.values()))
    left_out = {"figures": drawings.refused, "tables": cells.refused, "pictures": pictures_left}
    return replace(section, left_out=left_out)


def _by_title(found: Sequence[Heat]) -> list[list[Heat]]:
    return [list(of_title) for _, of_title in groupby(found, key=lambda heat: heat.title)]


def _listed(found: T | None, cells: Room) -> T | None:
    """Guidance or starts, without the table of everything where that finds no room."""
    if found is None or not found.listing.rows:
        return found
    kept = cells.take(
        lambda: found.listing, lambda listing: len(listing.rows) * len(listing.columns)
    )
    return replace(found, listing=kept or replace(found.listing, rows=[]))


def _charted(
    room: Room,
    title: str,
    found: Sequence[charts.Chart],
    look: dict[str, style.Look],
    about: str = "",
) -> Figure | None:
    """Charts side by side as one figure; None where there is no room for it."""
    caption = f"{about} {charts.caption(found)}".strip()
    return room.take(
        lambda: Figure(title, charts.draw(found, look), caption, len(found) > 1),
        lambda figure: len(figure.svg),
    )


def _points(found: plane.Scatter, look: dict[str, style.Look]) -> Figure:
    return Figure("Generated points", plane.draw(found, look), found.caption, wide=True)


def _differing(origins: Sequence[dict[str, object]]) -> list[str]:
    """Provenance fields that are not the same in all runs; the seed is shown anyway."""
    return [name for name in varying_fields(origins) if name != "seed"]


def _common(records: Sequence[dict[str, object]], differing: Sequence[str]) -> dict[str, object]:
    """Fields that all records which have them share with one value."""
    left_out = {*differing, "data", "coupling", "seed", "training.pool"}
    everything = {name: value for record in reversed(records) for name, value in record.items()}
    return {name: value for name, value in sorted(everything.items()) if name not in left_out}


def _cost(cell: Cell, metric: str) -> str:
    """A value of the cost table; shares as percentages."""
    return words.percent(cell.mean) if metric in _SHARES else words.number(cell.mean)

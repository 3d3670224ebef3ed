"""A comparison with a published table as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.reproduction.compare import AGREES, DIFFERS, NOT_RUN, RatioRow, Row
from reports.reproduction.table import Table
from reports.text import MISSING, number, plural, short


def render(table: Table, rows: Sequence[Row], ratios: Sequence[RatioRow]) -> str:
    """The comparison: cells by metric, statements, settings that differ, and what was not run."""
    parts = [f"# {table.title}", table.source, _summary(rows), _about(table)]
    # A reader compares arms in one metric, so each has a table of its own.
    for metric in table.metrics:
        of_metric = [row for row in rows if row.metric == metric]
        if of_metric:
            parts += [f"## {metric}", _cells(of_metric)]
    if ratios:
        parts += ["## Statements", _statements(ratios)]
    if table.differences:
        lines = [[one.what, one.theirs, one.ours] for one in table.differences]
        parts += ["## Settings", _grid(["setting", "published", "here"], lines)]
    if missing := _not_run(table, rows):
        parts += ["## Not run", missing]
    return "\n\n".join(parts) + "\n"


def _summary(rows: Iterable[Row]) -> str:
    verdicts = [row.verdict for row in rows]
    agreeing = verdicts.count(AGREES)
    # One seed, or no published number, gives no verdict: such cells do not count as agreement.
    judged = agreeing + verdicts.count(DIFFERS)
    return f"{agreeing} of {plural(judged, 'judged cell')} agree."


def _about(table: Table) -> str:
    if table.tolerance is not None:
        return f"A cell agrees if it differs by at most {100 * table.tolerance:g} %."
    return (
        "Mean ± sample standard deviation over seeds (number of seeds). A cell agrees if the"
        " difference is at most t(0.975; n + m - 2) standard errors for n of our seeds and m"
        f" published ones ({table.seeds}); 1 cell in 20 of a perfect reproduction differs."
    )


def _cells(rows: Iterable[Row]) -> str:
    head = ["task", "run", "here", "published", "difference", "standard error", "limit", "verdict"]
    lines = []
    for row in rows:
        lines.append(
            [
                row.task,
                row.arm,
                _mean(row.ours, row.our_sd, row.our_seeds),
                _mean(row.published, row.published_sd, row.published_seeds),
                _signed(row.difference),
                MISSING if row.standard_error is None else short(row.standard_error),
                MISSING if row.limit is None else short(row.limit),
                f"**{row.verdict}**" if row.verdict == DIFFERS else row.verdict,
            ]
        )
    return _grid(head, lines)


def _statements(ratios: Iterable[RatioRow]) -> str:
    lines = []
    for row in ratios:
        statement = row.ratio
        what = f"{statement.metric} of {statement.of} over {statement.to}"
        lines.append(
            [
                row.task,
                f"{what}: at least {statement.at_least:g}",
                MISSING if row.ours is None else number(row.ours),
                MISSING if row.published is None else number(row.published),
                row.verdict,
            ]
        )
    return _grid(["task", "statement", "here", "published", "verdict"], lines)


def _not_run(table: Table, rows: Iterable[Row]) -> str:
    # Metrics of one run share its command.
    commands: dict[str, str] = {}
    for row in rows:
        if row.verdict == NOT_RUN:
            commands[table.command_of(row.key)] = f"{row.task}, {row.arm}"
    return "\n".join(f"- {cell}: `{command}`" for command, cell in commands.items())


def _grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def _mean(mean: float | None, sd: float | None, seeds: int | None) -> str:
    if mean is None:
        return MISSING
    spread = "" if sd is None else f" ± {short(sd)}"
    return f"{number(mean)}{spread}" + (f" ({seeds})" if seeds else "")


def _signed(value: float | None) -> str:
    if value is None:
        return MISSING
    # With its sign: a reader must see which side is higher.
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"

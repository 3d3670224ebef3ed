"""Runs to ``results.csv``, wide tables and pages: ``python -m reports.build RUNS``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process.console import worker
from bench.record import spelled, write_bytes
from reports.files.remarks import print_remarks
from reports.tables.runs import CannotWrite, Excluded, ReportError
from reports.text import one_line

if TYPE_CHECKING:
    from reports.sections.contract import Section
    from reports.tables.joined import Studies

DESCRIPTION = """Compare finished runs: pages, one CSV, and wide tables.

RUNS is a folder of run folders, a bundle of them (python -m reports.bundle) or a results.csv;
several are reported on as one. The same run in two of them counts once; other numbers under one
configuration are refused. A results.csv has no pictures. Those of earlier versions lack the
configuration: later seeds join them if the names of the runs, which end with its hash, prove it.

Written are report.html (self-contained; with several comparisons it has the summary, and each
comparison has a page next to it), results.csv (a row for every measurement), and fd_vs_nfe,
curvature and solver_cost as .csv, .md and .tex. answer.md holds the first screen as Markdown, and
--figures adds the folder figures. Runs are compared with random pairing in the same configuration,
seed by seed. Runs that differ in the objective or in the law of the training's noise levels appear
in one comparison, each against random pairing of its own objective and law; runs that differ in
another field are separate comparisons. Rejected, naming the runs: other data or features under one
name, measurements of other numbers of images, and runs of several training budgets if only one has
random pairing.

Examples:
  python -m reports.build runs
  python -m reports.build runs --figures --out paper
  python -m reports.build runs study.zip ../other/runs -o both
  python -m reports.build reports/published/guidance-digits/runs.zip runs
  python -m reports.build runs --sections my_project.my_section
"""


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes:
        csv: results.csv.
        html: the page, or its entry.
        figures: the folder of the figures as files; None if they were not asked for.
        excluded: the folders that it excludes.
        notes: lines on what was counted once or taken for granted, or could be measured better.

    """

    csv: Path
    html: Path
    figures: Path | None = None
    excluded: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()


def build(
    studies: Path | Sequence[Path],
    out_dir: Path | None = None,
    run_ids: list[str] | None = None,
    mixed: bool = False,
    sections: Sequence[str] = (),
    figures: bool = False,
) -> Report:
    """Write the report on finished runs; the same runs give the same bytes.

    Args:
        studies: folder that holds run folders, bundle or results.csv, or several of them.
        out_dir: where to write; by default the first folder among them.
        run_ids: names of the runs to report on; by default all.
        mixed: mark runs that are not comparable (``reports.tables.comparable``) instead of refusing
            them.
        sections: modules of the user's own that are sections (``reports.sections.contract``).
        figures: write the figures as SVG, PDF and PNG too, into the folder ``figures``.

    Raises:
        NotComparable: runs that would be compared are not comparable.
        CannotWrite: a file cannot be written; each is written whole or not at all, results.csv
            first.
        ReportError: there is no run, or one that was named is missing, or one holds other numbers
            in two studies, or a section is none, or the pages or the wide tables cannot be made,
            which costs no other file.

    """
    # Imported late: --help and a bad argument need neither pandas nor jinja2.
    from reports.sections.contract import sections as load_sections
    from reports.tables.studies import opened

    paths = [Path(studies)] if isinstance(studies, str | Path) else [*map(Path, studies)]
    # Before anything is read or written, because a misspelt section is quickly said.
    loaded = load_sections(sections)
    out = out_dir or _first_folder(paths)
    # Pages show pictures, so bundles stay open until all is written.
    with opened(paths, run_ids) as found:
        return _report(found, Path(out), mixed, loaded, figures)


def _first_folder(paths: Sequence[Path]) -> Path:
    for path in paths:
        # A path that is missing is refused when it is read, in better words.
        if path.is_dir() or not path.exists():
            return path
    raise ReportError("no folder of runs to write to: name one with --out")


def _report(
    found: Studies, out: Path, mixed: bool, sections: Sequence[Section], figures: bool
) -> Report:
    from reports.files.answer import answer_files
    from reports.files.drawings import FOLDER, drawings
    from reports.files.wide import wide_files
    from reports.overview.warnings import different_schedules
    from reports.page import ENTRY, render, stale_pages
    from reports.tables.comparable import mark, mismatches, refuse
    from reports.tables.groups import groups
    from reports.tables.tidy import csv_bytes, results

    folder = out / FOLDER if figures else None
    remarks = tuple(found.excluded), tuple(found.notes)
    report = Report(out / "results.csv", out / ENTRY, folder, *remarks)
    table = results(found.runs)
    differing = mismatches(table, found.runs)
    # Nothing is written for runs that must not be compared: an old report stays as it is.
    if not mixed:
        refuse(differing)
    table = mark(table, differing)
    # The numbers first: they took days of training, and pages can be made again from them.
    _write(report.csv, csv_bytes(table))
    # Once for tables and pages, because the comparisons cache what they compute.
    cut = groups(table, found.runs)
    # A failure of the pages or the wide tables costs neither the results nor the other.
    problems = [
        _make("the wide tables", out, wide_files, cut),
        _make("answer.md", out, answer_files, cut),
        _make(ENTRY, out, render, table, cut, found.runs, found.excluded, sections),
    ]
    if folder:
        problems.append(_make("the figures", folder, drawings, cut))
    if any(problems):
        raise ReportError(f"{'; '.join(filter(None, problems))}; {report.csv} is written") from None
    # Last, so that a failure leaves the earlier report complete.
    for page in stale_pages(out, len(cut)):
        page.unlink()  # nothing links to it any more
    # Each once: comparisons of one coupling may say the same.
    notes = dict.fromkeys(filter(None, map(different_schedules, cut)))
    return replace(report, notes=(*report.notes, *notes))


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise CannotWrite(path.parent, error.strerror) from None


def _make(
    what: str, folder: Path, make: Callable[..., Mapping[str, str | bytes]], *args: object
) -> str | None:
    """Write the files that ``make(*args)`` returns, or return one line that says why it cannot."""
    try:
        made = make(*args)
    except Exception as error:  # noqa: BLE001 - no failure of a figure may cost the numbers
        return f"{what} cannot be made ({one_line(f'{type(error).__name__}: {error}')})"
    for name, content in made.items():
        _write(folder / name, content if isinstance(content, bytes) else content.encode())
    return None


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog=spelled("python -m reports.build"),
        description=spelled(DESCRIPTION),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUNS",
        help="folder that holds the run folders, bundle of them, or results.csv",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: the first folder among RUNS)",
    )
    parser.add_argument(
        "--mixed", action="store_true", help="mark what is not comparable instead of refusing it"
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="write the figures as SVG, PDF and PNG too, into the folder figures next to the page",
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        default=(),
        metavar="MODULE",
        help="modules of your own that are sections of the page, such as my_project.my_section",
    )
    options = parser.parse_args(args)
    try:
        report = build(
            options.runs,
            options.out,
            mixed=options.mixed,
            sections=options.sections,
            figures=options.figures,
        )
    except ReportError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    print_remarks(report.excluded, report.notes)
    print(f"results: {report.csv}\nreport:  {report.html}")
    if report.figures:
        print(f"figures: {report.figures}")
    return 0


if __name__ == "__main__":
    sys.exit(worker(main))

"""One page over all studies: ``python -m reports.index reports/published``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process.console import worker
from bench.record import spelled, write_bytes
from reports.tables.runs import CannotWrite, ReportError
from reports.text import one_line

if TYPE_CHECKING:
    from reports.overview.studies import Answer, Overview

DESCRIPTION = """Put the answers of all studies on one page.

FOLDER holds a folder for each study, with its results.csv or its bundle runs.zip and the report
that python -m reports.build made of it. The page has one table of every coupling, data set and
objective over the number of evaluations, what is settled and what is open, and the first screen of
each comparison with a link to its page. It states the claims of the studies and makes none of its
own: no study is pooled with another one.

Examples:
  python -m reports.index reports/published
  python -m reports.index my_studies --out all.html
"""
PAGE = "index.html"
TABLE = "results.csv"
BUNDLE = "runs.zip"


def build(folder: Path, out: Path | None = None) -> Path:
    """Write the page over all studies in a folder; the same studies give the same bytes.

    Args:
        folder: holds a folder for each study.
        out: the page; by default index.html in the folder.

    Returns:
        The page.

    Raises:
        ReportError: there is no study, one cannot be read, or the page cannot be written.

    """
    page = out or folder / PAGE
    # All is read before anything is written: an old page survives a study that cannot be read.
    content = render(overview(folder, page.parent))
    try:
        write_bytes(page, content.encode())
    except OSError as error:
        raise CannotWrite(page.parent, error.strerror) from None
    return page


def overview(folder: Path, at: Path) -> Overview:
    """The answers of all studies in a folder, by the names of the studies.

    Args:
        folder: holds a folder for each study.
        at: the folder of the page, which its links are relative to.

    Raises:
        ReportError: there is no study, or one cannot be read.

    """
    from reports.overview.studies import Overview

    if not folder.is_dir():
        raise ReportError(f"{folder} is no folder: give the one that holds the studies")
    # Other files and folders may stand between the studies.
    sources = [source for study in sorted(folder.iterdir()) if (source := _source(study))]
    if not sources:
        raise ReportError(
            f"no study in {folder}: a study is a folder with {TABLE} or {BUNDLE}, which"
            " python -m reports.build and python -m reports.bundle write"
        )
    answers: list[Answer] = []
    others = []
    for source in sources:
        found, without = _answers(source, _link(source.parent, at))
        answers += found
        others += without
    return Overview(tuple(answers), tuple(others))


def _source(study: Path) -> Path | None:
    """The bundle of a study, which proves more than its table; the table without one."""
    for name in (BUNDLE, TABLE):
        if (study / name).is_file():
            return study / name
    return None


def _link(folder: Path, at: Path) -> str:
    """A folder relative to the one of the page, as links write it."""
    # Not by Path, which goes up to a common folder only from Python 3.12 on.
    return Path(os.path.relpath(folder.resolve(), at.resolve())).as_posix()


def _answers(source: Path, link: str) -> tuple[list[Answer], list[tuple[str, str]]]:
    """The comparisons of a study with an answer, and title and page of those without one."""
    # Imported late: --help and a bad argument need no pandas.
    from reports.overview.studies import answers_of, title_of
    from reports.page import ENTRY, page_of
    from reports.tables.groups import groups
    from reports.tables.studies import opened
    from reports.tables.tidy import results

    with opened([source]) as found:
        cut = groups(results(found.runs), found.runs)
        # As reports.build names them: one comparison is on the report itself.
        several = len(cut) > 1
        names = [page_of(number) if several else ENTRY for number in range(1, len(cut) + 1)]
        pages = [f"{link}/{name}" for name in names]
        found_answers = answers_of(source.parent.name, cut, pages)
    if not found_answers:
        return [], [(source.parent.name, f"{link}/{ENTRY}")]
    # One of paths and costs alone has no place in the table, but must not be lost.
    shown = {answer.page for answer in found_answers}
    titles = zip(cut, pages, strict=True)
    others = [(title_of(source.parent.name, group), page) for group, page in titles]
    return found_answers, [(title, page) for title, page in others if page not in shown]


def render(overview: Overview) -> str:
    """The page as HTML.

    Raises:
        ReportError: it cannot be made.

    """
    from reports.page import page_environment

    arms: set[str] = set()
    for answer in overview.answers:
        arms.update(answer.objectives)
    # One look for a coupling in all studies, so that a colour is learned once.
    environment = page_environment(sorted(arms))
    try:
        return environment.get_template(PAGE).render(overview=overview)
    except Exception as error:
        # Jinja2 and the filters can fail in any way.
        words = one_line(f"{type(error).__name__}: {error}")
        raise ReportError(f"the page cannot be made ({words})") from error


def main(args: Sequence[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog=spelled("python -m reports.index"),
        description=spelled(DESCRIPTION),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds a folder for each study")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help=f"the page (default: {PAGE} in FOLDER)"
    )
    options = parser.parse_args(args)
    try:
        page = build(options.folder, options.out)
    except ReportError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    print(f"page: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(worker(main))

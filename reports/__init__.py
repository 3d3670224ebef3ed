"""Reports: tables, plots and one HTML page from run folders. Reads ``bench.record``'s schema and
trains nothing.

``load`` gives the numbers of runs as a table, ``claims`` the comparisons that follow from it.
"""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(*studies: str | Path) -> pd.DataFrame:
    """The measurements of finished runs as one tidy table, a row for each; ``results.csv`` as a
    DataFrame.

    Warns of folders that are left out and of all that is counted once or taken for granted.

    Args:
        studies: folders of run folders, bundles (``python -m reports.bundle``) and results.csv
            files.

    Raises:
        reports.tables.runs.ReportError: one cannot be read, or a run holds other numbers in two.

    """
    # Imported late: pandas takes a second, and commands of this package first read their options.
    from reports.tables.studies import opened
    from reports.tables.tidy import results

    with opened([Path(study) for study in studies]) as found:
        for item in found.excluded:
            warnings.warn(f"left out: {item.folder}: {item.reason}", stacklevel=2)
        for note in found.notes:
            warnings.warn(note, stacklevel=2)
        return results(found.runs)


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """Comparisons with random pairing, one a row; see ``reports.tables.claims.claims``.

    Args:
        table: from ``load``.

    """
    from reports.tables import claims as comparisons

    return comparisons.claims(table)


# ``python -m`` puts the working folder first on the path, where a models.py of the user's own would
# hide ours. Commands of ours look here first and in the working folder last, where plug-ins of the
# user's own are found; a program that imports this package keeps its path.
_module = ""
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    _module = sys.orig_argv[-len(sys.argv)]
if _module.removeprefix("-m").startswith(f"{__name__}."):
    _home = str(Path(__file__).parents[1])
    _working_folder = sys.path.pop(0)
    # All that pip installed, put before the standard library, would hide parts of that.
    if not _home.endswith("-packages"):
        sys.path.insert(0, _home)
    sys.path.append(_working_folder)
    # Without it the import of a command would end in a traceback.
    if find_spec("docstring_parser") is None:
        from bench.plugins import install

        print(f"error: packages of the commands are missing: {install('bench')}", file=sys.stderr)
        sys.exit(2)

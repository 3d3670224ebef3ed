"""Where packages are looked for: ours first, those of the working folder last.

Every diffusion project has a ``models.py`` or a folder of that name, which would hide ours. Modules
of the user's own, such as ``my_project.nearest``, must still be found there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("bench", "couplings", "models", "reports", "slurm")
HOME = str(Path(__file__).resolve().parents[1])


def arrange() -> None:
    """Have this process, and those that it starts, find our packages."""
    sys.path[:] = arranged(sys.path, HOME, str(Path.cwd()))
    # A process that multiprocessing starts would look into the working folder first until it is
    # given this list.
    os.environ["PYTHONSAFEPATH"] = "1"


def arranged(path: Sequence[str], home: str, working_folder: str) -> list[str]:
    """A list of folders in another order.

    Args:
        path: the list, as in ``sys.path``.
        home: the folder that holds our packages.
        working_folder: whose modules come last.

    """
    # An empty entry is the working folder; a file such as python312.zip is kept.
    folders = [folder for folder in dict.fromkeys(path) if folder not in ("", working_folder, home)]
    hiding = [folder for folder in folders if _holds_ours(Path(folder))]
    rest = [folder for folder in folders if folder not in hiding]
    # Before the standard library; all that pip installed would hide parts of that.
    place = 0
    if home.endswith("-packages"):
        place = path.index(home) if home in path else len(rest)
        place -= sum(folder not in rest for folder in path[:place])
    found = [*rest[:place], home, *rest[place:], *hiding]
    return found if working_folder == home else [*found, working_folder]


def _holds_ours(folder: Path) -> bool:
    """True if a folder has a module of one of our names."""
    modules = [f"{name}.py" for name in PACKAGES]
    # A folder without __init__.py is a package too.
    return any((folder / name).exists() for name in (*PACKAGES, *modules))

"""Pictures of generated images, from the run folders."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports.sections._first import first_runs
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.runs import Run

title = "Generated images"
place = 5
TANGENTS = "along the path"
REAL = "real"  # the file of real images, and its label
NEAREST = "nearest-"  # start of the file of samples with their nearest training images
_PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of every PNG


@dataclass(frozen=True)
class Grid:
    """A picture of generated images.

    Attributes:
        coupling: that made them.
        seed: of its run.
        png: base64.

    """

    coupling: str
    seed: int
    png: str


@dataclass(frozen=True)
class Images:
    """All pictures of a comparison: a matrix of couplings x NFE, all from the same latents.

    Attributes:
        couplings: the columns.
        rows: label, such as ``NFE 5``, to the pictures by coupling.
        real: images of the test split; None in runs of earlier versions.
        tangents: True if the denoiser's output along the path is among them.

    """

    couplings: list[str]
    rows: dict[str, dict[str, Grid]]
    real: Grid | None
    tangents: bool


def build(group: Group) -> Images | None:
    """The pictures of each coupling's first seed; None without any."""
    rows = grids(group.runs)
    # The same for all couplings.
    real = next(iter(rows.pop(REAL, {}).values()), None)
    if not rows:
        return None
    couplings: set[str] = set()
    for row in rows.values():
        couplings.update(row)
    return Images(ordered(couplings), rows, real, TANGENTS in rows)


def grids(runs: Sequence[Run]) -> dict[str, dict[str, Grid]]:
    """Label to the pictures by coupling, each from its first seed."""
    by_stem = pictures(runs, "*.png")
    shown = [stem for stem in by_stem if not stem.startswith(NEAREST)]
    return {_label(stem): by_stem[stem] for stem in sorted(shown, key=_natural)}


def pictures(runs: Sequence[Run], pattern: str) -> dict[str, dict[str, Grid]]:
    """Name of the file without its ending to the pictures by coupling, each from its first seed."""
    by_stem: dict[str, dict[str, Grid]] = {}
    for coupling, run in first_runs(runs).items():
        # Sorted, because file systems list in any order.
        for path in sorted(run.path.glob(f"samples/{pattern}")):
            content = path.read_bytes()
            # Whatever else bears this name, such as SVG with scripts, is not embedded.
            if content.startswith(_PNG):
                # Within the page, because people send a report as one file.
                png = base64.b64encode(content).decode()
                grid = Grid(coupling, int(run.config["seed"]), png)
                by_stem.setdefault(path.stem, {})[coupling] = grid
    return by_stem


def _label(stem: str) -> str:
    """Heading of the pictures that are stored under a name."""
    return TANGENTS if stem == "tangents" else re.sub(r"^nfe(\d+)$", r"NFE \1", stem)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which nfe5 comes before nfe13."""
    key = []
    for part in re.split(r"(\d+)", name):
        # Not isdigit, which is True for a superscript two, and int refuses that.
        is_number = part.isdecimal()
        key.append((is_number, int(part) if is_number else 0, part))
    return key

"""Grids of generated images."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.tables.runs import Run
from reports.tables.statistics import ordered

Pictures = dict[str, list[tuple[Run, Path]]]
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Grid:
    """A picture of generated images, as base64 PNG."""

    arm: str
    seed: int
    png: str


def pictures_of(members: Sequence[Run]) -> Pictures:
    """Label (``NFE 5``) to the pictures of the arms, each from the arm's first seed."""
    first: dict[str, Run] = {}
    for run in sorted(members, key=lambda run: int(run.config["seed"])):
        first.setdefault(str(run.config["coupling"]), run)
    found: dict[str, list[tuple[Run, Path]]] = {}
    for arm in ordered(first):
        for path in first[arm].path.glob("samples/*.png"):
            with path.open("rb") as file:
                if file.read(len(_PNG)) == _PNG:
                    found.setdefault(path.stem, []).append((first[arm], path))
    return {_label(stem): found[stem] for stem in sorted(found, key=_natural)}


def grids(shown: Pictures) -> dict[str, list[Grid]]:
    return {
        label: [
            Grid(
                str(run.config["coupling"]),
                int(run.config["seed"]),
                base64.b64encode(path.read_bytes()).decode(),
            )
            for run, path in found
        ]
        for label, found in shown.items()
    }


def _label(stem: str) -> str:
    """What a picture is called that is stored under this name."""
    return "D along the path" if stem == "tangents" else re.sub(r"^nfe(\d+)$", r"NFE \1", stem)


def _natural(name: str) -> list:
    """Sort key by which nfe5 comes before nfe13."""
    return [
        (part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)", name)
    ]

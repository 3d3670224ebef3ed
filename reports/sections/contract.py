"""The contract of a section, and the list of all sections.

A section is a module with a title, a place in the order of the page, and a function that builds its
content. Its template, in HTML for Jinja, stands in ``reports/templates`` under the name of the
module; the template of a user's own section stands next to its module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from bench import plugins
from reports.tables.groups import Group
from reports.tables.runs import ReportError

PACKAGE = "reports.sections"
TEMPLATES = Path(__file__).parents[1] / "templates"


class SectionModule(Protocol):
    """A module that is a section.

    Attributes:
        title: heading and entry in the contents.
        place: sections stand in the order of these numbers.
        folded: True for details that a reader opens; False if a module does not say.

    """

    title: str
    place: int

    def build(self, group: Group) -> object | None:
        """The content for the template, which knows it as ``content``; None if the comparison has
        nothing to show here.
        """


@dataclass(frozen=True)
class Section:
    """A section that was found.

    Attributes:
        key: end of its anchor on the page.
        module: see ``SectionModule``.
        template: file of its template.

    """

    key: str
    module: SectionModule
    template: Path


def sections(more: Sequence[str] = ()) -> list[Section]:
    """All sections in the order of the page.

    Args:
        more: modules of the user's own, such as ``my_project.my_section``.

    Raises:
        ReportError: a module cannot be imported, or is no section.

    """
    # Sorting is stable: of equal places the user's section comes after ours.
    names = [*plugins.names(PACKAGE), *more]
    return sorted(map(_section, names), key=lambda section: section.module.place)


def _section(name: str) -> Section:
    try:
        module = plugins.load("section", name, PACKAGE)
    except plugins.PluginError as error:
        raise ReportError(str(error)) from None
    # A package of the user's is a section too; its template is named after its file.
    file = Path(module.__file__)
    folder = TEMPLATES if module.__name__.startswith(f"{PACKAGE}.") else file.parent
    section = Section(file.stem.replace("_", "-"), module, folder / f"{file.stem}.html")
    _check(name, module, section.template)
    return section


def _check(name: str, module: ModuleType, template: Path) -> None:
    for attribute, kind in (("title", str), ("place", int)):
        if not isinstance(getattr(module, attribute, None), kind):
            raise ReportError(f"section {name!r} needs {attribute!r}, of type {kind.__name__}")
    if not callable(getattr(module, "build", None)):
        raise ReportError(f"section {name!r} needs a function build(group)")
    # Here, because a missing template would otherwise show after all runs were read.
    if not template.exists():
        raise ReportError(f"section {name!r} needs its template, {template.name}, next to it")

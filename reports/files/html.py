"""The environment in which all templates are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports import text

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(templates: Mapping[str, str] | None = None) -> Environment:
    """Jinja with the templates and filters of the reports.

    Args:
        templates: name to source of further templates.

    """
    from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=ChoiceLoader([PackageLoader("reports"), DictLoader(dict(templates or {}))]),
        autoescape=True,  # names of couplings and data may hold anything
        # A misspelt name in a template is an error, not an empty cell.
        undefined=StrictUndefined,
        # Or each line of a template's logic would leave an empty line on the page.
        trim_blocks=True,
        lstrip_blocks=True,
    )
    forms = (text.number, text.short, text.percent, text.plain, text.breakable, text.plural)
    for form in (*forms, text.factors, text.unbroken):
        found.filters[form.__name__] = form
    found.globals["missing"] = text.MISSING
    found.globals["long"] = 36  # characters of a value that gets a line for itself
    return found

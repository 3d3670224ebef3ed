"""Spelling of the schedules of this repository in results."""

from __future__ import annotations


def karras(rho: float) -> str:
    """The canonical spec of Karras' schedule with an exponent: ``karras:rho=7``."""
    # Rows of earlier versions have a rho and no schedule; they must read like those of today.
    return f"karras:rho={_number(rho)}"


def flow(shift: float) -> str:
    """The canonical spec of the flow schedule with a shift: ``flow:shift=1``."""
    return f"flow:shift={_number(shift)}"


def _number(value: float) -> str:
    return repr(int(value) if float(value).is_integer() else float(value))

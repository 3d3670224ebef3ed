"""Spelling of the schedules of this repository, and of classifier-free guidance, in results."""

from __future__ import annotations

CFG = "cfg:weight="  # start of the entries of classifier-free guidance


def karras(rho: float) -> str:
    """The canonical spec of Karras' schedule with an exponent: ``karras:rho=7``."""
    # Rows of earlier versions have a rho and no schedule; they must read like those of today.
    return f"karras:rho={_number(rho)}"


def flow(shift: float) -> str:
    """The canonical spec of the flow schedule with a shift: ``flow:shift=1``."""
    return f"flow:shift={_number(shift)}"


def cfg(weight: float) -> str:
    """The entry of the column ``guidance`` for a weight of classifier-free guidance:
    ``cfg:weight=2``, and ``none`` for weight 1, which is the conditional denoiser itself.
    """
    return "none" if weight == 1 else f"{CFG}{_number(weight)}"


def cfg_weight(guidance: str | None) -> float | None:
    """The weight of such an entry; None for discriminator guidance and for an empty cell."""
    if guidance == "none":
        return 1.0
    if guidance is None or not guidance.startswith(CFG):
        return None
    return float(guidance.removeprefix(CFG))


def _number(value: float) -> str:
    return repr(int(value) if float(value).is_integer() else float(value))

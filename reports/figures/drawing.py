"""Matplotlib as it is delivered: figures depend on neither the user's settings nor the display."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def load_matplotlib() -> None:
    """Import matplotlib; whoever imports it (or seaborn) for a figure calls this first.

    The first import reads a backend and settings from the environment, and fails where a notebook
    left the name of a backend that this Python lacks. Only SVG is written here, which needs no
    backend. A program that imported matplotlib before keeps its backend and settings.
    """
    if "matplotlib" in sys.modules:
        return
    # The settings that matplotlib was delivered with; an empty file would keep the user's.
    delivered = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc"
    ours = {"MPLBACKEND": "agg", "MATPLOTLIBRC": str(delivered)}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        import matplotlib  # noqa: F401
    finally:
        # Programs started from here are not ours to set.
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def drawing_style(style: Mapping[str, object]) -> Iterator[None]:
    """Draw with matplotlib's own defaults and ``style``, whatever else is set, and put the settings
    back.
    """
    load_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        # In a context, because a program that calls us may draw figures of its own afterwards.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield

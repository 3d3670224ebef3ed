"""Sweeps: many runs as SLURM job arrays, or on this machine."""

import sys
from pathlib import Path

# ``python -m`` puts the working folder first on the path, where a models.py of the user's own would
# hide ours. Commands of ours look here first; a program that imports this package keeps its path.
_module = (
    sys.orig_argv[-len(sys.argv)] if sys.argv[:1] == ["-m"] and not sys.flags.safe_path else ""
)
if _module.removeprefix("-m").startswith(f"{__name__}."):
    # All that pip installed, put before the standard library, would hide parts of that.
    _home = str(Path(__file__).parents[1])
    sys.path[:1] = [] if _home.endswith("-packages") else [_home]

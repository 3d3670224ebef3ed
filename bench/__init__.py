"""The comparison itself: data, training, metrics, one run, the command line."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.run.compare import compare
    from bench.run.models import evaluate_models

__all__ = ["compare", "evaluate_models"]


def __getattr__(name: str) -> Any:
    # torch and the reports take seconds to import, which a command's --help must not wait for.
    if name == "compare":
        from bench.run.compare import compare

        return compare
    if name == "evaluate_models":
        from bench.run.models import evaluate_models

        return evaluate_models
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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

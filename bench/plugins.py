"""The plug-in mechanism of this repository, handed on: see ``couplings.plugins``."""

# Reports and slurm may import it from here only: couplings are none of their business.
from couplings.extras import hint, install
from couplings.plugins import PluginError, build, class_in, load, names
from couplings.spec import split_spec

__all__ = ["PluginError", "build", "class_in", "hint", "install", "load", "names", "split_spec"]

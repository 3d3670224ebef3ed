"""The plug-in mechanism of this repository, handed on: see ``couplings.plugins``."""

# Reports and slurm may import it from here only: couplings are none of their business.
from couplings.extras import hint, install
from couplings.papers import bibtex, papers_of
from couplings.plugins import PluginError, build, class_in, load, names
from couplings.spec import split_spec

__all__ = [
    "PluginError",
    "bibtex",
    "build",
    "class_in",
    "hint",
    "install",
    "load",
    "names",
    "papers_of",
    "split_spec",
]

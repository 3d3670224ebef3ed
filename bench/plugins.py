"""The plug-in mechanism of this repository, handed on: see ``couplings.plugins``."""

from couplings.plugins import PluginError, class_in, load, name_of, names

__all__ = ["PluginError", "class_in", "load", "name_of", "names"]

"""Checks of a metric's class, made as soon as its name is looked up: before hours of training."""

from __future__ import annotations

from bench.plugins import PluginError
from bench.record.infos import Described, Info

BETTER = ("lower", "higher", None)


def check_complete(name: str, metric: type[Described]) -> None:
    """Refuse a metric that does not describe its values, or lacks a method of its kind.

    Args:
        name: of the metric, for the message.
        metric: its class.

    Raises:
        PluginError: with what is to be written in its file.

    """
    _check_infos(name, metric)
    # Python itself complains only when an object is made, which is after the training.
    missing = sorted(getattr(metric, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"{name}: {metric.__name__} must define {', '.join(missing)}")


def _check_infos(name: str, metric: type[Described]) -> None:
    infos = getattr(metric, "infos", None)
    # An Info without the comma after it is no tuple; nobody sees that in the line.
    is_several = isinstance(infos, tuple | list) and len(infos) > 0
    if not is_several or not all(isinstance(info, Info) for info in infos):
        given = "none" if infos is None else repr(infos)
        if isinstance(infos, Info):
            given = "an Info without the comma"
        raise PluginError(
            f"{name}: {metric.__name__} must state infos, a tuple of Info: infos ="
            f' (Info("my_name", "A sentence.", better="lower"),), got {given}'
        )
    # Reports would show no verdict on another word, and say nothing about it.
    for info in infos:
        if info.better not in BETTER:
            raise PluginError(
                f"{name}: better of {info.name} must be 'lower', 'higher' or None, got"
                f" {info.better!r}"
            )

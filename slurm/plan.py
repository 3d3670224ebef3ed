"""Plan of a submission: the runs that are left, their arrays, and the time they take."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.record import RunFolder
from slurm.entry import Entry
from slurm.resources import Resources
from slurm.survey import Standing


@dataclass(frozen=True)
class Array:
    """Runs of one class of resources that are submitted as one job array."""

    resources: Resources
    entries: tuple[Entry, ...]


def left(entries: list[Entry], standings: list[Standing], retry_failed: bool) -> list[Entry]:
    """Select the runs that are not done and that no job has; failed ones only when asked."""
    wanted = ["pending", "stopped"]
    # A failure usually repeats itself: it would cost every submission the same hours again.
    if retry_failed:
        wanted.append("failed")
    pairs = zip(entries, standings, strict=True)
    return [entry for entry, standing in pairs if standing.state in wanted]


def arrays(entries: list[Entry], most: int) -> list[Array]:
    """Group runs into arrays of one class of resources and ``most`` runs or fewer."""
    # By repr, as resources hold a dict and cannot be hashed.
    classes: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        classes[repr(entry.resources)].append(entry)
    chunks = []
    for group in classes.values():
        for first in range(0, len(group), most):
            chunks.append(Array(group[0].resources, tuple(group[first : first + most])))
    return chunks


def variants(entries: list[Entry], standings: list[Standing]) -> list[str]:
    """Describe each variant in one line: its seeds, and how many of its runs are in each state."""
    # Indices, as entries and standings belong together by their place.
    groups: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        groups[entry.variant].append(index)
    width = max(map(len, groups))
    lines = []
    for variant, indices in groups.items():
        seeds = sorted(entries[index].config.seed for index in indices)
        spread = f"seeds {seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        states = [standings[index].state for index in indices]
        # dict.fromkeys keeps the order in which the states occur; a set would not.
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines.append(f"  {variant:{width}}  {spread}: {counts}".rstrip())
    return lines


def estimate(entries: list[Entry], runs_dir: Path) -> str:
    """Estimate the training time in one line.

    The speed is that of recorded runs of the same data, network and kind of device.
    """
    kinds = [_kind(entry.config.identity) for entry in entries]
    speeds = _recorded_speeds(runs_dir, set(kinds))
    hours = {"GPU": 0.0, "CPU": 0.0}
    unknown: list[Entry] = []
    for entry, kind in zip(entries, kinds, strict=True):
        device = "GPU" if entry.resources.gpus else "CPU"
        speed = speeds.get((kind, device))
        if speed is None:
            unknown.append(entry)
        else:
            hours[device] += entry.config.training.images / speed / 3600
    parts = [f"{value:.3g} {device}-hours" for device, value in hours.items() if value]
    if unknown:
        names = ", ".join(dict.fromkeys(entry.config.data for entry in unknown))
        parts.append(
            f"unknown for {len(unknown)} runs (no finished run of {names} with this network and"
            " device to extrapolate from)"
        )
    return "training time: " + (" and ".join(parts) or "nothing left")


def _kind(config: dict[str, Any]) -> str:
    """Return the parts of a configuration that decide the speed on given hardware."""
    parts = [
        config["data"],
        config.get("resolution"),
        config["network"],
        config["training"]["precision"],
    ]
    return json.dumps(parts, sort_keys=True)


def _recorded_speeds(runs_dir: Path, kinds: set[str]) -> dict[tuple[str, str], float]:
    """Read the median speed of one process, in images per second, by kind and device."""
    recorded: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in sorted(runs_dir.glob("*/metrics.jsonl")):
        folder = RunFolder(path.parent)
        try:
            # Measurements are long files: they are read only where the kind is wanted.
            kind = _kind(folder.config())
            if kind not in kinds:
                continue
            origin = folder.provenance()
            speeds = [m.value for m in folder.measurements() if m.metric == "images_per_s"]
        except (OSError, ValueError, KeyError, TypeError):
            # A folder of another version or a damaged file only makes the estimate less sure.
            continue
        device = "GPU" if str(origin.get("device")).startswith("cuda") else "CPU"
        # The recorded speed is that of all processes together.
        processes = origin.get("processes", 1)
        recorded[kind, device] += [speed / processes for speed in speeds]
    return {key: median(values) for key, values in recorded.items() if values}

"""What a submission would do: which runs are left, in which arrays, and for how long."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.config import RunConfig
from bench.record import RunFolder
from slurm.resources import Resources
from slurm.survey import Standing
from slurm.sweep import Entry


@dataclass(frozen=True)
class Array:
    """Runs that are submitted as one job array: of one class of resources, no more than an array
    holds.
    """

    resources: Resources
    entries: tuple[Entry, ...]


def left(entries: list[Entry], standings: list[Standing], retry_failed: bool) -> list[Entry]:
    """The runs that no job has and that are not done; failed ones only when asked."""
    wanted = {"pending", "stopped"} | ({"failed"} if retry_failed else set())
    return [
        entry
        for entry, standing in zip(entries, standings, strict=True)
        if standing.state in wanted
    ]


def arrays(entries: list[Entry], most: int) -> list[Array]:
    """One array for each class of resources, or several where it has more than ``most`` runs."""
    classes: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        classes[repr(entry.resources)].append(entry)
    return [
        Array(group[0].resources, tuple(group[first : first + most]))
        for group in classes.values()
        for first in range(0, len(group), most)
    ]


def arms(entries: list[Entry], standings: list[Standing]) -> list[str]:
    """A line for each arm: its seeds, and how many of its runs are done or else."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        groups[entry.arm].append(index)
    width = max(map(len, groups))
    lines = []
    for arm, indices in groups.items():
        seeds = sorted(entries[index].config.seed for index in indices)
        spread = f"seeds {seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        states = [standings[index].state for index in indices]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines.append(f"  {arm:{width}}  {spread}: {counts}".rstrip())
    return lines


def estimate(entries: list[Entry], runs_dir: Path) -> str:
    """How long the training takes, by the speed of recorded runs of the same data, network and kind
    of device.
    """
    speeds = _recorded_speeds(runs_dir, {_kind(entry.config) for entry in entries})
    hours = {"GPU": 0.0, "CPU": 0.0}
    unknown: list[Entry] = []
    for entry in entries:
        device = "GPU" if entry.resources.gpus else "CPU"
        speed = speeds.get((_kind(entry.config), device))
        if speed is None:
            unknown.append(entry)
        else:
            hours[device] += entry.config.training.images / speed / 3600
    words = [f"{value:.3g} {device}-hours" for device, value in hours.items() if value]
    if unknown:
        names = ", ".join(dict.fromkeys(entry.config.data for entry in unknown))
        words.append(
            f"unknown for {len(unknown)} runs (no finished run of {names} with this network and"
            " device here)"
        )
    return "training: " + (" and ".join(words) or "nothing left")


def _kind(config: RunConfig) -> str:
    """What the speed depends on, beside the hardware."""
    parts = [config.data, config.resolution, asdict(config.network), config.training.precision]
    return json.dumps(parts, sort_keys=True)


def _recorded_speeds(runs_dir: Path, kinds: set[str]) -> dict[tuple[str, str], float]:
    """Median images a second of one process (one GPU, or the CPUs of one), by kind and device."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in sorted(runs_dir.glob("*/metrics.jsonl")):
        folder = RunFolder(path.parent)
        try:
            config, origin = folder.config(), folder.provenance()
            parts = [
                config["data"],
                config.get("resolution"),
                config["network"],
                config["training"]["precision"],
            ]
            kind = json.dumps(parts, sort_keys=True)
            if kind not in kinds:
                continue
            speeds = [m.value for m in folder.measurements() if m.metric == "images_per_s"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a run that cannot be read predicts nothing
        device = "GPU" if str(origin.get("device")).startswith("cuda") else "CPU"
        found[kind, device] += [speed / origin.get("processes", 1) for speed in speeds]
    return {key: median(values) for key, values in found.items() if values}

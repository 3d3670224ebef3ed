"""What one run may use of a cluster, and how sbatch is asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

_EARLY_S = 60  # SLURM may send its warning up to a minute early
_WORK_S = 30  # the least that a run must have for itself
_LEAST = {"minutes": 1, "nodes": 1, "gpus": 0, "processes": 1, "cpus": 1, "memory_gb": 1}
_TEXTS = ("partition", "constraint", "account")
_OWN_SBATCH_KEYS = {
    "time": "minutes", "nodes": "nodes", "gpus-per-node": "gpus", "ntasks-per-node": "processes",
    "cpus-per-task": "cpus", "mem": "memory_gb", "partition": "partition", "constraint": "constraint",
    "account": "account", "job-name": "name", "array": "--max-parallel",
}  # fmt: skip
# What the jobs themselves rest on.
_KEPT_SBATCH_KEYS = (
    "comment",
    "dependency",
    "error",
    "open-mode",
    "output",
    "requeue",
    "no-requeue",
    "signal",
)


class SweepError(ValueError):
    """The sweep cannot be carried out as asked; the message is one line and names the way out."""


@dataclass(frozen=True)
class Resources:
    """What one run may use.

    Attributes:
        minutes: wall-clock limit, after which it is queued again and goes on.
        nodes: machines. All processes of a run share every batch (DDP).
        gpus: GPUs of a node.
        processes: processes of a node. Default: one for each GPU.
        cpus: CPUs of a process.
        memory_gb: memory of a node.
        partition: of the cluster. Default: the cluster's.
        constraint: features that the nodes must have.
        account: who pays.
        extra: further sbatch options as they are: ``{qos = "low", exclude = "node7"}``.

    """

    minutes: int = 60
    nodes: int = 1
    gpus: int = 0
    processes: int | None = None
    cpus: int = 2
    memory_gb: int = 8
    partition: str | None = None
    constraint: str | None = None
    account: str | None = None
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def node_processes(self) -> int:
        """Processes of a node."""
        return self.processes or max(1, self.gpus)

    @property
    def all_processes(self) -> int:
        """Processes of a run."""
        return self.nodes * self.node_processes

    @property
    def signal_delay_s(self) -> int:
        """How long before its limit a run is warned: 90 s, or a sixth of a short limit."""
        return min(90, 60 * self.minutes // 6)


def check_resources(table: dict[str, object], where: str = "resources") -> Resources:
    """Build resources from a table of the sweep file.

    Raises:
        SweepError: an unknown key, or a value of the wrong type or out of range.

    """
    refuse_unknown(table, [f.name for f in fields(Resources)], where)
    for key, least in _LEAST.items():
        value = table.get(key, least)
        # A bool is an int, and "01:00:00" a time to SLURM alone
        if type(value) is not int or value < least:
            raise SweepError(
                f"{where}.{key} must be a whole number, {least} or more, not {value!r}"
            )
    for key in _TEXTS:
        if not isinstance(table.get(key, ""), str):
            raise SweepError(f"{where}.{key} must be a text, not {table[key]!r}")
    _check_extra(table.get("extra", {}), where)
    resources = Resources(**table)
    if resources.gpus and resources.node_processes > resources.gpus:
        raise SweepError(
            f"{where}.processes is {resources.processes}, but a node has {resources.gpus} GPUs: one"
            " each"
        )
    if resources.minutes * 60 < resources.signal_delay_s + _EARLY_S + _WORK_S:
        raise SweepError(
            f"{where}.minutes must be 2 or more: SLURM warns a run up to a minute early"
        )
    return resources


def _check_extra(extra: object, where: str) -> None:
    if not isinstance(extra, dict):
        raise SweepError(f'{where}.extra must be a table, such as {{qos = "low"}}')
    for key, value in extra.items():
        option = key.replace("_", "-")
        if own := _OWN_SBATCH_KEYS.get(option):
            raise SweepError(f"{where}.extra.{key}: set it with {own}")
        if option in _KEPT_SBATCH_KEYS:
            raise SweepError(f"{where}.extra.{key}: leave it out, the jobs need their own")
        if not isinstance(value, str | int) or "\n" in str(value):
            raise SweepError(f"{where}.extra.{key} must be a text, a number or true, not {value!r}")


def refuse_unknown(table: dict[str, object], known: list[str], where: str) -> None:
    """Refuse keys that are not known, naming the nearest.

    Raises:
        SweepError: there is one.

    """
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SweepError(f"unknown key {key!r} in {where}.{hint} Known: {', '.join(known)}")


# A job that begins while slurmctld restarts would fail at srun, and SLURM would not run it again.
WAIT_FOR_CONTROLLER = (
    'for _ in $(seq 60); do squeue --jobs="$SLURM_JOB_ID" >/dev/null 2>&1 && break; sleep 2; done'
)


def sbatch_parameters(
    use: Resources, name: str, comment: str, setup: list[str], **more: object
) -> dict[str, Any]:
    """What sbatch is asked for, in submitit's names; the time is a number, for submitit computes
    with it.

    ``more`` may hold ``array_parallelism`` and ``dependency``; None leaves an option out.
    """
    # Since SLURM 22.05 srun no longer takes this over from sbatch.
    srun = [f"--cpus-per-task={use.cpus}"]
    if use.all_processes > 1:
        srun.append("--kill-on-bad-exit=1")  # or the others would wait for the one that failed
    parameters = {
        "job_name": name,
        "comment": comment,
        "time": use.minutes,
        "signal_delay_s": use.signal_delay_s,
        "nodes": use.nodes,
        "ntasks_per_node": use.node_processes,
        "cpus_per_task": use.cpus,
        "gpus_per_node": use.gpus or None,
        "mem": f"{use.memory_gb}GB",
        "partition": use.partition,
        "constraint": use.constraint,
        "account": use.account,
        "setup": [*setup, WAIT_FOR_CONTROLLER],
        "srun_args": srun,
        "additional_parameters": {"requeue": True, **use.extra},
        **more,
    }
    return {key: value for key, value in parameters.items() if value is not None}

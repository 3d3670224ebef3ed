"""Resources of one run on a cluster, and the request to sbatch for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bench.record import UserError, unknown

# SLURM checks time limits once a minute, so its warning may come up to a minute early.
_EARLY_S = 60
# A run that had less time than this between its start and its warning would never get anywhere.
_LEAST_WORK_S = 30
_LEAST = {
    "minutes": 1,
    "nodes": 1,
    "gpus": 0,
    "processes": 1,
    "cpus": 1,
    "memory_gb": 1,
    "micro_batch": 1,
}
_TEXTS = ("partition", "constraint", "account", "strategy")
_SWITCHES = ("compile", "gradient_checkpointing")
# Settings of ``bench.config.Execution``: they say how a run uses its resources.
_EXECUTION = ("strategy", "micro_batch", *_SWITCHES)
# Options of sbatch that have a name of ours; given twice, one of the two would silently win.
_OUR_NAMES = {
    "time": "minutes",
    "nodes": "nodes",
    "gpus-per-node": "gpus",
    "ntasks-per-node": "processes",
    "cpus-per-task": "cpus",
    "mem": "memory_gb",
    "partition": "partition",
    "constraint": "constraint",
    "account": "account",
    "job-name": "name",
    "array": "--max-parallel",
}
# The jobs rely on these: the comment finds them in the queue, the signal makes them resume.
_RESERVED = (
    "comment",
    "dependency",
    "error",
    "open-mode",
    "output",
    "requeue",
    "no-requeue",
    "signal",
)
# A job that begins while slurmctld restarts would fail at srun, and SLURM would not run it again.
WAIT_FOR_CONTROLLER = (
    'for _ in $(seq 60); do squeue --jobs="$SLURM_JOB_ID" >/dev/null 2>&1 && break; sleep 2; done'
)


class SweepError(UserError):
    """The sweep cannot be carried out as asked; the message is one line and names the way out."""


@dataclass(frozen=True)
class Resources:
    """Resources of one run.

    Attributes:
        minutes: wall-clock limit, after which the run is queued again and resumes.
        nodes: machines. All processes of a run share every batch.
        gpus: GPUs per node.
        processes: processes per node. Default: one for each GPU.
        cpus: CPUs per process.
        memory_gb: memory per node.
        partition: of the cluster. Default: the cluster's.
        constraint: features that the nodes must have.
        account: who pays.
        strategy: ``ddp``, or ``fsdp`` to share the network out too, as ``--strategy``.
        micro_batch: images that go through the network at once, as ``--micro-batch``.
        compile: compile the network, as ``--compile``.
        gradient_checkpointing: compute activations again, as ``--gradient-checkpointing``.
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
    strategy: str = "ddp"
    micro_batch: int | None = None
    compile: bool = False
    gradient_checkpointing: bool = False
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def node_processes(self) -> int:
        """Processes per node."""
        return self.processes or max(1, self.gpus)

    @property
    def all_processes(self) -> int:
        """Processes of a run."""
        return self.nodes * self.node_processes

    @property
    def execution(self) -> dict[str, Any]:
        """Settings of ``bench.config.Execution`` that were chosen."""
        chosen = {}
        for name in _EXECUTION:
            value = getattr(self, name)
            if value != getattr(Resources, name):
                chosen[name] = value
        return chosen

    @property
    def signal_delay_s(self) -> int:
        """Seconds between the warning and the limit: 90, or a sixth of a short limit."""
        return min(90, 60 * self.minutes // 6)


def check_resources(table: Mapping[str, Any], where: str = "resources") -> Resources:
    """Build resources from a table of the sweep file.

    Args:
        table: the keys as in the file; a missing one has its default.
        where: name of the table, for messages.

    Raises:
        SweepError: an unknown key, or a value of the wrong type or out of range.

    """
    refuse_unknown(table, [f.name for f in fields(Resources)], where)
    for key, least in _LEAST.items():
        value = table.get(key, least)
        # Not isinstance: a bool is an int, and would become "--cpus-per-task=True".
        if type(value) is not int or value < least:
            raise SweepError(
                f"{where}.{key} must be a whole number, {least} or more, not {value!r}"
            )
    for key in _TEXTS:
        if not isinstance(table.get(key, ""), str):
            raise SweepError(f"{where}.{key} must be a text, not {table[key]!r}")
    for key in _SWITCHES:
        if not isinstance(table.get(key, False), bool):
            raise SweepError(f"{where}.{key} must be true or false, not {table[key]!r}")
    _check_extra(table.get("extra", {}), where)
    resources = Resources(**table)
    _check_strategy(resources, where)
    # Two processes on one GPU would share its memory, and NCCL refuses that.
    if resources.gpus and resources.node_processes > resources.gpus:
        raise SweepError(
            f"{where}.processes is {resources.processes}, but a node has {resources.gpus} GPUs: one"
            " each"
        )
    if resources.minutes * 60 < resources.signal_delay_s + _EARLY_S + _LEAST_WORK_S:
        raise SweepError(
            f"{where}.minutes must be 2 or more: SLURM warns a run up to a minute early"
        )
    return resources


def _check_strategy(resources: Resources, where: str) -> None:
    if resources.strategy not in ("ddp", "fsdp"):
        raise SweepError(f'{where}.strategy must be "ddp" or "fsdp", not "{resources.strategy}"')
    if resources.strategy == "fsdp" and resources.compile:
        raise SweepError(f'{where}.strategy "fsdp" takes no compile yet: leave one of them out')


def _check_extra(extra: object, where: str) -> None:
    if not isinstance(extra, dict):
        raise SweepError(f'{where}.extra must be a table, such as {{qos = "low"}}')
    for key, value in extra.items():
        option = key.replace("_", "-")
        if option in _OUR_NAMES:
            raise SweepError(f"{where}.extra.{key}: set it with {_OUR_NAMES[option]}")
        if option in _RESERVED:
            raise SweepError(f"{where}.extra.{key}: leave it out, the jobs need their own")
        # A line break would begin a line of the user's in the job script.
        if not isinstance(value, str | int) or "\n" in str(value):
            raise SweepError(f"{where}.extra.{key} must be a text, a number or true, not {value!r}")


def refuse_unknown(table: Mapping[str, object], known: list[str], where: str) -> None:
    """Refuse keys that are not known, naming the nearest.

    Raises:
        SweepError: there is one.

    """
    for key in table:
        if key not in known:
            raise SweepError(f"{where}: {unknown('key', key, known)}")


def sbatch_parameters(
    use: Resources, name: str, comment: str, setup: list[str], **more: object
) -> dict[str, Any]:
    """Parameters of a submission in submitit's names.

    Args:
        use: what one run may use.
        name: of the job.
        comment: marks the jobs of the sweep in the queue.
        setup: shell lines before the job.
        more: ``array_parallelism`` and ``dependency``; None leaves an option out.

    """
    # Since SLURM 22.05 srun no longer takes this over from sbatch.
    srun = [f"--cpus-per-task={use.cpus}"]
    if use.all_processes > 1:
        # Otherwise the other processes would wait at their next all-reduce until the time limit.
        srun.append("--kill-on-bad-exit=1")
    parameters = {
        "job_name": name,
        "comment": comment,
        # A number of minutes, not SLURM's "01:00:00": submitit computes with it.
        "time": use.minutes,
        "signal_delay_s": use.signal_delay_s,
        "nodes": use.nodes,
        "ntasks_per_node": use.node_processes,
        "cpus_per_task": use.cpus,
        # 0 GPUs must be left out: clusters without GPUs refuse the option itself.
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

"""The runs of a command, made one after the other or several at the same time."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.arm import is_done, is_settled, run_arm
from bench.cli import survive
from bench.config import ConfigError, Execution, RunConfig
from bench.process.outlook import Outlook
from bench.process.progress import among
from bench.process.side_by_side import Job, WorkerError, side_by_side
from bench.process.signals import EndSignals
from bench.record import COMMAND, RunFolder, RunFolderError, command_line, one_line
from bench.run.command import Command
from bench.run.foresight import Foresight
from bench.run.sharing import (
    THREADS,
    Sharing,
    share,
    threads_of_user,
    usable_cores,
    within_memory,
)

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.process.ranks import Ranks
    from bench.record.best_schedule import SharedChoice


@dataclass(frozen=True)
class Planned:
    """A run of the command.

    Attributes:
        config: its configuration.
        folder: its folder.
        file: of its network, if that is not trained here.
        shared: the best schedules that a finished run is to be measured at again, if any.

    """

    config: RunConfig
    folder: RunFolder
    file: Path | None = None
    shared: SharedChoice | None = None


def make(
    command: Command,
    planned: list[Planned],
    dataset: Dataset | None,
    ranks: Ranks,
    foresight: Foresight,
    kind: str = "",
) -> list[Exception]:
    """Make runs; the errors of those that failed.

    Args:
        command: how to make them.
        planned: the runs.
        dataset: the data; None if no run needs any.
        ranks: the processes of each run.
        foresight: the time and memory that they are expected to take.
        kind: of the runs, printed before their number.

    Raises:
        ConfigError: the first run failed by what all of them have in common.

    """
    labels = [f"[{kind}{number}/{len(planned)}] " for number in range(1, len(planned) + 1)]
    sharing = shared_out(command.execution, len(planned), ranks)
    # Without data there is nothing left to do.
    if sharing.at_once == 1 or dataset is None:
        return _one_by_one(command, planned, labels, dataset, ranks, foresight)
    return _side_by_side(command, planned, labels, dataset, ranks, sharing, foresight)


def is_settled_or_damaged(each: Planned) -> bool:
    """True if nothing is left to do; a damaged folder is reported when its run is reached."""
    try:
        return each.shared is None and is_settled(each.folder, each.config)
    except RunFolderError:
        return False


def shared_out(execution: Execution, runs: int, ranks: Ranks) -> Sharing:
    """Runs at once and their threads; a GPU, and processes that share a run, make one at a time."""
    asked = execution.parallel
    if ranks.count > 1 and asked not in (None, 1):
        raise ConfigError(
            f"--parallel {asked}: these {ranks.count} processes share every run; leave it out"
        )
    if asked is None and (ranks.count > 1 or ranks.device.startswith("cuda")):
        asked = 1
    return share(asked, runs, usable_cores(), threads_of_user())


def _one_by_one(
    command: Command,
    planned: list[Planned],
    labels: list[str],
    dataset: Dataset | None,
    ranks: Ranks,
    foresight: Foresight,
) -> list[Exception]:
    execution = replace(command.execution, parallel=1)
    errors: list[Exception] = []
    outlook = Outlook([foresight.seconds(each.config) for each in planned])
    for number, each in enumerate(planned, 1):
        outlook.began(number - 1)
        try:
            if ranks.first:
                _announce(labels[number - 1], each)
            with among(lambda: str(outlook)):
                _make_one(each, execution, command.data_dir, dataset)
        # An unexpected error of one run must not stop the others.
        except Exception as error:  # noqa: BLE001 - see above
            survive(error, number, each.folder, ranks)
            errors.append(error)
        outlook.ended(number - 1)
    return errors


def _side_by_side(
    command: Command,
    planned: list[Planned],
    labels: list[str],
    dataset: Dataset,
    ranks: Ranks,
    sharing: Sharing,
    foresight: Foresight,
) -> list[Exception]:
    from couplings.memory import available_bytes

    todo = []
    for label, each in zip(labels, planned, strict=True):
        if is_settled_or_damaged(each):
            _announce(label, each)
        else:
            todo.append((label, each))
    configs = [each.config for _, each in todo]
    sharing = within_memory(sharing, configs, dataset, available_bytes(), foresight.memory)
    at_once = min(sharing.at_once, len(todo))
    if todo:
        each_has = f"{sharing.threads} thread{'s' * (sharing.threads != 1)}"
        print(f"{at_once} of {len(todo)} runs at once (--parallel), {each_has} each", flush=True)
    execution = replace(command.execution, parallel=at_once)
    environment = {
        THREADS: str(sharing.threads),
        COMMAND: os.environ.get(COMMAND) or command_line(),
    }
    errors: list[Exception] = []
    over = []
    at_work: set[int] = set()
    outlook = Outlook([foresight.seconds(config) for config in configs], at_once)

    def began(number: int) -> None:
        outlook.began(number)
        at_work.add(number)
        _announce(*todo[number])

    def ended(number: int, error: Exception | None) -> None:
        label, each = todo[number]
        at_work.discard(number)
        outlook.ended(number)
        # Its process could not say so itself.
        if isinstance(error, WorkerError):
            each.folder.mark_stopped()
        over.append(number)
        if error is None:
            print(f"{label}{each.config.run_id}: done", flush=True)
            return
        survive(error, len(over), each.folder, ranks)
        errors.append(error)

    # The signals' block is the outer one: it raises them when the file of the data is removed.
    with EndSignals() as end, TemporaryDirectory(prefix="ot-bench-") as place:
        file = _save(dataset, Path(place))
        jobs = []
        for label, each in todo:
            action = partial(_make_from_file, each, execution, command.data_dir, file)
            jobs.append(Job(label, action))
        try:
            side_by_side(jobs, at_once, environment, end, began, ended, lambda: str(outlook))
        finally:
            for number in at_work:
                todo[number][1].folder.mark_stopped()
    if end.noted is not None:
        # A handler of the calling program has returned: the runs are not made all the same.
        raise ConfigError("stopped by a signal; run the same command to resume")
    return errors


def _save(dataset: Dataset, place: Path) -> Path:
    """Write the data for other processes, which map the file: memory holds one copy for all.

    Read once, data that a module of the user's own draws are the same for all runs, and images are
    not decoded again for each of them.
    """
    import torch

    path = place / "data.pt"
    try:
        torch.save(dataset, path)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"cannot write the data for several runs at once to {place} ({one_line(error)}): make"
            " room, name another folder by TMPDIR, or take --parallel 1"
        ) from None
    return path


def _make_from_file(each: Planned, execution: Execution, data_dir: Path | None, file: Path) -> None:
    import torch

    # A file of this command's own, so its pickle is to be trusted.
    dataset = torch.load(file, mmap=True, weights_only=False)
    _make_one(each, execution, data_dir, dataset)


def _make_one(
    each: Planned, execution: Execution, data_dir: Path | None, dataset: Dataset | None
) -> None:
    parent = each.folder.path.parent
    run_arm(
        each.config,
        parent,
        execution,
        data_dir,
        checkpoint=each.file,
        dataset=dataset,
        shared=each.shared,
    )


def _announce(label: str, each: Planned) -> None:
    try:
        done = each.shared is None and is_done(each.folder, each.config)
    except RunFolderError:
        done = False  # reported when its records are read
    print(f"{label}{each.config.run_id}{': already done' * done}", flush=True)

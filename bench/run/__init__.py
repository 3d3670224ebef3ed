"""One command, one fair comparison: ``python -m bench.run --coupling lapjv``.

Trains one run for each coupling and, unless it is left out, one for the ``random`` baseline with
the identical configuration; under each objective, if there are several. Measures all of them on the
same latents, and writes a report. Finished work is reused; a stopped run resumes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.arm import folder_of
from bench.check import check
from bench.cli import RESUMES_TRAINING, main_of, note_preset, report
from bench.config import RunConfig
from bench.process.defaults import plain_torch
from bench.record import RunFolder, RunFolderError
from bench.run.command import Command, parse
from bench.run.foresight import Foresight, foresee, outline
from bench.run.making import Planned, is_settled_or_damaged, make, shared_out
from bench.run.sharing import within_memory
from bench.suitable import network_of, refuse_model, refuse_unfit, refuse_unwritable
from bench.training import noise_search
from bench.training.noise_search import Trial

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.process.ranks import Ranks

__all__ = ["Command", "Made", "main", "make_all", "parse", "run"]


@dataclass(frozen=True)
class Made:
    """The runs of a command.

    Attributes:
        code: the exit code of the command.
        finished: names of the runs that are done.

    """

    code: int
    finished: tuple[str, ...] = ()


def run(command: Command) -> int:
    """The exit code of ``make_all``."""
    return make_all(command).code


@plain_torch()
def make_all(command: Command) -> Made:
    """Make every run of the command, then the report on those that are done.

    A run that fails is one line on stderr, and the next one begins. Among several processes an
    error ends them all, for the others may be waiting for this one.

    Raises:
        ConfigError: no run can be made with these options.

    """
    from bench.process.ranks import join
    from bench.training.sharded import refuse_strategy

    # Everything that can be refused is refused before the first run begins.
    configs = command.configurations()
    trials = noise_search.plan(command.noise, configs, check)
    ranks = join(command.execution.device)
    for config in configs:
        refuse_strategy(command.execution, ranks.count, config)
    refuse_unwritable(command.runs)
    if ranks.first:
        note_preset(command.preset, command.objective)
    planned = _planned(command, configs)
    pilots = _in_folders(noise_search.pilots(trials), command.runs / noise_search.FOLDER)
    dataset, todo = _checked_data(command, [*pilots, *planned], ranks)
    foresight = _foresee(command, [*pilots, *planned], todo, dataset, ranks)
    if command.dry_run:
        return Made(0)
    errors: list[Exception] = []
    if trials:
        if ranks.first:
            noise_search.share_cache(command.runs)
        errors += make(command, pilots, dataset, ranks, foresight, "pilot ")
        configs = ranks.from_first(_with_own_laws, command, trials, configs)
        planned = _planned(command, configs)
    failed = make(command, planned, dataset, ranks, foresight)
    # Nothing was made, so there is nothing new to report. Exit code 2 says that a lock or a
    # damaged folder is the reason, which the user can mend.
    if len(failed) == len(planned):
        return Made(2 if all(isinstance(error, RunFolderError) for error in failed) else 1)
    errors += _share_schedules(command, planned, dataset, ranks, foresight)
    finished = [each.config.run_id for each in planned if _is_done(each.folder)]
    reported = not ranks.first or report(command.runs, finished)
    return Made(int(bool(errors or failed) or not reported), tuple(finished))


def _share_schedules(
    command: Command,
    planned: list[Planned],
    dataset: Dataset | None,
    ranks: Ranks,
    foresight: Foresight,
) -> list[Exception]:
    """Measure runs again at the schedules that the seeds of their coupling choose together; the
    errors of those that failed, which stay finished, at their earlier choice.
    """
    from bench.evaluation.shared_choice import Member, Work, share

    errors: list[Exception] = []

    def measure(work: Work) -> bool:
        again = [replace(planned[member.number], shared=shared) for member, shared in work]
        # Little is left to measure, and how much is not foreseen.
        unknown = replace(foresight, pace=None)
        failed = make(command, again, dataset, ranks, unknown, "again ")
        errors.extend(failed)
        return not failed

    share([Member(each.config, each.folder, i) for i, each in enumerate(planned)], measure, ranks)
    return errors


def _with_own_laws(
    command: Command, trials: list[Trial], configs: list[RunConfig]
) -> list[RunConfig]:
    """The runs at the shared law and at the own one of each coupling, chosen by its pilots."""
    from bench.benchmarks.table import aligned
    from bench.training import noise_choice

    outcomes = noise_choice.conclude(trials, command.runs)
    print("\nFréchet distance of the pilots by law of training noise, * the chosen one:")
    for rows in noise_choice.tables(outcomes):
        print(aligned(rows) + "\n", flush=True)
    return noise_choice.final_runs(configs, outcomes, check)


def _planned(command: Command, configs: list[RunConfig]) -> list[Planned]:
    """The runs, in folders that are theirs, each with the file of its network if it has one."""
    planned = _in_folders(configs, command.runs)
    if not command.from_checkpoint:
        return planned
    # In the order of ``Command.configurations``: all files of the first seed, then of the next.
    files = command.from_checkpoint * command.seeds
    return [replace(each, file=file) for each, file in zip(planned, files, strict=True)]


def _in_folders(configs: list[RunConfig], runs: Path) -> list[Planned]:
    return [Planned(config, folder_of(config, runs)) for config in configs]


def _foresee(
    command: Command,
    planned: list[Planned],
    todo: list[Planned],
    dataset: Dataset | None,
    ranks: Ranks,
) -> Foresight:
    """The time and memory that the runs which have work to do will take; printed."""
    from couplings.memory import available_bytes

    sharing = shared_out(command.execution, len(planned), ranks)
    configs = [each.config for each in todo]
    at_once = max(1, min(sharing.at_once, len(todo)))
    if not ranks.first:
        return Foresight(tuple(configs), at_once, None)
    foresight = foresee(configs, at_once, sharing.threads, dataset, ranks, command.execution)
    available = available_bytes(ranks.device)
    if dataset is not None and at_once > 1:
        fitting = within_memory(sharing, configs, dataset, available, foresight.memory)
        foresight = replace(foresight, at_once=min(at_once, fitting.at_once))
    for line in outline(foresight, len(planned) - len(todo), available):
        print(line, flush=True)
    return foresight


def _checked_data(
    command: Command, planned: list[Planned], ranks: Ranks
) -> tuple[Dataset | None, list[Planned]]:
    """The data, shown to suit every run that has work to do, and these runs; None if none has any.

    Raises:
        ConfigError: they are missing, or do not suit a run.

    """
    from bench import data

    # Finished runs need no data: the report can be made again on a machine without them.
    todo = [each for each in planned if not ranks.from_first(is_settled_or_damaged, each)]
    if not todo:
        return None, []
    dataset = ranks.first_then_all(
        data.load, command.data, command.data_dir, command.resolution, command.source
    )
    # All runs of a command are measured with the same decoder.
    decoder = data.load_decoder(todo[0].config.evaluation, dataset, ranks.device)
    dataset = data.noted(dataset, decoder)
    if ranks.first:
        data.announce(data.describe(dataset))
    # All are checked before any is trained: a pool that is too large for the last run of a night
    # should not show in the morning.
    coming = {each.config.run_id for each in planned}
    for each in todo:
        each.folder.check_data(dataset.checksum)
        refuse_unfit(each.config, dataset)
        refuse_model(each.config, each.folder, dataset, coming)
        if each.file is not None:
            network_of(each.config, each.file, dataset)
    return dataset, todo


def _is_done(folder: RunFolder) -> bool:
    try:
        return folder.is_done()
    except RunFolderError:
        return False  # already reported


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2, a run or a report that failed exit code
    1.
    """
    return main_of(_main, args, stopped=RESUMES_TRAINING)


def _main(args: list[str]) -> int:
    return run(parse(args))

"""Run all measurements of a run: sample, measure, record, and resume where it was stopped.

Memory does not grow with the number of samples: they are drawn, sampled, stored and measured in
chunks. A killed evaluation resumes from the chunks and the measurements that the run folder holds.

The order: the dense reference and its paths; the fixed schedule at every NFE; the grid of
schedules x NFE with few samples of latents of its own, extended where its ends are best; then, at
each NFE, all metrics at the schedule that was best in the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor
from tqdm import tqdm

from bench import metrics
from bench.config import RunConfig
from bench.data import Dataset, Decoder
from bench.evaluation import plan as planning
from bench.evaluation.floors import floor_cautions, floor_tasks, measure_floor
from bench.evaluation.ledger import Ledger, Task, record_best
from bench.evaluation.measure import NotFinite, measure, measure_denoiser
from bench.evaluation.methods import prepare_methods
from bench.evaluation.plan import Job
from bench.evaluation.points import pairs_of, save_pairs
from bench.evaluation.subject import dense_setting, fixed_of_search, sample_chunk, store
from bench.features import Features
from bench.metrics.contract import SolverMetric, Subject
from bench.metrics.w2 import in_the_plane
from bench.process.background import aside
from bench.process.defaults import plain_torch
from bench.process.progress import Progress
from bench.process.ranks import Ranks
from bench.record import Measurement, RunFolder
from bench.record.best_schedule import BEST, Cell, SharedChoice, cells, choose
from bench.sampling import sample as sampling
from bench.sampling.setting import Setting
from bench.sampling.store import clear, keep
from models.denoiser import Denoiser

GUESSED_NFE = 80  # of the adaptive sampler, for the progress bar only

Measured = Callable[[Subject, Task], list[Measurement]]


@dataclass(frozen=True)
class Evaluation:
    """State that the steps of an evaluation share.

    Attributes:
        subject: what is measured.
        ledger: what is recorded; only that of the first rank is used.
        ranks: all of them sample, the first one measures and records.
        keep_samples: True to keep all samples.
        progress: True to show progress bars.
        not_finite: counts of samples that were not finite.

    """

    subject: Subject
    ledger: Ledger
    ranks: Ranks
    keep_samples: bool
    progress: bool
    not_finite: NotFinite = field(default_factory=dict)


@plain_torch()
def evaluate(
    config: RunConfig,
    net: Denoiser,
    dataset: Dataset,
    extractors: list[Features],
    ranks: Ranks,
    folder: RunFolder,
    learned: dict[str, Tensor] | None = None,
    progress: bool = True,
    keep_samples: bool = False,
    shared: SharedChoice | None = None,
    decoder: Decoder | None = None,
) -> list[Measurement]:
    """Measure a trained denoiser; record everything in ``folder`` as soon as it is measured.

    What is sampled depends neither on the number of ranks nor on the chunks. What the folder holds
    is not measured again, provided that it comes from the same weights, data and features. Samples
    are under ``samples/`` until they are no longer needed, or for good with ``keep_samples``. Also
    writes grids of samples, and ``evaluate_seconds``: the time until the last measurement, over all
    sessions.

    Args:
        config: of the run.
        net: the denoiser, on the device of the ranks.
        dataset: real images to compare with.
        extractors: the features that samples are measured in.
        ranks: the processes that share the sampling.
        folder: of the run.
        learned: state of a coupling that learned in training.
        progress: True to show progress bars.
        keep_samples: True to keep all samples.
        shared: the best schedules that runs of several seeds choose together, in the place of this
            run's own choice.
        decoder: of the latents that are sampled, if images are measured in their place.

    Returns:
        All measurements, on the first rank; an empty list on the others.

    """
    # The first rank fits and trains what is missing; the others find its files.
    methods = ranks.first_then_all(
        prepare_methods, config, net.eval(), dataset, folder.path, ranks.device, progress
    )
    device = ranks.device
    subject = Subject(
        config, net, dataset, extractors, device, folder.path, methods, learned, decoder
    )
    # One rank opens the ledger: opening it may drop rows.
    ledger = ranks.from_first(_open_ledger, subject, folder)
    evaluation = Evaluation(subject, ledger, ranks, keep_samples, progress)
    _note(ranks, planning.cautions(subject) + floor_cautions(subject))
    jobs = planning.plan(subject)
    _work(evaluation, jobs, f"evaluate {config.coupling}")
    # Which schedules are best is known only when the grid is measured.
    chosen, beyond = _search(evaluation, shared)
    best = planning.at_best_schedule(subject, chosen)
    _work(evaluation, best, f"evaluate {config.coupling} at the best schedule")
    # When all is measured there: a run that is stopped before keeps its earlier choice.
    recorded = ranks.from_first(_record_best, ledger, chosen, shared.seeds if shared else 1)
    without_samples = planning.denoiser_tasks(subject)
    for task in without_samples:
        ranks.from_first(_record, evaluation, task, measure_denoiser)
    # Last, because they say nothing about this run's denoiser.
    of_real_images = floor_tasks(subject)
    for task in of_real_images:
        ranks.from_first(_record, evaluation, task, measure_floor)
    if not ranks.first:
        return []
    _note(ranks, finite_warnings(evaluation.not_finite))
    aside(partial(_show_pairs, subject))
    _finish(evaluation)
    rows = ledger.rows(_tasks([*jobs, *beyond, *best])) + recorded
    return rows + ledger.rows([*without_samples, *of_real_images])


def _open_ledger(subject: Subject, folder: RunFolder) -> Ledger:
    fingerprints = {features.name: features.fingerprint for features in subject.extractors}
    # A dot marks a module of the user's own; metrics of this folder have none.
    own = [name for name in subject.config.evaluation.metrics if "." in name]
    return Ledger(folder, subject.origin, fingerprints, own)


def _search(
    evaluation: Evaluation, shared: SharedChoice | None
) -> tuple[list[Measurement], list[Job]]:
    """Rows of the best schedules, if this evaluation searches for them, and what was measured
    beyond the ends of the grid.
    """
    subject = evaluation.subject
    title = f"evaluate {subject.config.coupling} beyond the grid of schedules"
    if not planning.grid(subject):
        return [], []
    if shared is not None:
        jobs = planning.search(subject, shared.cells)
        _work(evaluation, jobs, title)
        return list(shared.best), jobs
    done: list[Job] = []
    # Ends: ``plan.beyond`` takes a few steps at most.
    while True:
        chosen, cells = evaluation.ranks.from_first(_choose, subject, evaluation.ledger)
        # A search with fewer images than an earlier one measures cells that do not count, and
        # would be asked for them again.
        jobs = [job for job in planning.search(subject, cells) if job not in done]
        if not jobs:
            return chosen, done
        _work(evaluation, jobs, title)
        done += jobs


def _choose(subject: Subject, ledger: Ledger) -> tuple[list[Measurement], list[Cell]]:
    """The run's own choice for the judge's features, and the cells beyond it that are to be
    tried.
    """
    evaluation = subject.config.evaluation
    metric = subject.judge.name
    rows = ledger.searched(evaluation.fixed_schedule)
    chosen = [row for row in choose(rows) if row.metric == f"{BEST}{metric}"]
    return chosen, planning.beyond(evaluation, chosen, cells(rows, metric))


def _record_best(ledger: Ledger, chosen: list[Measurement], seeds: int) -> list[Measurement]:
    rows = record_best(ledger.folder, chosen, seeds)
    ledger.describe()
    return rows


def _work(evaluation: Evaluation, jobs: Sequence[Job], title: str) -> None:
    """Sample and measure what is not done of some jobs."""
    with _progress(evaluation, jobs, title) as bar:
        for batch in _batches(evaluation, jobs):
            _work_batch(evaluation, batch, bar)


def _work_batch(evaluation: Evaluation, batch: Sequence[Job], bar: Progress) -> None:
    ranks = evaluation.ranks
    # All ranks must agree on the work, and only the first one's ledger is up to date.
    todo = ranks.from_first(_undone, evaluation.ledger, batch)
    if not todo:
        return
    # One rank looks: while others already write chunks, each would find another list.
    chunks = ranks.from_first(_missing_chunks, evaluation, todo)
    for number, (setting, rows) in enumerate(chunks):
        if number % ranks.count == ranks.rank:
            # The first rank's bar shows its own share for all.
            sample_chunk(evaluation.subject, setting, rows, partial(_advance, bar, ranks.count))
    # The first rank measures what the others have stored.
    ranks.wait()
    ranks.from_first(_record_jobs, evaluation, todo)


def _advance(bar: Progress, ranks: int, evaluations: int) -> None:
    bar.update(evaluations * ranks)


def _batches(evaluation: Evaluation, jobs: Sequence[Job]) -> list[list[Job]]:
    """One job after the other; the cells of the first pass, which are small, all at once."""
    batches = []
    few = []
    for job in jobs:
        if job.setting.search:
            few.append(job)
        else:
            batches.append([job])
    # A cell may have fewer chunks than there are ranks: all cells at once give work to every rank.
    return [*batches, few]


def _undone(ledger: Ledger, jobs: Sequence[Job]) -> list[Job]:
    """Jobs of which something is missing, in the order given."""
    return [job for job in jobs if _missing_tasks(ledger, job)]


def _missing_tasks(ledger: Ledger, job: Job) -> list[Task]:
    return [task for task in job.tasks if not ledger.holds(task)]


def _missing_chunks(evaluation: Evaluation, todo: Sequence[Job]) -> list[tuple[Setting, range]]:
    """Settings and rows that are still to be sampled for some jobs."""
    ledger = evaluation.ledger
    # The dense reference comes before the settings that are compared with it.
    wanted: dict[Setting, int] = {}
    for job in todo:
        tasks = _missing_tasks(ledger, job)
        # Needed also if its own measurements are recorded: their samples may be removed by then.
        if any(_needs_dense(task) for task in tasks):
            dense = dense_setting(evaluation.subject.config.evaluation)
            wanted.setdefault(dense, evaluation.subject.config.evaluation.trajectories)
        if job.setting.search:
            # Likewise, the fixed schedule that a cell of the first pass is compared with.
            fixed = fixed_of_search(evaluation.subject.config.evaluation, job.setting.nfe)
            wanted[fixed] = job.n
    for job in todo:
        if job.n:
            wanted[job.setting] = job.n
    chunks = []
    for setting, n in wanted.items():
        for rows in store(evaluation.subject, setting).missing(n, sampling.CHUNK):
            chunks.append((setting, rows))
    return chunks


def _needs_dense(task: Task) -> bool:
    metric = metrics.load(task.metric)
    return issubclass(metric, SolverMetric) and metric.needs_dense


def _record_jobs(evaluation: Evaluation, todo: Sequence[Job]) -> None:
    """Measure and record some jobs, and remove samples that are no longer needed."""
    recorded = []
    for job in todo:
        tasks = _missing_tasks(evaluation.ledger, job)
        # In a thread: exact transport of many points is one call of minutes, and signals must be
        # handled meanwhile.
        call = partial(measure, evaluation.subject, job, tasks, evaluation.not_finite)
        recorded += aside(call)
    # Before the samples are removed: a run that is killed in between still has one of the two.
    evaluation.ledger.add(recorded)
    for job in todo:
        if _is_over(evaluation, job):
            store(evaluation.subject, job.setting).remove()


def _record(evaluation: Evaluation, task: Task, measured: Measured) -> None:
    """Measure and record what needs no stored samples."""
    if not evaluation.ledger.holds(task):
        rows = aside(partial(measured, evaluation.subject, task))
        evaluation.ledger.add([(task, rows)])


def _show_pairs(subject: Subject) -> None:
    """Write pairs of points in the plane, as the run's coupling makes them."""
    if not in_the_plane(subject.dataset):
        return
    pairs = pairs_of(subject)
    if pairs is not None:
        save_pairs(subject.samples_folder / "pairs.csv", pairs.noise, pairs.images)


def _is_over(evaluation: Evaluation, job: Job) -> bool:
    """True if a job's samples are no longer needed.

    The dense reference is needed until the end, and so is the fixed schedule in the first pass.
    """
    settings = evaluation.subject.config.evaluation
    if evaluation.keep_samples or job.setting == dense_setting(settings):
        return False
    return not (job.setting.search and job.setting.column == settings.fixed_schedule)


def _finish(evaluation: Evaluation) -> None:
    """Remove or keep the samples, and record that all is measured."""
    subject = evaluation.subject
    tidy = keep if evaluation.keep_samples else clear
    tidy(subject.samples_folder)
    # How far the features of a classifier can be trusted.
    accuracies = []
    for features in subject.extractors:
        if features.accuracy:
            row = Measurement("classifier_accuracy", features.accuracy, split="test")
            accuracies.append(row)
    if accuracies:
        evaluation.ledger.folder.add(accuracies)
    evaluation.ledger.describe()
    evaluation.ledger.finish(subject.config)


def _progress(evaluation: Evaluation, jobs: Sequence[Job], title: str) -> Progress:
    """Progress over the evaluations of the denoiser, from where the work was stopped."""
    # More may be missing than these jobs count, if the dense reference was removed and is sampled
    # again.
    missing = evaluation.ranks.from_first(_missing_evaluations, evaluation, jobs)
    total = 0
    for job in jobs:
        total += job.n * _cost(job.setting)
    return Progress(
        title,
        max(total, missing),
        "eval",
        "evaluations",
        initial=max(0, total - missing),
        shown=bool(evaluation.progress and evaluation.ranks.first and missing),
    )


def _missing_evaluations(evaluation: Evaluation, jobs: Sequence[Job]) -> int:
    todo = _undone(evaluation.ledger, jobs)
    evaluations = 0
    for setting, rows in _missing_chunks(evaluation, todo):
        evaluations += len(rows) * _cost(setting)
    return evaluations


def _cost(setting: Setting) -> int:
    return setting.nfe or GUESSED_NFE


def _tasks(jobs: Sequence[Job]) -> Iterator[Task]:
    for job in jobs:
        yield from job.tasks


def _note(ranks: Ranks, lines: Sequence[str]) -> None:
    if ranks.first:
        for line in lines:
            tqdm.write(f"note: {line}")


def finite_warnings(not_finite: NotFinite) -> list[str]:
    """A line for the terminal if samples were not finite, about the setting with the largest share;
    else none.
    """
    if not not_finite:
        return []
    # One line for all settings: a diverged run would otherwise fill the terminal.
    name = max(not_finite, key=lambda name: not_finite[name][0] / not_finite[name][1])
    bad, n = not_finite[name]
    others = len(not_finite) - 1
    more = f", and some of {others} other setting{'s' * (others > 1)}" if others else ""
    return [
        f"{bad:,} of {n:,} samples are not finite: {name}{more}. Their metrics are NaN; a lower"
        " --lr may help"
    ]

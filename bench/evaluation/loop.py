"""Work off what is to be measured in a run: sample, measure, record, and go on where it was
stopped.

Memory does not grow with the number of samples: they are drawn, sampled, stored and measured in
chunks. A killed evaluation goes on from the chunks and the measurements that the run folder holds.

The walk: the dense reference and its paths; the fixed rho at every NFE; the grid rho x NFE with few
images; then, at each NFE, all metrics at the rho that was best in the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from tqdm import tqdm

from bench.config import RunConfig
from bench.data import Dataset
from bench.evaluation.ledger import Ledger, Task
from bench.evaluation.methods import make_ready
from bench.evaluation.subject import GRID, GUESSED_NFE, Arm, Job
from bench.features import Features
from bench.process.background import aside
from bench.process.defaults import plain_torch
from bench.process.ranks import Ranks
from bench.record import Measurement, RunFolder
from bench.sampling import sample as sampling
from bench.sampling.setting import Setting
from bench.sampling.store import clear, keep
from models.objectives.edm import EDMDenoiser


@plain_torch()
def evaluate(
    config: RunConfig,
    net: EDMDenoiser,
    dataset: Dataset,
    extractors: list[Features],
    ranks: Ranks,
    folder: RunFolder,
    learned: dict[str, Tensor] | None = None,
    progress: bool = True,
    keep_samples: bool = False,
) -> list[Measurement]:
    """All measurements of a trained denoiser, recorded in ``folder`` as soon as they are made.

    All ranks sample; the first measures and records. What is sampled depends on neither their
    number nor the chunks.

    What the folder holds already is not made again, provided that it comes from the same weights,
    data and features. ``learned`` is the state of a coupling that learned in training. Samples lie
    under ``samples/`` until they are no longer needed, or for good with ``keep_samples``. Writes
    sample grids, and ``evaluate_seconds``: the time until the last measurement, over all sessions.
    """
    net = net.eval()
    prepared = ranks.first_begins(
        lambda: make_ready(config, net, dataset, folder.path, ranks.device, progress)
    )
    arm = Arm(config, net, dataset, extractors, ranks.device, folder.path, prepared, learned)
    ledger = ranks.first_does(lambda: Ledger(folder, arm.origin, arm.fingerprints))
    for line in rank_warnings(arm) if ranks.first else ():
        tqdm.write(f"note: {line}")
    session, jobs = Session(arm, ledger, ranks, keep_samples), arm.plan()
    with session.progress(jobs, progress) as bar:
        light = [job for job in jobs if job.searches and len(job.tasks) == 1]
        session.work([*([job] for job in jobs if job not in light), light], bar)
        best = ranks.first_does(lambda: arm.best(ledger))
        bar.total += ranks.first_does(lambda: session.evaluations(best)) - session.guess
        session.work([[job] for job in best], bar)
    session.work_beside()
    if not ranks.first:
        return []
    for line in finite_warnings(arm):
        tqdm.write(f"note: {line}")
    (keep if keep_samples else clear)(arm.samples_dir)
    ledger.finish(config)
    return ledger.rows([task for job in [*jobs, *best] for task in job.tasks] + arm.beside())


@dataclass(frozen=True)
class Session:
    """Works off jobs: the ranks sample, the first of them measures and records."""

    arm: Arm
    ledger: Ledger
    ranks: Ranks
    keep_samples: bool

    def work(self, batches: Sequence[Sequence[Job]], bar: tqdm) -> None:
        """Sample and measure the jobs of each batch together, those that are not done."""
        for batch in batches:
            todo = self.ranks.first_does(
                lambda batch=batch: [job for job in batch if self._tasks(job)]
            )
            if not todo:
                continue
            chunks = self.ranks.first_does(lambda todo=todo: list(self._chunks(todo)))
            for number, (setting, rows) in enumerate(chunks):
                if number % self.ranks.count == self.ranks.rank:
                    # The first rank shows its own share for all.
                    self.arm.sample_chunk(setting, rows, lambda n: bar.update(n * self.ranks.count))
            self.ranks.wait()
            self.ranks.first_does(lambda todo=todo: self._record(todo))

    def work_beside(self) -> None:
        """Measure what needs no stored images, on the first rank."""
        for task in self.arm.beside():
            self.ranks.first_does(lambda task=task: self._record_beside(task))

    def progress(self, jobs: list[Job], shown: bool) -> tqdm:
        """A bar over all evaluations of the denoiser, begun where the work stopped."""
        missing = self.ranks.first_does(lambda: self.evaluations(jobs))
        images = self._images(jobs, {task.part for job in jobs for task in job.tasks})
        total = sum(n * (setting.nfe or GUESSED_NFE) for setting, n in images.items())
        return tqdm(
            total=total + self.guess,
            initial=total - missing,
            desc=f"evaluate {self.arm.config.coupling}",
            unit="eval",
            unit_scale=True,
            disable=None if shown and self.ranks.first else True,
        )

    @property
    def guess(self) -> int:
        """Evaluations that the best rhos will take at most: which they are is not known before the
        grid is measured.
        """
        cells = {job.setting.nfe: job for job in self.arm.grid()}
        return sum(nfe * max(0, self.arm.full(job.setting).n - job.n) for nfe, job in cells.items())

    def evaluations(self, jobs: Sequence[Job]) -> int:
        """What has still to be sampled for the jobs."""
        todo = [job for job in jobs if self._tasks(job)]
        return sum(len(rows) * (setting.nfe or GUESSED_NFE) for setting, rows in self._chunks(todo))

    def _record(self, todo: list[Job]) -> None:
        """Measure and record the jobs, and let go of what is needed no more."""
        # Exact transport of many points is one call of minutes.
        self.ledger.add(
            [
                (task, aside(partial(self.arm.measure, task, job)))
                for job in todo
                for task in self._tasks(job)
            ]
        )
        for job in filter(self._is_over, todo):
            self.arm.store(job.setting).remove()

    def _record_beside(self, task: Task) -> None:
        if not self.ledger.holds(task):
            self.ledger.add([(task, aside(partial(self.arm.measure_beside, task)))])

    def _tasks(self, job: Job) -> list[Task]:
        return [task for task in job.tasks if not self.ledger.holds(task)]

    def _chunks(self, todo: list[Job]) -> Iterator[tuple[Setting, range]]:
        """What the jobs have still to sample."""
        for setting, n in self._images(
            todo, {task.part for job in todo for task in self._tasks(job)}
        ).items():
            yield from (
                (setting, rows) for rows in self.arm.store(setting).missing(n, sampling.CHUNK)
            )

    def _images(self, jobs: Sequence[Job], parts: set[str]) -> dict[Setting, int]:
        """How many images of each setting; truncation errors need the dense ones, also if those are
        done with.
        """
        dense = (
            {self.arm.dense: self.arm.config.evaluation.trajectories}
            if "truncation" in parts
            else {}
        )
        return dense | {job.setting: job.n for job in jobs if job.n}

    def _is_over(self, job: Job) -> bool:
        """Whether the samples are needed no more: the dense ones are until the end, those of the
        grid may be best.
        """
        at_fixed = job.setting.rho in (None, self.arm.config.evaluation.rho)
        return (
            not self.keep_samples
            and job.setting != self.arm.dense
            and (at_fixed or not job.searches)
        )


def rank_warnings(arm: Arm) -> list[str]:
    """Lines for the terminal: which Frechet distances rest on no more samples, or real images, than
    features.
    """
    evaluation, train, test = arm.config.evaluation, len(arm.dataset.train), len(arm.dataset.test)
    counts: list[tuple[str, int, int]] = []  # metric, samples or images, features
    if "samples" in evaluation.metrics:
        for features in arm.extractors:
            named = arm.rulers[features.name].frechet_names(evaluation.samples).items()
            counts += [(metric, min(n, train, test), features.size) for metric, n in named]
    if arm.grid():
        counts.append((GRID + arm.judge.name, min(evaluation.grid_samples, train), arm.judge.size))
    return [
        f"{metric}: {n} samples in {size} features; values are biased, compare arms with care"
        for metric, n, size in counts
        if n <= size
    ]


def finite_warnings(arm: Arm) -> list[str]:
    """One line for the terminal where samples were not finite, about the setting with the largest
    share; else none.
    """
    if not arm.not_finite:
        return []
    name, (bad, n) = max(arm.not_finite.items(), key=lambda item: item[1][0] / item[1][1])
    others = len(arm.not_finite) - 1
    more = f", and some of {others} other setting{'s' * (others > 1)}" if others else ""
    return [
        f"{bad:,} of {n:,} samples are not finite: {name}{more}. Their metrics are NaN; a lower"
        " --lr may help"
    ]

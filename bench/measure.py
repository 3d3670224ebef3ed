"""Measure a trained denoiser: quality at each NFE and rho, its paths, truncation error; the same latents for every arm.

Memory does not grow with the number of samples: they are drawn, sampled, stored and measured in chunks. A killed
evaluation goes on from the chunks and the measurements that the run folder holds.

The walk: the dense reference and its paths; the fixed rho at every NFE; the grid rho x NFE with few images; then, at
each NFE, all metrics at the rho that was best in the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bench import sampling
from bench.config import EvaluationConfig, RunConfig
from bench.data import Dataset, as_images
from bench.features import Features
from bench.ledger import Ledger, Task
from bench.metrics.trajectory import DRIFT, PER_PATH, Tangents, drift_sigmas, summary
from bench.metrics.trajectory import Path as OdePath
from bench.metrics.truncation import truncation_error
from bench.pictures import save_grid
from bench.quality import Ruler, Values
from bench.ranks import Ranks
from bench.record import Measurement, RunFolder
from bench.samples import SampleStore, clear, weights_digest
from bench.sampling import Setting, as_stored, draw_latents, sample
from models.precondition import EDMDenoiser
from models.schedule import karras_sigmas

GRID_NFE = (5, 13, 35)  # numbers of evaluations, if sampled, whose images are shown
GRID_SIDE = 8
TANGENTS = (8, 10)  # rows, one a sample, and columns of the picture of D along the path
GUESSED_NFE = 80  # of the adaptive sampler, for the progress bar alone


@dataclass(frozen=True)
class Job:
    """Images of one setting and what is measured in them."""

    setting: Setting
    n: int
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Arm:
    """A trained denoiser and all that its measurements depend on."""

    config: RunConfig
    net: EDMDenoiser
    dataset: Dataset
    extractors: list[Features]
    device: str
    samples_dir: Path
    cache: Path | None = None

    @cached_property
    def origin(self) -> dict[str, object]:
        """What samples depend on, apart from their setting."""
        evaluation = self.config.evaluation
        known = {"data": self.dataset.checksum, "seed": self.config.seed}
        levels = {"sigma_min": evaluation.sigma_min, "sigma_max": evaluation.sigma_max}
        return {"weights": weights_digest(self.net), **known, **levels}

    @property
    def dense(self) -> Setting:
        """The reference that stands for the exact solution."""
        return Setting("heun", 2 * self.config.evaluation.reference_steps - 1, self.config.evaluation.rho)

    @property
    def dense_levels(self) -> Tensor:
        """Noise levels of its points, without the 0 at the end."""
        evaluation = self.config.evaluation
        levels = karras_sigmas(evaluation.reference_steps, evaluation.rho, evaluation.sigma_min, evaluation.sigma_max)
        return levels[:-1]

    @cached_property
    def rulers(self) -> dict[str, Ruler]:
        """What samples are measured with, by the name of its features."""
        return {f.name: Ruler(f, self.dataset, self.device) for f in self.extractors}

    @cached_property
    def asked(self) -> Tensor | None:
        """Classes ``[samples]`` that the samples are asked for; None where the denoiser is told none."""
        if not self.net.label_dim:
            return None
        n, size = self.config.evaluation.samples, sampling.CHUNK
        starts = range(0, n, size)
        return torch.cat([draw_latents(min(size, n - s), self.dataset, self.config.seed, s).labels for s in starts])

    def store(self, setting: Setting) -> SampleStore:
        """Where images are kept: ``images`` as stored and, of the trajectories alone, ``exact`` float32 ones.

        Those of the dense reference hold what was observed along their paths as well.
        """
        observed = {"observed": [*PER_PATH, DRIFT, "tangents"]} if setting == self.dense else {}
        key = {**self.origin, "setting": setting.name, "trajectories": self.config.evaluation.trajectories, **observed}
        return SampleStore.of(self.samples_dir, setting.name, key)

    # What is to do.

    def paths(self) -> Job:
        """The paths of the dense reference."""
        n = self.config.evaluation.trajectories
        return Job(self.dense, n, (Task("paths", self.dense.name, n),) if self._asks("paths") else ())

    def fixed(self) -> list[Job]:
        """All samplers at the fixed rho, at every number of evaluations."""
        evaluation, found = self.config.evaluation, []
        for sampler in evaluation.samplers:
            if sampler.startswith("dopri5"):
                found.append(self._full(Setting(sampler)))
            else:
                found += [self._full(Setting(sampler, nfe, evaluation.rho)) for nfe in evaluation.nfe]
        return found

    def grid(self) -> list[Job]:
        """Few images in every cell of rho x NFE."""
        evaluation = self.config.evaluation
        if not (self._asks("grid") and self.extractors):
            return []
        n = evaluation.grid_samples
        two_steps = 3  # go from sigma_max to sigma_min and to 0, whatever the exponent
        cells = [Setting("heun", nfe, rho) for rho in evaluation.rhos for nfe in evaluation.nfe if nfe > two_steps]
        return [Job(cell, n, (self._task("grid", cell, n),)) for cell in cells]

    def plan(self) -> list[Job]:
        """All that can be said before the grid is measured, one job a setting, the dense reference first."""
        merged: dict[Setting, Job] = {}
        for job in (self.paths(), *self.fixed(), *self.grid()):
            before = merged.get(job.setting, Job(job.setting, 0, ()))
            merged[job.setting] = Job(job.setting, max(before.n, job.n), before.tasks + job.tasks)
        return list(merged.values())

    def best(self, ledger: Ledger) -> list[Job]:
        """All metrics at the best rho of each number of evaluations, where that is not the fixed one.

        It is chosen by the training split, on this run's own few samples: an arm is free to choose, as random is.
        """
        cells = ledger.rows(task for job in self.grid() for task in job.tasks)
        cells.sort(key=lambda cell: math.inf if math.isnan(cell.value) else cell.value, reverse=True)
        best = {cell.nfe: cell.rho for cell in cells}  # the lowest comes last
        fixed = self.config.evaluation.rho
        return [self._full(Setting("heun", nfe, rho)) for nfe, rho in sorted(best.items()) if rho != fixed]

    def _full(self, setting: Setting) -> Job:
        evaluation = self.config.evaluation
        tasks = [Task("truncation", setting.name, evaluation.trajectories)] if self._asks("truncation") else []
        if self._asks("samples"):
            tasks += [self._task(name, setting, evaluation.samples) for name in self.rulers]
        return Job(setting, max(evaluation.samples, evaluation.trajectories), tuple(tasks))

    def _task(self, part: str, setting: Setting, n: int) -> Task:
        features = self.judge if part == "grid" else self.rulers[part].features
        return Task(part, setting.name, n, features.fingerprint)

    def _asks(self, metrics: str) -> bool:
        return metrics in self.config.evaluation.metrics

    @property
    def judge(self) -> Features:
        """The features that choose the best rho: a classifier's where there is one."""
        return next((f for f in self.extractors if f.classify), self.extractors[0])

    # How it is measured.

    def measure(self, task: Task, job: Job) -> list[Measurement]:
        """The rows of a task, from the stored images of its job; also writes the pictures that go with them."""
        if task.part == "paths":
            return self._paths()
        setting = self._measured(job)
        if task.part == "truncation":
            return [setting.row("truncation_error", self._truncation(job), n=task.n)]
        images = self.store(job.setting).images(task.n)
        if task.part == "grid":
            ruler = self.rulers[self.judge.name]
            value = ruler.frechet(images, task.n, "train")
            return [setting.row(f"grid_fd_{self.judge.name}", value, split="train", n=task.n)]
        self._show(job)
        return _rows(setting, self.rulers[task.part], task.n, images, self.asked)

    def _measured(self, job: Job) -> Setting:
        """The setting, with the evaluations that an adaptive sampler took."""
        if job.setting.nfe is not None:
            return job.setting
        counts = torch.cat(list(self.store(job.setting).tensors("evaluations", job.n)))
        return job.setting.with_nfe(round(counts.double().mean().item()))

    def _truncation(self, job: Job) -> float:
        n = self.config.evaluation.trajectories
        coarse, dense = (
            torch.cat(list(self.store(setting).tensors("exact", n))) for setting in (job.setting, self.dense)
        )
        return truncation_error(coarse, dense)

    def _paths(self) -> list[Measurement]:
        store, n = self.store(self.dense), self.config.evaluation.trajectories
        per_sample = {name: torch.cat(list(store.tensors(name, n))) for name in (*PER_PATH, DRIFT)}
        tangents = torch.cat(list(store.tensors("tangents", min(TANGENTS[0], n))))  # [rows, columns, c, h, w]
        save_grid(self.samples_dir / "tangents.png", tangents.flatten(0, 1), columns=tangents.shape[1])
        values = summary(per_sample, drift_sigmas(self.dense_levels))
        return [self.dense.row(metric, value, n=n, sigma=sigma) for (metric, sigma), value in values.items()]

    def _show(self, job: Job) -> None:
        """Write the grid of the first images, at some numbers of evaluations of the fixed schedule."""
        setting, evaluation = job.setting, self.config.evaluation
        if setting != Setting("heun", setting.nfe, evaluation.rho) or setting.nfe not in GRID_NFE:
            return
        shown = torch.cat(list(self.store(setting).images(min(GRID_SIDE**2, evaluation.samples))))
        save_grid(self.samples_dir / f"nfe{setting.nfe}.png", as_images(shown))

    def sample_chunk(self, setting: Setting, rows: range, advance: Callable[[int], object]) -> None:
        """Sample the images of some latents into the store, the dense ones with what their paths look like."""
        config, path = self.config, None
        if setting == self.dense:
            path = OdePath(Tangents.evenly(max(0, TANGENTS[0] - rows.start), TANGENTS[1], len(self.dense_levels)))
        latents = draw_latents(len(rows), self.dataset, config.seed, rows.start)
        images, counted = sample(self.net, latents, setting, config.evaluation, self.device, path, advance)
        assert setting.nfe in (None, counted), f"counted {counted} evaluations where {setting.nfe} were asked for"
        exact = images[: max(0, config.evaluation.trajectories - rows.start)].clone()
        more = {name: tensor.cpu() for name, tensor in path.per_sample().items()} if path else {}
        if setting.nfe is None:
            more["evaluations"] = torch.full((len(rows),), counted)
        self.store(setting).add(rows.start, images=as_stored(images, self.dataset), exact=exact, **more)


def _rows(setting: Setting, ruler: Ruler, n: int, images: Iterator[Tensor], asked: Tensor | None) -> list[Measurement]:
    values: Values = ruler.measure(images, n, asked)
    named = ruler.names(n, conditional=asked is not None)
    return [setting.row(metric, values[metric, split], split=split, n=count) for metric, split, count in named]


def evaluate(
    config: RunConfig,
    net: EDMDenoiser,
    dataset: Dataset,
    extractors: list[Features],
    ranks: Ranks,
    folder: RunFolder,
    progress: bool = True,
    keep_samples: bool = False,
) -> list[Measurement]:
    """All measurements of a trained denoiser, recorded in ``folder`` as soon as they are made.

    All ranks sample; the first measures and records. What is sampled depends on neither their number nor the chunks.

    What the folder holds already is not made again, provided that it comes from the same weights, data and features.
    Samples lie under ``samples/`` until they are no longer needed, or for good with ``keep_samples``. Writes sample
    grids, and ``evaluate_seconds``: the time until the last measurement, over all sessions.
    """
    arm = Arm(config, net.eval(), dataset, extractors, ranks.device, folder.path / "samples")
    fingerprints = {f.name: f.fingerprint for f in extractors}
    ledger = ranks.first_does(lambda: Ledger(folder, arm.origin, fingerprints))
    session, jobs = Session(arm, ledger, ranks, keep_samples), arm.plan()
    with session.progress(jobs, progress) as bar:
        light = [job for job in jobs if {task.part for task in job.tasks} == {"grid"}]
        session.work([*([job] for job in jobs if job not in light), light], bar)
        best = ranks.first_does(lambda: arm.best(ledger))
        bar.total += ranks.first_does(lambda: session.evaluations(best)) - session.guess
        session.work([[job] for job in best], bar)
    if not ranks.first:
        return []
    if not keep_samples:
        clear(arm.samples_dir)
    ledger.finish(config.evaluation)
    return ledger.rows(task for job in [*jobs, *best] for task in job.tasks)


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
            todo = self.ranks.first_does(lambda batch=batch: [job for job in batch if self._tasks(job)])
            chunks = self.ranks.first_does(lambda todo=todo: list(self._chunks(todo)))
            for number, (setting, rows) in enumerate(chunks):
                if number % self.ranks.count == self.ranks.rank:
                    self.arm.sample_chunk(setting, rows, bar.update)
            self.ranks.wait()
            if self.ranks.first:
                self.ledger.add([(task, self.arm.measure(task, job)) for job in todo for task in self._tasks(job)])
                for job in filter(self._is_over, todo):
                    self.arm.store(job.setting).remove()
            self.ranks.wait()

    def progress(self, jobs: list[Job], shown: bool) -> tqdm:
        """A bar over all evaluations of the denoiser, begun where the work stopped."""
        missing = self.ranks.first_does(lambda: self.evaluations(jobs))
        total = sum((job.setting.nfe or GUESSED_NFE) * job.n for job in jobs)
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
        """Evaluations that the best rhos will take at most: which they are is not known before the grid is measured."""
        evaluation, cells = self.arm.config.evaluation, self.arm.grid()
        return sum(evaluation.nfe) * max(0, evaluation.samples - evaluation.grid_samples) if cells else 0

    def evaluations(self, jobs: Sequence[Job]) -> int:
        """What has still to be sampled for the jobs."""
        todo = [job for job in jobs if self._tasks(job)]
        return sum(len(rows) * (setting.nfe or GUESSED_NFE) for setting, rows in self._chunks(todo))

    def _tasks(self, job: Job) -> list[Task]:
        return [task for task in job.tasks if not self.ledger.holds(task)]

    def _chunks(self, todo: list[Job]) -> Iterator[tuple[Setting, range]]:
        """What the jobs have still to sample; truncation errors need the dense samples, also if those are done with."""
        parts = {task.part for job in todo for task in self._tasks(job)}
        dense = [Job(self.arm.dense, self.arm.config.evaluation.trajectories, ())] if "truncation" in parts else []
        for job in {job.setting: job for job in (*dense, *todo)}.values():
            yield from ((job.setting, rows) for rows in self.arm.store(job.setting).missing(job.n, sampling.CHUNK))

    def _is_over(self, job: Job) -> bool:
        """Whether the samples are needed no more: the dense ones are until the end, those of the grid may be best."""
        in_grid = any(task.part == "grid" for task in job.tasks)
        at_fixed = job.setting.rho in (None, self.arm.config.evaluation.rho)
        return not self.keep_samples and job.setting != self.arm.dense and (at_fixed or not in_grid)


def rank_warning(features: Features, dataset: Dataset, evaluation: EvaluationConfig) -> str | None:
    """A line for the terminal where a Frechet distance rests on fewer samples than features."""
    least = min(evaluation.samples, len(dataset.test), len(dataset.train))
    if least > features.size:
        return None
    return f"fd_{features.name}: {least} samples in {features.size} features; values are biased, compare arms with care"

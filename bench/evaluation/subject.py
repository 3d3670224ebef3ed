"""What is measured of a trained denoiser: quality at each NFE and rho, its paths, its errors, its
learning signal.

An ``Arm`` says what is to do, samples chunks of images and measures them; ``bench.evaluation.loop``
does it all. The latents are the same for every arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.data import Dataset, as_images
from bench.evaluation.ledger import Ledger, Task
from bench.evaluation.methods import Prepared, guidances
from bench.evaluation.pictures import save_grid
from bench.evaluation.points import MOST, REAL, save_points
from bench.features import Features
from bench.metrics.learning_signal import learning_signal, own_coupling
from bench.metrics.local_error import EULER, HEUN, interval_sigmas, local_errors
from bench.metrics.local_error import summary as local_summary
from bench.metrics.of_samples import Ruler, Values
from bench.metrics.start_prior import start_rows
from bench.metrics.trajectory import DRIFT, PER_PATH, Tangents, drift_sigmas, summary
from bench.metrics.trajectory import Path as OdePath
from bench.metrics.truncation import truncation_error
from bench.metrics.wasserstein import PlaneRuler, in_the_plane
from bench.record import Measurement
from bench.sampling import sample as sampling
from bench.sampling.latents import Latents, as_stored, draw_latents, finite_rows, one_hot
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore, weights_digest
from models.objectives.edm import EDMDenoiser
from models.schedule import karras_sigmas

GRID_NFE = (5, 13, 35)  # numbers of evaluations, if sampled, whose images are shown
GRID_SIDE = 8
TANGENTS = (8, 10)  # rows, one a sample, and columns of the picture of D along the path
LOCAL_STEPS = 9  # of the schedule whose single steps are looked at
LOCAL_MOST = 128  # paths are enough for a root mean square
GUESSED_NFE = 80  # of the adaptive sampler, for the progress bar alone
MIXTURE = "mode_mixture_"  # with the name of features
GRID = "grid_fd_"  # with the name of features: the metric by which the best rho is chosen


@dataclass(frozen=True)
class Job:
    """Images of one setting and what is measured in them."""

    setting: Setting
    tasks: tuple[Task, ...]

    @property
    def n(self) -> int:
        """How many images: as many as the largest of its tasks asks for."""
        return max((task.n for task in self.tasks), default=0)

    @property
    def searches(self) -> bool:
        """Whether it is a cell of the search for the best rho."""
        return any(task.part.startswith(GRID) for task in self.tasks)


@dataclass(frozen=True)
class Arm:
    """A trained denoiser and all that its measurements depend on."""

    config: RunConfig
    net: EDMDenoiser
    dataset: Dataset
    extractors: list[Features]
    device: str
    folder: Path
    prepared: Prepared = Prepared()
    learned: dict[str, Tensor] | None = None  # the state of a coupling that learned in training
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By the name of a setting: how many samples were not finite, and of how many; filled while
    measuring.
    """

    @property
    def samples_dir(self) -> Path:
        """Where samples and their pictures go."""
        return self.folder / "samples"

    @property
    def cache(self) -> Path:
        """What runs side by side share."""
        return self.folder.parent / ".cache"

    @cached_property
    def origin(self) -> dict[str, object]:
        """What samples depend on, apart from their setting."""
        evaluation = self.config.evaluation
        known = {"data": self.dataset.checksum, "seed": self.config.seed}
        levels = {"sigma_min": evaluation.sigma_min, "sigma_max": evaluation.sigma_max}
        law = {"class_law": evaluation.class_law} if self.net.label_dim else {}
        return {"weights": weights_digest(self.net), **known, **levels, **law}

    @property
    def dense(self) -> Setting:
        """The reference that stands for the exact solution."""
        return Setting(
            "heun", 2 * self.config.evaluation.reference_steps - 1, self.config.evaluation.rho
        )

    @property
    def dense_levels(self) -> Tensor:
        """Noise levels of its points, without the 0 at the end."""
        evaluation = self.config.evaluation
        levels = karras_sigmas(
            evaluation.reference_steps, evaluation.rho, evaluation.sigma_min, evaluation.sigma_max
        )
        return levels[:-1]

    @cached_property
    def rulers(self) -> dict[str, Ruler | PlaneRuler]:
        """What samples are measured with, by the name of its features; points in the plane also as
        they are.
        """
        found = {f.name: Ruler(f, self.dataset, self.device, self.cache) for f in self.extractors}
        return found | ({"w2": PlaneRuler(self.dataset)} if in_the_plane(self.dataset) else {})

    @cached_property
    def asked(self) -> Tensor | None:
        """Classes ``[samples]`` that the samples are asked for; None where the denoiser is told
        none.
        """
        if not self.net.label_dim:
            return None
        n, size = self.config.evaluation.samples, sampling.CHUNK
        starts = range(0, n, size)
        return torch.cat([self._latents(range(s, min(n, s + size))).labels for s in starts])

    def store(self, setting: Setting) -> SampleStore:
        """Where images are kept: ``images`` as stored and, of the trajectories alone, ``exact``
        float32 ones.

        Those of the dense reference hold what was observed along their paths as well.
        """
        observed = {"observed": [*PER_PATH, DRIFT, "tangents"]} if setting == self.dense else {}
        key = {
            **self.origin,
            "setting": self._name(setting),
            "trajectories": self.config.evaluation.trajectories,
            **observed,
        }
        return SampleStore.of(self.samples_dir, setting.name, key)

    # What is to do.

    def paths(self) -> Job:
        """The paths of the dense reference."""
        n = self.config.evaluation.trajectories
        return Job(self.dense, (Task("paths", self.dense.name, n),) if self._asks("paths") else ())

    def fixed(self) -> list[Job]:
        """All samplers at the fixed rho, at every number of evaluations."""
        evaluation, found = self.config.evaluation, []
        for sampler in evaluation.samplers:
            if sampler.startswith("dopri5"):
                found.append(self.full(Setting(sampler)))
            else:
                found += [
                    self.full(Setting(sampler, nfe, evaluation.rho)) for nfe in evaluation.nfe
                ]
        return found

    def guided(self) -> list[Job]:
        """Every weight of every discriminator, unguided among them, at the fixed rho."""
        rho = self.config.evaluation.rho
        return [
            self.full(Setting("heun", nfe, rho, guidance=one.label(weight)))
            for one in guidances(self.config)
            for weight in one.weights
            for nfe in one.nfe
        ]

    def started(self) -> list[Job]:
        """Every start, the usual one among them, at the fixed rho: and how many images lie between
        classes.
        """
        evaluation, found = self.config.evaluation, []
        samplers = [name for name in evaluation.samplers if not name.startswith("dopri5")]
        for start in ("gaussian", *evaluation.start) if evaluation.start else ():
            settings = [
                Setting(s, nfe, evaluation.rho, start)
                for s in samplers
                for nfe in evaluation.start_nfe
            ]
            for job in map(self.full, settings):
                found.append(replace(job, tasks=job.tasks + self._mixture(job.setting)))
        return found

    def _mixture(self, setting: Setting) -> tuple[Task, ...]:
        if not (self._asks("samples") and self.extractors and self.judge.probabilities):
            return ()
        return (self._task(MIXTURE + self.judge.name, setting, self.config.evaluation.samples),)

    def grid(self) -> list[Job]:
        """Few images in every cell of rho x NFE; the fixed rho is among them, or the best might be
        worse than that.
        """
        evaluation = self.config.evaluation
        if not (self._asks("grid") and self.extractors and evaluation.rhos):
            return []
        rhos = dict.fromkeys((*evaluation.rhos, evaluation.rho))
        two_steps = 3  # go from sigma_max to sigma_min and to 0, whatever the exponent
        cells = [
            Setting("heun", nfe, rho) for rho in rhos for nfe in evaluation.nfe if nfe > two_steps
        ]
        return [
            Job(cell, (self._task(GRID + self.judge.name, cell, evaluation.grid_samples),))
            for cell in cells
        ]

    def plan(self) -> list[Job]:
        """All that can be said before the grid is measured, one job a setting, the dense reference
        first.
        """
        merged: dict[Setting, Job] = {}
        for job in (self.paths(), *self.fixed(), *self.guided(), *self.started(), *self.grid()):
            before = merged.get(job.setting, Job(job.setting, ()))
            tasks = dict.fromkeys(before.tasks + job.tasks)  # each once
            merged[job.setting] = Job(job.setting, tuple(tasks))
        return list(merged.values())

    def best(self, ledger: Ledger) -> list[Job]:
        """All metrics at the best rho of each number of evaluations, where that is not the fixed
        one.

        It is chosen by the training split, on this run's own few samples: an arm is free to choose,
        as random is. Of equal ones the smallest, as in the reports; none where no value is finite.
        """
        cells = ledger.rows(task for job in self.grid() for task in job.tasks)
        finite = sorted(
            (cell.value, cell.rho, cell.nfe) for cell in cells if math.isfinite(cell.value)
        )
        best = {nfe: rho for _, rho, nfe in reversed(finite)}  # the lowest comes last
        fixed = self.config.evaluation.rho
        return [
            self.full(Setting("heun", nfe, rho))
            for nfe, rho in sorted(best.items())
            if rho != fixed
        ]

    def beside(self) -> list[Task]:
        """What needs no stored images."""
        evaluation = self.config.evaluation
        n = min(evaluation.trajectories, LOCAL_MOST)
        found = [Task("local", f"rho{evaluation.rho:g}", n)] if self._asks("local") else []
        found += [Task("learning", "", 0)] if self._asks("learning") else []
        found += [Task("discriminator", name, 0) for name in self.prepared.discriminators]
        return found + [
            Task("start", spec, 0, self.judge.fingerprint) for spec in self.prepared.starts
        ]

    def full(self, setting: Setting) -> Job:
        """All metrics under a setting."""
        evaluation = self.config.evaluation
        # Only these solve the equation that the dense reference solves.
        solver = (
            setting == Setting(setting.sampler, setting.nfe, setting.rho)
            and setting.sampler != "euler-maruyama"
        )
        asked = solver and self._asks("truncation")
        tasks = [Task("truncation", setting.name, evaluation.trajectories)] if asked else []
        if setting.guidance != "none":
            tasks.append(Task("passes", self._name(setting), evaluation.samples))
        if self._asks("samples"):
            tasks += [self._task(name, setting, evaluation.samples) for name in self.rulers]
        return Job(setting, tuple(tasks))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the features that each part is measured in."""
        return {
            part: f.fingerprint
            for f in self.extractors
            for part in (f.name, GRID + f.name, MIXTURE + f.name)
        }

    def _task(self, part: str, setting: Setting, n: int) -> Task:
        return Task(part, self._name(setting), n, self.fingerprints.get(part))

    def _name(self, setting: Setting) -> str:
        """The setting, with the discriminator that guides it."""
        guided = setting.guidance != "none"
        return (
            f"{setting.name}@{self.prepared.prints[setting.guidance]}" if guided else setting.name
        )

    def _asks(self, metrics: str) -> bool:
        return metrics in self.config.evaluation.metrics

    @property
    def judge(self) -> Features:
        """The features that choose the best rho: a classifier's where there is one."""
        return next((f for f in self.extractors if f.classify), self.extractors[0])

    # How it is measured.

    def measure_beside(self, task: Task) -> list[Measurement]:
        """The rows of a task of ``beside``."""
        if task.part == "local":
            return self._local(task.n)
        if task.part == "discriminator":
            return self.prepared.discriminators[task.setting]
        if task.part == "start":
            return self._start(task.setting)
        coupling = own_coupling(self.config, self.dataset, self.cache, self.device)
        if self.learned is not None:
            coupling.load_state_dict(self.learned)
        return learning_signal(self.config, self.net, self.dataset, self.device, coupling)

    def _start(self, spec: str) -> list[Measurement]:
        """What a start costs and gives, and the mode mixture of held-out images as a floor for that
        of its samples.
        """
        rows = list(start_rows(self.prepared.starts[spec], self.dataset, self.config.seed))
        if self.judge.probabilities:
            test = self.dataset.test.images
            for threshold, value in self.rulers[self.judge.name].mixture(test).items():
                metric = f"mode_mixture_{threshold:g}_real_{self.judge.name}"
                rows.append(Setting(start=spec).row(metric, value, split="test", n=len(test)))
        return rows

    @torch.no_grad()
    def _local(self, n: int) -> list[Measurement]:
        """Errors of single steps of the fixed schedule."""
        evaluation, found = self.config.evaluation, []
        levels = karras_sigmas(
            LOCAL_STEPS, evaluation.rho, evaluation.sigma_min, evaluation.sigma_max
        )
        for start in range(0, n, sampling.CHUNK):
            latents = self._latents(range(start, min(n, start + sampling.CHUNK)))
            labels = one_hot(self.net, latents, self.device)
            found.append(local_errors(self.net, latents.noise.to(self.device), levels, labels))
        errors = {name: torch.cat([part[name] for part in found]) for name in found[0]}
        settings = {
            EULER: Setting("euler", LOCAL_STEPS, evaluation.rho),
            HEUN: Setting("heun", 2 * LOCAL_STEPS - 1, evaluation.rho),
        }
        values = local_summary(errors, interval_sigmas(levels))
        return [
            settings[name].row(name, value, n=n, sigma=sigma)
            for (name, sigma), value in values.items()
        ]

    def measure(self, task: Task, job: Job) -> list[Measurement]:
        """The rows of a task, from the stored images of its job; also writes the pictures that go
        with them.
        """
        if task.part == "paths":
            return self._paths()
        setting = self._measured(job)
        if task.part == "truncation":
            return [setting.row("truncation_error", self._truncation(job), n=task.n)]
        if task.part == "passes":
            passes = next(self.store(job.setting).tensors("passes", 1)).item()
            return [setting.row("discriminator_passes", passes, n=task.n)]
        images = self._images(job.setting, task.n)
        if task.part.startswith(MIXTURE):
            scan, name = self.rulers[self.judge.name].mixture(images), self.judge.name
            return [
                setting.row(f"mode_mixture_{t:g}_{name}", value, n=task.n)
                for t, value in scan.items()
            ]
        if task.part.startswith(GRID):
            value = self.rulers[task.part.removeprefix(GRID)].frechet(images, task.n, "train")
            return [setting.row(task.part, value, split="train", n=task.n)]
        self._show(job)
        return _rows(setting, self.rulers[task.part], task.n, images, self.asked)

    def _latents(self, rows: range) -> Latents:
        """The latents of these samples, by the seed and the class law of the run."""
        law = self.config.evaluation.class_law
        return draw_latents(len(rows), self.dataset, self.config.seed, rows.start, law)

    def _images(self, setting: Setting, n: int) -> Iterator[Tensor]:
        """Images 0 .. n - 1 of a setting as they are measured, chunk by chunk; notes what is not
        finite.
        """
        bad = 0
        for images in self.store(setting).as_measured(n):
            bad += int((~finite_rows(images)).sum())
            yield images
        if bad:
            self.not_finite[setting.name] = (bad, n)

    def _measured(self, job: Job) -> Setting:
        """The setting, with the evaluations that an adaptive sampler took."""
        if job.setting.nfe is not None:
            return job.setting
        counts = torch.cat(list(self.store(job.setting).tensors("evaluations", job.n)))
        return job.setting.with_nfe(round(counts.double().mean().item()))

    def _truncation(self, job: Job) -> float:
        n = self.config.evaluation.trajectories
        coarse, dense = (
            torch.cat(list(self.store(setting).tensors("exact", n)))
            for setting in (job.setting, self.dense)
        )
        return truncation_error(coarse, dense)

    def _paths(self) -> list[Measurement]:
        store, n = self.store(self.dense), self.config.evaluation.trajectories
        per_sample = {name: torch.cat(list(store.tensors(name, n))) for name in (*PER_PATH, DRIFT)}
        # [rows, columns, c, h, w]
        tangents = torch.cat(list(store.tensors("tangents", min(TANGENTS[0], n))))
        save_grid(
            self.samples_dir / "tangents.png", tangents.flatten(0, 1), columns=tangents.shape[1]
        )
        values = summary(per_sample, drift_sigmas(self.dense_levels))
        return [
            self.dense.row(metric, value, n=n, sigma=sigma)
            for (metric, sigma), value in values.items()
        ]

    def _show(self, job: Job) -> None:
        """Write the first images, or points of the plane, at some numbers of evaluations of the
        fixed schedule.
        """
        setting, evaluation = job.setting, self.config.evaluation
        if setting != Setting("heun", setting.nfe, evaluation.rho) or setting.nfe not in GRID_NFE:
            return
        if in_the_plane(self.dataset):
            points = torch.cat(list(self.store(setting).images(min(MOST, evaluation.samples))))
            save_points(self.samples_dir / f"nfe{setting.nfe}.csv", points)
            save_points(self.samples_dir / f"{REAL}.csv", self.dataset.test.images)
            return
        shown = torch.cat(list(self.store(setting).images(min(GRID_SIDE**2, evaluation.samples))))
        save_grid(self.samples_dir / f"nfe{setting.nfe}.png", as_images(shown))

    def sample_chunk(self, setting: Setting, rows: range, advance: Callable[[int], object]) -> None:
        """Sample the images of some latents into the store, the dense ones with what their paths
        look like.
        """
        config, path = self.config, None
        if setting == self.dense:
            path = OdePath(
                Tangents.evenly(
                    max(0, TANGENTS[0] - rows.start), TANGENTS[1], len(self.dense_levels)
                )
            )
        latents = self._latents(rows)
        steering = self.prepared.steering
        got = sample(
            self.net, latents, setting, config.evaluation, self.device, path, advance, steering
        )
        images, counted = got.images, got.nfe
        assert setting.nfe in (
            None,
            counted,
        ), f"counted {counted} evaluations where {setting.nfe} were asked for"
        exact = images[: max(0, config.evaluation.trajectories - rows.start)].clone()
        more = {name: tensor.cpu() for name, tensor in path.per_sample().items()} if path else {}
        if setting.nfe is None:
            more["evaluations"] = torch.full((len(rows),), counted)
        if setting.guidance != "none":
            more["passes"] = torch.full((len(rows),), got.passes)
        finite = finite_rows(images)
        if not finite.all():
            more["finite"] = finite
        self.store(setting).add(
            rows.start, images=as_stored(images, self.dataset), exact=exact, **more
        )


def _rows(
    setting: Setting, ruler: Ruler, n: int, images: Iterator[Tensor], asked: Tensor | None
) -> list[Measurement]:
    values: Values = ruler.measure(images, n, asked)
    named = ruler.names(n, conditional=asked is not None)
    return [
        setting.row(metric, values[metric, split], split=split, n=count)
        for metric, split, count in named
    ]

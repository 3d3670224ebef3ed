"""The kinds of metrics, and what each of them may look at.

A metric is one class in a file of its own. Its ``infos`` say what the values mean; reports take
their sentences, verdicts and order from there. The kinds:

- ``SampleMetric``: of generated samples against real images, in one kind of features;
- ``SolverMetric``: of how a sampler solved the ODE, from tensors stored with the samples;
- ``PathMetric``: of the paths of the dense reference, watched while they are integrated, and of
  those of other settings if it asks for them;
- ``DenoiserMetric``: of the denoiser itself, or of what steers it, without stored samples;
- ``RecordedMetric``: recorded elsewhere, such as the cost of training, and only described here.

Class attributes that all kinds share:

- ``infos``: descriptions of what the metric measures;
- ``group``: the word of ``--metrics`` that includes it; a metric with an empty group is measured
  wherever it applies. The group does not matter for a metric that is asked for by its own name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from bench.config import EvaluationConfig
from bench.data import Dataset
from bench.metrics._space import SPLITS, FeatureSpace
from bench.metrics._subject import HeldOut, Methods, Subject
from bench.record import Measurement
from bench.record.infos import Described, Info
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore
from models.ode import Point

# Some are only handed on, so that a metric finds all that it needs here.
__all__ = [
    "MEASURED",
    "SPLITS",
    "DenoiserMetric",
    "FeatureSpace",
    "HeldOut",
    "Item",
    "Methods",
    "Metric",
    "PathMetric",
    "Point",
    "Profile",
    "RecordedMetric",
    "SampleMetric",
    "SolverMetric",
    "Subject",
    "Values",
]

Values = dict[tuple[str, str | None], float]
"""Metric and split to value."""
Profile = dict[tuple[str, float | None], float]
"""Metric and noise level to value."""


class Metric(Described, ABC):
    """Description of measured values, as all kinds of metrics have it."""

    group: ClassVar[str] = ""

    @classmethod
    def describe(cls, metric: str) -> tuple[int, Info] | None:
        """Length of the name that fits, and description of a measured metric; None if none fits."""
        for info in cls.infos:
            if info.name == metric:
                return len(metric), info
        return None


class SampleMetric(Metric):
    """A metric of generated samples against real images, in one kind of features.

    One object measures the samples of one setting: features come chunk by chunk through
    ``update``, values are read with ``compute``. A metric named ``kid`` in ``infos`` is recorded
    as ``kid_<features>``, once for every kind of features that it ``suits``. An ``Info`` with
    ``floor=True`` adds ``kid_floor_<features>``, its value of real images.

    Class attributes:

    - ``alone``: names that are recorded as they are, without features;
    - ``only_in``: the name of the only features that it is measured in, also if these are not
      asked for; None: in all that are asked for;
    - ``scope``: which settings it is measured at: ``all``, those of the ``grid`` that the best
      schedule is searched in, or those of ``starts``.
    """

    group: ClassVar[str] = "samples"
    alone: ClassVar[tuple[str, ...]] = ()
    only_in: ClassVar[str | None] = None
    scope: ClassVar[str] = "all"

    def __init__(self, space: FeatureSpace, n: int) -> None:
        """Prepare to measure ``n`` samples."""
        self.space = space
        self.n = n

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:  # noqa: ARG003 - for those that choose
        """True if ``n`` samples can be measured in these features."""
        return True

    @classmethod
    def cautions(cls, space: FeatureSpace, n: int) -> list[str]:
        """Lines for the terminal about values of ``n`` samples that are to be read with care."""
        return []

    @abstractmethod
    def update(self, features: Tensor) -> None:
        """Take in features ``[., size]`` of the next samples, on the CPU."""

    @abstractmethod
    def compute(self) -> Values:
        """All values, by metric and by the split compared with; None if with neither."""

    def against(self, fixed: Self) -> Values:
        """Values relative to the same metric of the fixed schedule, of the same latents; only in
        the ``grid``. At the fixed schedule ``fixed`` is this object itself.
        """
        return {}

    def count(self, metric: str) -> int:
        """Number of samples that a metric was computed from."""
        return self.n

    @classmethod
    def full_name(cls, metric: str, features: str) -> str:
        """The name that a metric is recorded under: ``kid_classifier`` of ``kid``."""
        return metric if metric in cls._alone() else f"{metric}_{features}"

    @classmethod
    def _alone(cls) -> tuple[str, ...]:
        """``alone``, and the floors of these."""
        names = list(cls.alone)
        for info in cls.infos:
            if info.name in cls.alone:
                names += [floor.name for floor in info.floors()]
        return tuple(names)

    @classmethod
    def describe(cls, metric: str) -> tuple[int, Info] | None:
        """As for all metrics; whatever follows the longest name that fits is the features'."""
        alone = cls._alone()
        described = list(cls.infos)
        for info in cls.infos:
            described += info.floors()
        best: Info | None = None
        for info in described:
            fits = metric == info.name
            if info.name not in alone:
                fits = metric.startswith(f"{info.name}_")
            if fits and (best is None or len(info.name) > len(best.name)):
                best = info
        if best is None:
            return None
        if best.name in alone:
            return len(metric), best
        family = best.family or best.name
        title = best.title and f"{best.title}, {features_in_words(metric, best.name)}"
        return len(best.name), replace(best, name=metric, family=family, title=title)


_FEATURES = {
    "pixels": "pixels",
    "inception": "Inception features",
    "dinov2": "DINOv2 features",
}


def features_in_words(metric: str, family: str) -> str:
    """``classifier features`` for ``fd_classifier`` of ``fd``."""
    features = metric.removeprefix(f"{family}_")
    return _FEATURES.get(features, f"{features} features")


@dataclass(frozen=True)
class Item:
    """Something that a ``DenoiserMetric`` measures as a whole.

    Attributes:
        name: distinguishes it from other items of the same metric, such as the spec of a start.
        n: number of samples.
        fingerprint: of the features that it is measured in, if any.

    """

    name: str = ""
    n: int = 0
    fingerprint: str | None = None


class SolverMetric(Metric):
    """A metric of how a sampler solved the ODE, from tensors that are stored with the samples.

    Class attribute ``needs_dense``: False if ``values`` does not read the dense reference, which
    is then not sampled for this metric.
    """

    needs_dense: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def suits(cls, setting: Setting) -> bool:
        """True if it is measured at a setting."""

    @classmethod
    @abstractmethod
    def samples(cls, evaluation: EvaluationConfig) -> int:
        """Number of samples that it is computed from."""

    @classmethod
    @abstractmethod
    def values(cls, samples: SampleStore, dense: SampleStore, n: int) -> dict[str, float]:
        """Values by metric, of the first ``n`` samples of a setting and of the dense reference."""


class PathMetric(Metric):
    """A metric of the paths of the dense reference: an observer of the sampler.

    One object watches one chunk of samples. What ``per_sample`` gives is stored with these, so
    that an evaluation that was stopped resumes without sampling again.

    Class attribute ``stored``: names of the tensors of ``per_sample``, which may leave them out for
    a sampler that shows no points.
    """

    group: ClassVar[str] = "paths"
    stored: ClassVar[tuple[str, ...]]

    @classmethod
    def suits(cls, dataset: Dataset) -> bool:  # noqa: ARG003 - for those that choose
        """True if it is measured of these data."""
        return True

    @classmethod
    def watches(cls, dataset: Dataset, setting: Setting) -> bool:
        """True if it also observes the samples of this setting; ``values_at`` then measures
        them.
        """
        return False

    @abstractmethod
    def __call__(self, point: Point) -> None:
        """Observe the next point of the paths, from noise to image."""

    def end(self, images: Tensor) -> None:  # noqa: B027 - most need only the points
        """Observe the images ``[n, ...]`` that the paths end at."""

    @abstractmethod
    def per_sample(self) -> dict[str, Tensor]:
        """A tensor ``[n, ...]`` of each name in ``stored``."""

    @classmethod
    @abstractmethod
    def values(cls, per_sample: dict[str, Tensor], levels: Tensor, subject: Subject) -> Profile:
        """Values over the samples of the dense reference; ``levels`` ``[points]`` are the noise
        levels of the paths, of which the first is infinite in flow coordinates.
        """

    @classmethod
    def values_at(cls, per_sample: dict[str, Tensor], subject: Subject) -> dict[str, float]:
        """Values by metric over the samples of a setting that it ``watches``."""
        return {}


class DenoiserMetric(Metric):
    """A metric of the denoiser itself, or of what steers it, without stored samples."""

    @classmethod
    def items(cls, subject: Subject) -> list[Item]:
        """Parts that are recorded as a whole: by default one, of the denoiser."""
        return [Item()]

    @classmethod
    @abstractmethod
    def rows(cls, subject: Subject, item: Item) -> Iterable[Measurement]:
        """The measurements of an item."""


class RecordedMetric(Metric):
    """Values that others record, such as the cost of training; only described here."""


# Not RecordedMetric: what it describes is recorded by this repository only.
MEASURED = (SampleMetric, SolverMetric, PathMetric, DenoiserMetric)

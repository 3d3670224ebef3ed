"""All metrics of samples at once, as an evaluation measures them."""

from bench import metrics
from bench.evaluation.measure import measure_samples
from bench.metrics.contract import FeatureSpace, SampleMetric


def suitable(space: FeatureSpace, n: int) -> list[type[SampleMetric]]:
    """The metrics of ``n`` samples that suit these features."""
    found = []
    for name in metrics.names():
        metric = metrics.load(name)
        if not issubclass(metric, SampleMetric) or metric.scope != "all":
            continue
        if metric.only_in in (None, space.features.name) and metric.suits(space, n):
            found.append(metric)
    return found


def measure_all(space: FeatureSpace, images, chunk=40) -> dict[tuple[str, str | None], float]:
    """Values by full name and split."""
    values, _ = measure_with_counts(space, images, chunk)
    return values


def measure_with_counts(space, images, chunk=40):
    """Values, and the number of samples behind each metric."""
    several = suitable(space, len(images))
    measured = measure_samples(space, several, len(images), iter(images.split(chunk)))
    values, counts = {}, {}
    for metric in measured:
        for (name, split), value in metric.compute().items():
            full_name = metric.full_name(name, space.features.name)
            values[full_name, split] = value
            counts[full_name] = metric.count(name)
    return values, counts

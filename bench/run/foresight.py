"""The plan of a command before its first step: what will run, how long it takes on this machine,
how much memory, and how to make it smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.config import Execution, RunConfig
from bench.process.outlook import duration
from bench.run.quick import quick

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.process.ranks import Ranks
    from bench.run.pace import Pace

HOUR_S = 3600.0
SMOKE_S = 300.0  # more than anybody waits for a smoke run
# Distances, features and the learning signal, over the time of sampling and training: measured on
# the presets of 8 x 8 and 16 x 16 images.
OTHER = 1.25
FEW_STEPS = 100
MOST_NAMED = 6  # couplings in a line


@dataclass(frozen=True)
class Foresight:
    """Runs that have work to do, and their pace on this machine.

    Attributes:
        configs: of the runs.
        at_once: how many are made at the same time.
        pace: of the network; None if nothing is trained.
        processes: that share every batch.
        images: of the training set; 0 if it is not loaded.

    """

    configs: tuple[RunConfig, ...]
    at_once: int
    pace: Pace | None
    processes: int = 1
    images: int = 0

    @property
    def memory(self) -> float:
        """Bytes that a run takes; 0 if they are not known."""
        return self.pace.memory if self.pace is not None else 0.0

    def seconds(self, config: RunConfig) -> float:
        """Seconds expected of a run; 0 if they are not known."""
        if self.pace is None:
            return 0.0
        from bench.run.pace import evaluations

        pace = self.pace
        # The solver works in another thread; on a CPU both need the same cores.
        image = (pace.train + pace.couple.get(config.coupling, 0.0)) / self.processes
        steps = max(1, round(config.training.images / config.training.batch))
        trained = steps * config.training.batch * image
        return OTHER * (trained + evaluations(config) * pace.sample / self.processes)

    def total(self, configs: Sequence[RunConfig]) -> float:
        """Seconds expected of several runs, some of them at the same time."""
        several = [self.seconds(config) for config in configs]
        return max([sum(several) / self.at_once, *several], default=0.0)


def foresee(
    configs: Sequence[RunConfig],
    at_once: int,
    threads: int,
    dataset: Dataset | None,
    ranks: Ranks,
    execution: Execution,
) -> Foresight:
    """Measure the pace of the runs that are left to do.

    Args:
        configs: of these runs.
        at_once: how many are made at the same time.
        threads: of each.
        dataset: that they train on; None if there is nothing to do.
        ranks: the processes of each.
        execution: of each.

    """
    several = tuple(configs)
    # Networks in files are not known before they are read.
    if dataset is None or not several or several[0].checkpoint:
        return Foresight(several, at_once, None)
    import torch

    before = torch.get_num_threads()
    try:
        # As many as a run will have, which may be fewer than the cores.
        torch.set_num_threads(threads)
        pace = measured(several, dataset, ranks.device, execution)
    # A network of the user's own may raise anything, and a large one may find no memory: its run
    # says so, in its own words.
    except Exception:  # noqa: BLE001 - see above
        return Foresight(several, at_once, None)
    finally:
        torch.set_num_threads(before)
    return Foresight(several, at_once, pace, ranks.count, len(dataset.train))


def measured(
    configs: Sequence[RunConfig], dataset: Dataset, device: str, execution: Execution
) -> Pace:
    """The pace of some runs, see ``bench.run.pace``."""
    from bench.run.pace import measure

    return measure(configs, dataset, device, execution)


def outline(foresight: Foresight, done: int, available: float) -> list[str]:
    """The lines of the plan.

    Args:
        foresight: the runs that are left.
        done: number of runs that are finished already.
        available: bytes of memory.

    """
    configs = foresight.configs
    finished = f"; {done} done already" if done else ""
    if not configs:
        return [f"plan: nothing to do{finished}"]
    rows = {"measured": _measured(configs[0])}
    if configs[0].checkpoint:
        rows = {"network": "from a file", **rows}
    if foresight.pace is not None:
        rows = {
            "network": f"{_millions(foresight.pace.parameters)} parameters",
            "training": _trained(configs, foresight.images),
            "measured": _measured(configs[0]),
            "time": _time(foresight),
            "memory": _memory(foresight, available),
            "shorter": _shorter(foresight),
        }
    lines = [f"plan: {_runs(configs)}{finished}"]
    return lines + [f"  {name:<10}{words}" for name, words in rows.items() if words]


def _runs(configs: Sequence[RunConfig]) -> str:
    couplings = list(dict.fromkeys(config.coupling for config in configs))
    names = ", ".join(couplings[:MOST_NAMED])
    if len(couplings) > MOST_NAMED:
        names += f" and {len(couplings) - MOST_NAMED} more"
    parts = [names, _counted(len({config.seed for config in configs}), "seed")]
    objectives = len({config.training.objective for config in configs})
    if objectives > 1:
        parts.append(f"{objectives} objectives")
    return f"{_counted(len(configs), 'run')} of {configs[0].data} ({'; '.join(parts)})"


def _trained(configs: Sequence[RunConfig], available: int) -> str:
    training = configs[0].training
    # Pilots have fewer than the runs that follow them.
    counts = sorted({config.training.images for config in configs})
    images = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    pools = f"pools of {training.pool:,}"
    # Copies of an image in a pool compete for the same noise samples.
    if 0 < available < training.pool:
        times = f"{training.pool / available:.2g}"
        pools += f" (more than the {available:,} training images: each comes {times} times)"
    return f"{images} images each, batches of {training.batch:,}, {pools}"


def _measured(config: RunConfig) -> str:
    evaluation = config.evaluation
    return f"NFE {' '.join(map(str, evaluation.nfe))}, {evaluation.samples:,} samples each"


def _time(foresight: Foresight) -> str:
    pace = foresight.pace
    assert pace is not None
    parts = [
        f"about {duration(foresight.total(foresight.configs))} in all",
        f"{foresight.at_once} at once",
        f"{_speed(foresight.processes / pace.train)} training images per second each",
    ]
    # Nothing here measures a fit or a discriminator, which take as long as they take.
    fitted = [config.coupling for config in foresight.configs if _is_fitted(config)]
    parts += [f"the fit of {spec} not included" for spec in dict.fromkeys(fitted)]
    if foresight.configs[0].guidance.kind != "none":
        parts.append("discriminators not included")
    return ", ".join(parts)


def _is_fitted(config: RunConfig) -> bool:
    """True if the coupling is fitted on the training set."""
    from couplings import get

    return get(config.coupling).kind == "dataset"


def _memory(foresight: Foresight, available: float) -> str:
    text = f"about {_gigabytes(foresight.memory)} each"
    if foresight.memory <= available:
        return text
    part = max(1, foresight.configs[0].training.batch // 8)
    return (
        f"{text}, more than the {_gigabytes(available)} available: --micro-batch {part} takes less"
    )


def _shorter(foresight: Foresight) -> str:
    """Words on how to make a comparison of more than an hour, or a long smoke run, smaller; empty
    for others.
    """
    total = foresight.total(foresight.configs)
    small = foresight.total([quick(config) for config in foresight.configs])
    if small >= total and total > SMOKE_S:
        fewer = " and fewer pixels (--resolution)" if foresight.configs[0].resolution else ""
        return f"a smaller network (--model-channels){fewer}"
    if total <= HOUR_S:
        return ""
    text = f"--quick takes about {duration(small)} and shows that all works"
    images = _fewer(foresight)
    # A budget of a few steps would show no difference between couplings.
    if images < FEW_STEPS * foresight.configs[0].training.batch:
        return f"{text}; take a smaller network (--model-channels) or a GPU for more"
    return f"{text}; --images {images} trains for about half an hour"


def _fewer(foresight: Foresight) -> int:
    """A budget of which the training of all runs takes about half an hour, in round numbers."""
    none = []
    for config in foresight.configs:
        step = replace(config.training, images=config.training.batch)
        none.append(replace(config, training=step))
    training = foresight.total(foresight.configs) - foresight.total(none)
    share = min(1.0, HOUR_S / 2 / max(training, 1.0))
    images = max(1, int(share * foresight.configs[0].training.images))
    # One digit: an estimate means no more.
    digits = 10 ** (len(str(images)) - 1)
    return images // digits * digits


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2g} M" if count >= 1e5 else f"{count:,}"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"

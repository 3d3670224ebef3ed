"""Search for the law of training noise that suits each coupling, on short pilot runs.

Noise levels that matter to one coupling may be rare in the training of all: a comparison at one law
favours the couplings that this law suits. So every coupling, the baseline included, tries the same
laws on the same pilot seeds with the same budget, and is then also trained at its own.

A pilot is a run with fewer images and a seed of its own, of which only the first pass over
schedules is measured (``grid_fd``: few samples, compared with the training split).
``bench.training.noise_choice`` chooses by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config import ConfigError, EvaluationConfig, RunConfig
from bench.training.noise_law import (
    NoiseLaw,
    default_laws,
    knows,
    law_of,
    parse,
    with_law,
    without_law,
)

FOLDER = "pilots"  # below the folder of the runs
Check = Callable[[RunConfig], RunConfig]


@dataclass(frozen=True)
class NoiseSearch:
    """The search for each coupling's own law of training noise."""

    search_noise: bool = False
    """Before the runs, try several laws of training noise for every coupling and objective, the
    baseline included, on short pilot runs (RUNS/pilots). Each coupling is then trained at the
    configured law and also at its own best one. The choice is written to RUNS/noise-search.csv.
    """
    noise_laws: tuple[str, ...] = ()
    """Laws to try, each MEAN,DEVIATION of ln sigma (for flow: location and scale of logit t, which
    is the same), or uniform (flow only: t uniform). The configured law is always among them.
    Default: -1.2,1.2 -0.4,1.6 0,1 0,2 0.8,1.6; flow has uniform in the place of 0,2, which is
    almost the same law.
    """
    pilot_seeds: int = 1
    """Pilot runs for each law, each with a seed of its own."""
    pilot_seed: int = 1_000_000
    """First seed of the pilots, counted up; far from the seeds of the runs, so that a law is not
    chosen by the noise of the runs that it is judged in.
    """
    pilot_share: float = 0.33
    """Share of --images that a pilot is trained on."""


@dataclass(frozen=True)
class Trial:
    """One law for one coupling and objective.

    Attributes:
        arm: the run that it is tried for, with its configured law and first seed.
        law: that is tried.
        pilots: one run for each pilot seed.

    """

    arm: RunConfig
    law: NoiseLaw
    pilots: tuple[RunConfig, ...]


def plan(options: NoiseSearch, configs: Sequence[RunConfig], check: Check) -> list[Trial]:
    """All trials of a search, with checked pilots; none unless ``--search-noise`` is given.

    Args:
        options: of the search.
        configs: the runs to compare, checked.
        check: ``bench.check.check``.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    if not options.search_noise:
        if options != NoiseSearch():
            raise ConfigError("--noise-laws and --pilot-... are options of --search-noise: add it")
        return []
    _refuse(options, configs)
    trials = []
    given = [parse(text) for text in options.noise_laws]
    # Runs differ in the seed too, which a trial does not depend on.
    arms = dict.fromkeys(replace(config, seed=configs[0].seed) for config in configs)
    for arm in arms:
        for law in _laws(arm, given):
            seeds = range(options.pilot_seed, options.pilot_seed + options.pilot_seeds)
            # Also the run that would follow: nothing may be refused after hours of pilots.
            check(with_law(arm, law))
            pilots = tuple(check(pilot(arm, law, seed, options.pilot_share)) for seed in seeds)
            _refuse_without_grid(pilots[0].evaluation)
            trials.append(Trial(arm, law, pilots))
    for law in given:
        if not any(trial.law == law for trial in trials):
            names = " and ".join(dict.fromkeys(without_law(arm) for arm in arms))
            raise ConfigError(
                f"--noise-laws {law.name}: {names} cannot draw its noise by it; leave it out, or"
                " add --objective flow"
            )
    return trials


def _refuse(options: NoiseSearch, configs: Sequence[RunConfig]) -> None:
    """Refuse a search that cannot be made or chooses nothing."""
    if configs[0].checkpoint:
        raise ConfigError(
            "--search-noise with --from-checkpoint: these networks are trained already; leave one"
            " of them out"
        )
    if options.pilot_seeds < 1:
        raise ConfigError(f"--pilot-seeds {options.pilot_seeds}: at least 1")
    if not 0 < options.pilot_share <= 1:
        raise ConfigError(f"--pilot-share {options.pilot_share:g}: above 0, and at most 1")
    last = options.pilot_seed + options.pilot_seeds - 1
    if any(options.pilot_seed <= config.seed <= last for config in configs):
        raise ConfigError(
            f"--pilot-seed {options.pilot_seed}: this is a seed of the runs, in which the chosen"
            " law is judged: take others"
        )


def _refuse_without_grid(evaluation: EvaluationConfig) -> None:
    """Refuse pilots of which no schedule is searched: they would have no distance."""
    if not evaluation.searched_schedules:
        raise ConfigError(
            "--search-noise compares the laws at the best schedule: add another one to --schedule"
        )
    # Two steps go from sigma_max to sigma_min and to 0, whatever Karras' exponent.
    if evaluation.schedules == ("karras",) and max(evaluation.nfe) <= 3:
        raise ConfigError("--search-noise compares the laws at --nfe above 3: add one, such as 9")


def _laws(arm: RunConfig, given: Sequence[NoiseLaw]) -> list[NoiseLaw]:
    """The laws to try for a run, its own first: of equally good ones the first is chosen."""
    candidates = given or default_laws(arm)
    laws = dict.fromkeys([law_of(arm), *(law for law in candidates if knows(arm, law))])
    if len(laws) < 2:
        raise ConfigError(
            f"--search-noise: {without_law(arm)} has only the law {law_of(arm).name} to try; add"
            " some to --noise-laws"
        )
    return list(laws)


def pilot(arm: RunConfig, law: NoiseLaw, seed: int, share: float) -> RunConfig:
    """The short run that tries a law, unchecked: only its grid of schedules is measured."""
    config = with_law(arm, law)
    # A step at least; the budget is counted in whole steps.
    images = max(config.training.batch, round(share * config.training.images))
    evaluation = replace(
        config.evaluation,
        metrics=("grid",),
        samplers=EvaluationConfig().samplers,
        start=(),
        # Without a search over schedules the fixed one is the only candidate.
        rhos=config.evaluation.rhos or (config.evaluation.rho,),
        shifts=config.evaluation.shifts or (config.evaluation.shift,),
    )
    return replace(
        config,
        seed=seed,
        training=replace(config.training, images=images),
        evaluation=evaluation,
        guidance=replace(config.guidance, kind="none"),
    )


def pilots(trials: Iterable[Trial]) -> list[RunConfig]:
    """Every pilot once: two objectives that differ in their law only share some."""
    several: dict[RunConfig, None] = {}
    for trial in trials:
        several |= dict.fromkeys(trial.pilots)
    return list(several)


def share_cache(runs: Path) -> None:
    """Give the pilots the cache of the runs: classifiers and features are made only once."""
    folder = runs / FOLDER
    with suppress(OSError):
        (runs / ".cache").mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        # Without it, on a file system that has no links, the pilots make a cache of their own.
        (folder / ".cache").symlink_to(Path("..") / ".cache", target_is_directory=True)

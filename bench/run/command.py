"""The options of ``python -m bench.run``, and the configurations of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bench import cli
from bench.check import check, check_execution, check_seeds
from bench.cli import read_first
from bench.config import (
    ConfigError,
    EvaluationConfig,
    Execution,
    NetworkConfig,
    RunConfig,
    TrainingConfig,
    load_preset,
    refuse_other_preset,
)
from bench.config.guidance import GuidanceConfig
from bench.config.options import prefixed
from bench.run.quick import quick
from bench.suitable import of_file
from bench.training.noise_search import NoiseSearch
from bench.training.trackers import refuse_unknown

BASELINE = "random"
DESCRIPTION = """Compare couplings for diffusion and flow models: train, sample, measure, report.

Trains one run per coupling and one random baseline; everything else is equal. Finished runs are
reused, interrupted runs resumed.

Examples:
  python -m bench.run --coupling lapjv
  python -m bench.run --coupling lapjv sinkhorn:epsilon=0.05 minibatch-ot --seeds 3
  python -m bench.run --coupling lapjv --objective edm flow --seeds 3
  python -m bench.run --coupling lapjv --seeds 3 --search-noise
  python -m bench.run --data fashion-mnist-16 --data-dir data --coupling hungarian:cost=l2
  python -m bench.run --guidance discriminator --guidance.noising independent lapjv
  python -m bench.run --coupling random --start expressway:sigma=0.5 random-index:sigma=0.5
  python -m bench.run --data image-folder --data-dir photos --resolution 32
  python -m bench.run --data arrays --data-dir latents.npy
  python -m bench.run --from-checkpoint net.pt --arch my_project.net:Net --objective flow
  python -m bench.run --data my_project.spirals        a data set of your own
"""
# Options that --help lists first
COMMON = (
    "coupling",
    "objective",
    "data",
    "data-dir",
    "resolution",
    "seeds",
    "images",
    "pool",
    "nfe",
    "preset",
    "runs",
    "parallel",
    "device",
    "quick",
    "dry-run",
)


@dataclass(frozen=True)
class Command:
    """The couplings to compare, the data, and the place of the results."""

    coupling: tuple[str, ...] = ("lapjv",)
    """Couplings to compare, as name or name:key=value,key=value, or modules of your own, such as
    my_project.nearest; python -m couplings lists them and their options. The random baseline is
    added automatically.
    """
    objective: tuple[str, ...] = ()
    """Training objectives: edm, flow (flow matching, with t uniform), also with options such as
    flow:t=logit-normal,loc=0,scale=1 or flow:path_sigma=0.1; or your own, such as
    my_project.objective. Every coupling and the baseline are trained under each, with the same
    budget and learning rate.
    """
    from_checkpoint: tuple[Path, ...] = ()
    """Evaluate these networks instead of training any: safetensors files that python -m
    models.import_edm made of released pickles; or weights of your own, by
    torch.save(net.state_dict(), FILE) or safetensors, with the --arch, --objective and
    --conditional that they were trained with.
    """
    data: str = "digits"
    """Data set: digits, moons, eight-gaussians, fashion-mnist, fashion-mnist-16, cifar10; points at
    the scales of publications: sf2m-8gaussians, sf2m-moons, sf2m-scurve, dsb-moons,
    dsb-8gaussians, c2ot-8gaussians, c2ot-moons, c2ot-moons-x; your own images: image-folder or
    image-zip; your own arrays, such as latents: arrays; local copies of other libraries' data sets:
    hf, hf:name=NAME, torchvision:name=NAME; or a module of your own, such as my_project.spirals.
    """
    source: str = RunConfig.source
    """Data set that noise samples are drawn from, with images of the same shape as those of --data;
    gaussian is no data set but unit noise. Training draws from its training split, sampling from
    its test split.
    """
    preset: str | None = None
    """Preset to start from (bench/presets/NAME.toml). Default: the one of the data set."""
    data_dir: Path | None = None
    """Folder of the data sets' files; missing ones are downloaded to it. Default: data, below the
    current folder. For image-folder it is the folder of images itself (sub-folders are classes;
    train/ and test/ are the splits, else every 10th image is held out), for image-zip the zip
    itself (labels in dataset.json, as EDM's tool writes it), for arrays the .npy, .npz,
    .safetensors or .pt file, or the folder that holds train.npy and test.npy; for hf the folder of
    the data set, for torchvision its root.
    """
    resolution: int | None = None
    """Centre-crop your own images, and those of hf and torchvision, to a square of this many
    pixels a side (area averaging). Default: as stored; they must then be equal squares.
    """
    runs: Path = Path("runs")
    """Folder that receives the run folders, results.csv and report.html."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """Number of seeds, counted up from --seed."""
    no_baseline: bool = False
    """Do not add the random baseline."""
    quick: bool = False
    """Try everything once before a long run: the preset's network with 640 images, few NFE and few
    samples. Other options still apply. Such runs are compared only with each other.
    """
    dry_run: bool = False
    """Print the runs, and the time and memory that they need on this machine, measured on a few
    steps; then stop. Trains nothing and writes nothing, but downloads missing data.
    """
    execution: Execution = field(default_factory=Execution)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    noise: NoiseSearch = field(default_factory=NoiseSearch)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    guidance: Literal["none", "discriminator"] = "none"
    """Guide the sampling by a discriminator of real and generated images; it is trained after the
    denoiser.
    """
    dg: GuidanceConfig = field(default_factory=GuidanceConfig, metadata=prefixed("guidance"))

    def configurations(self) -> list[RunConfig]:
        """The checked configuration of every run; within each seed objective by objective, baseline
        first.

        With ``from_checkpoint`` the runs are its files, in their order.

        Raises:
            ConfigError: with one line that names the way out.

        """
        # Importing torch takes seconds, which --help must not wait for.
        from bench.sampling.schedules import refuse_unused

        parallel = self.execution.parallel
        if parallel is not None and parallel < 1:
            raise ConfigError(f"--parallel {parallel}: at least 1")
        # ``--coupling`` without a word
        if not self.coupling:
            raise ConfigError("--coupling needs at least one name, such as lapjv")
        if "help" in self.coupling:
            raise ConfigError(
                "python -m couplings lists the couplings; with a name it explains its options"
            )
        check_seeds(self.seed, self.seeds)
        check_execution(self.execution, self.training.batch)
        refuse_unknown(self.execution.log)
        shared = RunConfig(
            data=self.data,
            coupling=BASELINE,
            seed=self.seed,
            network=self.network,
            training=self.training,
            evaluation=self.evaluation,
            guidance=replace(self.dg, kind=self.guidance),
            resolution=self.resolution,
            source=self.source,
        )
        compared = self._of_files(shared) if self.from_checkpoint else self._compared(shared)
        usual = load_preset(self.preset, self.data).evaluation
        refuse_unused(self.evaluation, usual, [config.evaluation for config in compared])
        # Seed by seed: after a part of the runs there are whole comparisons to report.
        configurations = []
        for seed in range(self.seed, self.seed + self.seeds):
            configurations += [replace(config, seed=seed) for config in compared]
        return configurations

    def _of_files(self, shared: RunConfig) -> list[RunConfig]:
        """The checked configuration of every file."""
        from bench.training.objectives import for_objectives

        preset = load_preset(self.preset, self.data)
        if self.coupling not in (Command.coupling, (preset.coupling,)):
            raise ConfigError(
                f"--coupling {' '.join(self.coupling)} with --from-checkpoint: these networks are"
                " trained already; leave one of the two out"
            )
        specs = self.objective or (self.training.objective,)
        first, *others = for_objectives(self.training, specs, preset.training)
        configurations = []
        for path in self.from_checkpoint:
            config = of_file(shared, path)
            if config.own_weights and others:
                raise ConfigError(
                    f"--objective {' '.join(specs)} with --from-checkpoint {path}: name the one"
                    " that these weights were trained under"
                )
            # Other files say themselves what their networks predict.
            if config.own_weights:
                config = replace(config, training=first)
            elif specs not in ((preset.training.objective,), (TrainingConfig.objective,)):
                raise ConfigError(
                    f"--objective {' '.join(specs)} with --from-checkpoint {path}: it is a network"
                    " of EDM, made by models.import_edm; leave --objective out"
                )
            configurations.append(check(config))
        return configurations

    def _compared(self, shared: RunConfig) -> list[RunConfig]:
        """The checked configuration of every coupling under every objective."""
        from bench.training.objectives import for_objectives

        specs = self.objective or (self.training.objective,)
        preset = load_preset(self.preset, self.data).training
        baseline = () if self.no_baseline else (BASELINE,)
        compared = []
        for training in for_objectives(self.training, specs, preset):
            for coupling in (*baseline, *self.coupling):
                compared.append(check(replace(shared, coupling=coupling, training=training)))
        # Each once, however often and in whatever spelling it is named.
        return list(dict.fromkeys(compared))


def parse(args: list[str]) -> Command:
    """Read the command line; --data and --preset choose the defaults of the rest."""
    first = read_first(args, ("--data", "--preset"))
    refuse_other_preset(first.preset, first.data)
    base = load_preset(first.preset, first.data or "digits")
    # Before the options are read, which have the last word.
    if "--quick" in args:
        base = quick(base)
    default = Command(
        coupling=Command.coupling if base.coupling == BASELINE else (base.coupling,),
        objective=(base.training.objective,),
        data=base.data,
        resolution=base.resolution,
        source=base.source,
        network=base.network,
        training=base.training,
        evaluation=base.evaluation,
        guidance=base.guidance.kind,
        dg=base.guidance,
    )
    return cli.parse("bench.run", DESCRIPTION, args, default, COMMON, stray="coupling")

"""The configuration of a run: frozen dataclasses, filled by a preset, then by the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from bench.config.guidance import GuidanceConfig
from bench.config.options import HIDDEN
from bench.record import digest
from bench.record.specs import flow, karras

ClassLaw = Literal["data", "uniform"]
# The metrics themselves say which group they belong to: see ``bench.metrics.groups``.
DEFAULT_GROUPS = ("samples", "truncation", "grid", "paths", "local", "learning")
# Settings of an evaluation that are no columns of the results: rows of others are not compared.
SAME_FOR_ALL_ROWS = ("reference_steps", "sigma_min", "sigma_max")

# Options of the training that came after the first runs were named.
LATER_TRAINING = (
    "objective", "sigma_data", "weight_decay", "label_blind", "select_every", "label_dropout",
)  # fmt: skip
# Options of the evaluation that came after the first ones were finished.
LATER_EVALUATION = ("schedule", "shift", "shifts", "cfg", "decode", "decoder")


@dataclass(frozen=True)
class NetworkConfig:
    """The denoiser."""

    arch: str = "small"
    """Network: small, ddpmpp, ncsnpp, adm, mlp or residual-mlp (perceptrons, for points), auto
    (small with the levels that the size has room for, mlp for vectors), or your own, such as
    my_project.net:Transformer. It is called with (image size, channels, label_dim,
    augment_dim, **options) and returns the raw network, F(x, c_noise, labels, augment_labels). The
    options below --arch-options are those of the U-Nets.
    """
    arch_options: tuple[str, ...] = ()
    """Options of a perceptron (width=64 depth=3 activation=selu; residual-mlp: also expansion=4),
    or of your own network.
    """
    model_channels: int = 32
    """Base width, in channels."""
    channel_mult: tuple[int, ...] = (1, 2)
    """Width of each level as a multiple of the base width, finest first."""
    num_blocks: int = 1
    """Residual blocks per level."""
    attn_resolutions: tuple[int, ...] = ()
    """Resolutions, in pixels, at which blocks attend."""
    dropout: float = 0.0
    """Dropout probability."""


@dataclass(frozen=True)
class TrainingConfig:
    """Training, with EDM's recipe (Karras et al. 2022) unless the objective is another."""

    images: int = 200_000
    """Budget, in training images (each step takes one batch)."""
    pool: int = 1024
    """Pool: how many images and noise samples are coupled at once, whatever the batch."""
    pool_scope: Literal["rank", "global"] = "rank"
    """Couple the pool of each process by itself, or those of all processes as one."""
    batch: int = 128
    """Images per step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight decay of AdamW (Loshchilov & Hutter 2019); 0 is Adam."""
    lr_ramp: int = 10_000
    """Images over which the learning rate rises from 0."""
    ema_halflife: int = 10_000
    """Half-life of the weights' moving average, in images."""
    ema_rampup: float = 0.05
    """Cap on the half-life early in training, as a fraction of the images seen."""
    select_every: int = 0
    """Images between checks of the loss on the validation split; the weights of the least loss are
    measured. 0 measures the last ones.
    """
    P_mean: float = -1.2
    """Mean of ln sigma in training."""
    P_std: float = 1.2
    """Standard deviation of ln sigma in training."""
    sigma_data: float | Literal["data"] = 0.5
    """Standard deviation of the data in EDM's preconditioning; data: measured on the training
    images. 0.5 is EDM's.
    """
    # The commands take several: the option is theirs.
    objective: str = field(default="edm", metadata=HIDDEN)
    """Training objective: edm; flow (flow matching, with t uniform), also with options such as
    flow:t=logit-normal,loc=0,scale=1 or flow:path_sigma=0.1; or your own, such as
    my_project.objective.
    """
    conditional: bool = False
    """Give the network the class labels, or the conditions of the data set."""
    label_blind: bool = False
    """Allow --conditional with couplings that ignore the labels, to show what that costs: the noise
    of a pair then depends on the label in training, but not in sampling.
    """
    label_dropout: float = 0.0
    """Probability that an image of a conditional training comes without its label, so that the
    network also learns the unconditional denoiser, which --cfg needs. 0.1 is usual.
    """
    augment: float = 0.0
    """Probability of each of EDM's geometric augmentations; 0 leaves them out. CIFAR-10 in EDM:
    0.12.
    """
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Arithmetic precision of the network in training; sampling is in float32. tf32 needs a GPU."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurements after the training; the same for every run of a comparison."""

    nfe: tuple[int, ...] = (3, 5, 7, 9, 13, 17, 27, 35)
    """Denoiser evaluations per image to sample with (odd for Heun, which takes 2 steps - 1)."""
    schedule: tuple[str, ...] = ()
    """Schedules to sample along: karras (x against sigma, with --rho), flow (z against t, from pure
    noise at t = 1, with --shift), or your own, such as my_project.cosine. The first one is the
    fixed one for all samplers; the best is searched among all of them. Default: that of the
    objective, karras for edm and flow for flow.
    """
    rho: float = 7.0
    """Exponent of Karras' schedule, fixed for all runs; 7 is EDM's."""
    rhos: tuple[float, ...] = (3.0, 5.0, 7.0, 10.0, 16.0, 27.0)
    """Exponents among which the best one is found at each NFE, in addition to --rho; the search
    goes on beyond them where it ends at the first or last. Give no value to skip the search.
    """
    shift: float = 1.0
    """Shift of the flow schedule, fixed for all runs: t' = s t / (1 + (s - 1) t); 1 is uniform."""
    shifts: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    """Shifts among which the best one is found at each NFE, in addition to --shift; the search
    goes on beyond them where it ends at the first or last. Give no value to skip the search.
    """
    grid_samples: int = 256
    """Images in each cell of that search, of latents of its own. The best schedule is the fixed one
    unless the gain exceeds twice its standard error; all metrics are then measured at it.
    """
    samplers: tuple[str, ...] = ("heun",)
    """Samplers along the fixed schedule: heun, euler, midpoint (2 evaluations per step), dpmpp-2m
    (DPM-Solver++ of order 2, one evaluation per step), dopri5 (adaptive: it chooses its
    evaluations; or dopri5:tolerance=1e-5), euler-maruyama (stochastic, along karras only), or your
    own, such as my_project.ralston.
    """
    features: tuple[str, ...] = ()
    """Features that samples are compared in, such as inception:weights=FILE. Default: classifier
    and pixels.
    """
    metrics: tuple[str, ...] = DEFAULT_GROUPS
    """Groups of metrics: samples (Frechet distances and the like), truncation (error against a
    dense solver), grid (the search for the best schedule), paths (curvature, path energy), local
    (error of single steps), learning (noise of target and gradient, validation losses). Or single
    metrics, such as kid, or your own, such as my_project.spread. Distances come with their floor:
    the distance of as many real training images as there are samples from the test split.
    """
    primary: str = ""
    """Primary question, as METRIC@NFE such as fd_classifier@9, against the test split and each run
    at its own best schedule: the only comparison that the report claims at the plain 5 % level; all
    others are adjusted for each other. It is recorded when a run begins, so declare it before you
    look. Default: that of the data set's preset, else the first distance at the NFE nearest to 13.
    """
    cfg: tuple[float, ...] = ()
    """Weights w of classifier-free guidance, D + w (D_c - D), to sample with along the fixed
    schedule; 1 is the conditional denoiser D_c, which is always measured. All weights take the
    steps of --nfe. At weights other than 0 and 1 every evaluation takes two of the network, and NFE
    counts both. Needs --label-dropout.
    """
    start: tuple[str, ...] = ()
    """Starts of sampling in addition to pure noise: expressway:sigma=0.5, ot-prior:sigma=2,tau=0.1,
    random-index:sigma=0.5, truncated:sigma=0.5, ..., or your own, such as
    my_project.start.
    """
    start_nfe: tuple[int, ...] = (3, 5, 9)
    """Denoiser evaluations per image after the start."""
    samples: int = 2000
    """Generated images for each Frechet distance; for points in the plane also of each exact W2 and
    path energy, W2 of 10,000 at most (about a minute each).
    """
    trajectories: int = 512
    """Latents of the dense paths: for curvature, path energy and truncation error."""
    reference_steps: int = 128
    """Steps of the dense Heun reference. Another value makes a separate run, because its rows
    cannot be compared; it reuses a network that was trained in the same way.
    """
    sigma_min: float = 0.002
    """Lowest noise level of sampling. Another value makes a separate run, because its rows cannot
    be compared; it reuses a network that was trained in the same way.
    """
    sigma_max: float = 80.0
    """Highest noise level of sampling. Another value makes a separate run, because its rows cannot
    be compared; it reuses a network that was trained in the same way.
    """
    decode: str | None = None
    """TorchScript decoder of latents [n, c, h, w]; it returns images [n, c, h, w] in [-1, 1].
    Features, distances, copies and pictures are then those of decoded images; paths, curvature and
    truncation stay those of the latents. Another file makes a separate run, which reuses a network
    that was trained in the same way.
    """
    # SHA-256 of that file: rows of two decoders cannot be compared.
    decoder: str | None = field(default=None, metadata=HIDDEN)
    class_law: ClassLaw = "data"
    """Class frequencies of generated images for a conditional denoiser. data: those of the training
    split. uniform: all classes equally often, which biases distances if the classes differ in size.
    """

    @property
    def schedules(self) -> tuple[str, ...]:
        """Names of the schedules, the fixed one first; ``bench.check`` has put in the
        objective's.
        """
        return self.schedule or ("karras",)

    @property
    def fixed_schedule(self) -> str:
        """Spec of the fixed schedule."""
        return self._candidates(self.schedules[0])[0]

    @property
    def searched_schedules(self) -> list[str]:
        """Specs that each run searches for its best, each once; none if nothing is to choose."""
        specs = []
        for name in self.schedules:
            # The fixed value too, or the best one might be worse than that.
            specs += self._candidates(name)[1:] + self._candidates(name)[:1]
        return list(dict.fromkeys(specs)) if len(specs) > 1 else []

    def _candidates(self, name: str) -> list[str]:
        """Specs of a schedule: at its fixed value, then at those that are searched."""
        if name == "karras":
            return [karras(rho) for rho in (self.rho, *self.rhos)]
        if name == "flow":
            return [flow(shift) for shift in (self.shift, *self.shifts)]
        # A schedule of the user's own has the options that its spec states.
        return [name]


@dataclass(frozen=True)
class Execution:
    """Execution settings. They do not change a run's identity, only its rounding (and the dropout
    noise).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a GPU if there is one."""
    workers: int | None = None
    """Processes that couple pools in parallel with the training; 0 does it in a thread of the
    trainer. Default: 1 if a GPU trains, else 0: on a CPU both share the cores.
    """
    micro_batch: int | None = None
    """Images that go through the network at once; gradients are accumulated over these
    micro-batches. Fewer take less memory. Default: the batch.
    """
    parallel: int | None = None
    """Runs to make at once, each in a process of its own, with its share of the cores as threads
    or as many as OMP_NUM_THREADS says. With the same number of threads the results are the same.
    Default: on a CPU as many as runs, cores and memory allow; 1 on a GPU or under torchrun.
    """
    compile: bool = False
    """Compile the network with torch.compile: minutes of compilation, then faster steps. Shapes are
    static, because all batches are full.
    """
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """How the processes of torchrun share a training. ddp: each holds the whole network and a part
    of every batch; fastest while it fits. fsdp: each also holds only a share of weights, gradients
    and averages, and gathers one block at a time; for networks that are too large for one GPU.
    Both give the same results to rounding, and the same checkpoints. Sampling needs the whole
    network on each.
    """
    gradient_checkpointing: bool = False
    """Keep only the inputs of the network's blocks for the backward pass, and compute the rest
    again: less memory of activations, about a third more time per step, the same gradients. For
    batches that do not fit even with a small --micro-batch.
    """
    log: tuple[str, ...] = ()
    """Log training and measurements live: tensorboard, wandb, mlflow, or a module of your own, such
    as my_project.tracker. Changes no number. tensorboard --logdir RUNS/tensorboard shows all runs.
    """
    keep_samples: bool = False
    """Keep the images generated now (RUN/samples/SAMPLER-nfe*/). Default: they are removed once
    measured.
    """


@dataclass(frozen=True)
class RunConfig:
    """Everything that affects the numbers of one run, and nothing else.

    The ``identity`` of a run excludes those settings of its evaluation that are columns of the
    results: the same run can be measured again, with more of them.
    """

    # These defaults are those of Python callers; the commands take them from a preset.
    data: str = "digits"
    coupling: str = "random"
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # Not part of the identity: it chooses rows, and each names its guidance.
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    resolution: int | None = None
    # Data set that noise samples are drawn from.
    source: str = "gaussian"
    # SHA-256 of the network file that is measured instead of training one. By content: a file of
    # the same name is another run.
    checkpoint: str | None = None
    # True if that file holds weights of the user's own: the network and the objective above are
    # theirs. Files of ``models.import_edm`` say so themselves.
    own_weights: bool = False
    # Name of a training by another program, whose network is measured as it is; ``coupling`` is
    # then what that program says. ``checkpoint`` is the digest of this name.
    trainer: str = ""

    @property
    def identity(self) -> dict:
        """Nested dictionaries that name the run; stored in config.json."""
        # Through JSON: lists instead of tuples, as they are read back from the file.
        content = json.loads(json.dumps(asdict(self)))
        # Columns of the results say it row by row.
        del content["guidance"]
        evaluation = content["evaluation"]
        content["evaluation"] = {key: evaluation[key] for key in SAME_FOR_ALL_ROWS}
        # Left out by default: a new field must not rename the runs of earlier versions.
        if self.evaluation.class_law != EvaluationConfig.class_law:
            content["evaluation"]["class_law"] = self.evaluation.class_law
        if self.evaluation.decoder is not None:
            content["evaluation"]["decoder"] = self.evaluation.decoder
        # Options that came later are left out at their defaults: runs of before keep their names.
        for name in LATER_TRAINING:
            if getattr(self.training, name) == getattr(TrainingConfig, name):
                del content["training"][name]
        if self.source == RunConfig.source:
            del content["source"]
        if not self.own_weights:
            del content["own_weights"]
        if not self.trainer:
            del content["trainer"]
        if not self.network.arch_options:
            del content["network"]["arch_options"]
        return content

    @property
    def measured(self) -> dict:
        """Nested dictionaries of the settings that choose its measurements."""
        content = json.loads(json.dumps(asdict(self)))
        # The primary question changes no number: asking another one measures nothing.
        del content["evaluation"]["primary"]
        # Left out by default: what earlier versions have finished stays finished.
        for name in LATER_EVALUATION:
            if getattr(self.evaluation, name) == getattr(EvaluationConfig, name):
                del content["evaluation"][name]
        return {key: content[key] for key in ("evaluation", "guidance")}

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of the SHA-256 of the identity's canonical JSON."""
        return digest(self.identity, compact=True)

    @property
    def run_id(self) -> str:
        """Name of the folder: the parts that a person looks for, then the hash of all of it."""
        # Specs hold colons and commas, which shells and some file systems treat specially.
        coupling = _as_file_name(self.coupling)
        trainer = f"-{_as_file_name(self.trainer)}" if self.trainer else ""
        # A network file was not trained here: its pools are unknown.
        pool = "" if self.checkpoint else f"-pool{self.training.pool}"
        source = "" if self.source == RunConfig.source else f"-from-{_as_file_name(self.source)}"
        parts = [f"{_as_file_name(self.data)}{source}{trainer}", f"{coupling}{pool}"]
        return "-".join([*parts, f"seed{self.seed}", self.digest])


def _as_file_name(text: str) -> str:
    """The text as a part of a file's name: only letters, digits, ``-``, ``.`` and ``=`` stay."""
    return "".join(c if c.isalnum() or c in "-.=" else "_" for c in text)

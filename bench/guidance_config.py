"""The configuration of discriminator guidance; no torch here, so that the command line stays quick."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

AFTERWARDS = ("weights", "second", "boost", "boost_coupled")  # fields that change the sampling, not the training


@dataclass(frozen=True)
class GuidanceConfig:
    """Discriminator guidance (Kim et al. 2023): how the discriminator is trained, and what is sampled with it."""

    weights: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Weights of the guidance at the first evaluation of a step."""
    second: float = 0.0
    """Weight at Heun's second evaluation."""
    boost: bool = False
    """More noise and guidance for samples that the discriminator takes for generated."""
    boost_coupled: bool = False
    """Boost a denoiser trained with a coupling all the same."""
    noising: str = "random"
    """Coupling of images and noises in the discriminator's training; reals and fakes in pools of their own."""
    pool: int = 512
    """Images, and noises, of one kind that are coupled at once; a multiple of half the batch."""
    images: int = 80_000
    """Budget, in noisy images, half of them real; checkpoints are kept at 1/8, 1/4, 1/2 and all of it."""
    batch: int = 128
    """Images a step, half of them real."""
    fakes: int | None = None
    """Generated images; default: as many as training images."""
    fakes_nfe: int = 35
    """Denoiser evaluations for each of them."""
    fakes_rho: float = 7.0
    """Exponent of their sigma schedule."""
    held_out: float = 0.1
    """Share of real training images and of fakes that are kept for choosing the checkpoint."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    width: int = 64
    """Channels of the head."""
    blocks: int = 1
    """Residual blocks of the head."""
    encoder: str | None = None
    """File of a frozen encoder: TorchScript f(x_in, sigma), or safetensors with its .json. Default: one that is trained
    on the labels at all noise levels, once for a data set."""

    @property
    def name(self) -> str:
        """What the discriminator is called; for its folder, the hash of what trains it is added."""
        return f"dg-{self.noising}"

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits over what trains the discriminator."""
        content = {key: value for key, value in asdict(self).items() if key not in AFTERWARDS}
        if self.encoder is not None:
            content["encoder"] = hashlib.sha256(Path(self.encoder).read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]

    def label(self, weight: float) -> str:
        """What the column ``guidance`` says of samples guided with this weight."""
        if not weight:
            return "none"
        more = [f"second={self.second:g}"] * bool(self.second) + ["boost"] * self.boost
        return ",".join([f"{self.name}:weight={weight:g}", *more])


def check_guidance(config: GuidanceConfig, coupling: str, conditional: bool) -> GuidanceConfig:
    """Refuse what cannot run; return it with its noising in canonical spelling.

    Args:
        config: what is asked for.
        coupling: that the denoiser was trained with.
        conditional: whether the denoiser is told the class.

    Raises:
        bench.config.ConfigError: with one line naming the option and the way out.

    """
    from bench.config import ConfigError
    from couplings import CouplingError, get

    try:
        noising = get(config.noising)
    except CouplingError as error:
        raise ConfigError(f"--noising: {error}") from None
    if noising.kind != "batch":
        raise ConfigError(f"--noising {config.noising}: it is fitted to real images alone; take a batch coupling")
    if conditional and noising.spec != "random" and not (noising.uses_labels or noising.within_class):
        raise ConfigError(
            f"--noising {noising.spec}: noise would tell the class; couple within classes "
            f"({noising.spec}{',' if ':' in noising.spec else ':'}within_class=true)"
        )
    if config.boost and coupling != "random" and not config.boost_coupled:
        raise ConfigError(
            f"--boost with a denoiser trained with {coupling}: boosting adds fresh noise, independent of the image, "
            "which such a denoiser has not seen; leave --boost out, or insist with --boost-coupled"
        )
    _check_ranges(config)
    return replace(config, noising=noising.spec)


def _check_ranges(config: GuidanceConfig) -> None:
    from bench.config import ConfigError

    half = config.batch // 2
    if config.batch < 2 or config.batch % 2:
        raise ConfigError(f"--batch {config.batch}: half of it is real, so take an even number")
    if config.pool < half or config.pool % half:
        raise ConfigError(f"--pool {config.pool} must be a multiple of half the batch, {half}")
    if not 0 < config.held_out < 1:
        raise ConfigError(f"--held-out {config.held_out}: a share between 0 and 1")
    if config.fakes_nfe < 3 or config.fakes_nfe % 2 == 0:
        raise ConfigError(f"--fakes-nfe {config.fakes_nfe}: Heun takes 2 steps - 1 evaluations: 3, 5, 7, ...")
    for option in ("images", "lr", "fakes_rho", "width", "blocks"):
        if not getattr(config, option) > 0:
            raise ConfigError(f"--{option.replace('_', '-')} must be above 0")
    if config.fakes is not None and config.fakes < 2:
        raise ConfigError(f"--fakes {config.fakes}: 2 or more")
    if config.encoder is not None and not Path(config.encoder).is_file():
        raise ConfigError(f"--encoder {config.encoder}: no such file")

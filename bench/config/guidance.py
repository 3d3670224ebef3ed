"""The configuration of discriminator guidance.

No torch here, so that the command line stays quick.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from bench.config.errors import ConfigError
from bench.config.options import HIDDEN
from bench.record import digest

# Fields that choose what is sampled with a discriminator, not how it is trained; the noising is in
# its name.
AFTERWARDS = ("kind", "weights", "nfe", "second", "boost", "boost_coupled", "noising")


@dataclass(frozen=True)
class GuidanceConfig:
    """Discriminator guidance (Kim et al. 2023): training of the discriminator, and sampling with
    it.
    """

    kind: Literal["none", "discriminator"] = field(default="none", metadata=HIDDEN)
    """Set by --guidance."""
    weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Weights of the guidance at the first evaluation of a step; 0 is unguided. Heun averages two
    evaluations: with --guidance.second 0 weight 1 applies half of the correction that the
    discriminator's ratio asks for, weight 2 the whole with many steps, and less with few.
    """
    nfe: tuple[int, ...] = (9, 17, 35)
    """Denoiser evaluations per image to sample with; passes of the discriminator are counted
    separately.
    """
    second: float = 0.0
    """Weight at Heun's second evaluation; 1 here and in --guidance.weights is the whole correction.
    """
    boost: bool = False
    """More noise and guidance for samples that the discriminator takes for generated."""
    boost_coupled: bool = False
    """Allow --guidance.boost for a denoiser trained with a coupling."""
    noising: tuple[str, ...] = ("independent",)
    """Couplings of images and noise samples for training the discriminator; one discriminator for
    each. Real and generated images are coupled in separate pools.
    """
    pool: int = 512
    """Images of one kind, and noise samples, that are coupled at once."""
    images: int = 80_000
    """Budget, in noisy images, half of them real; checkpoints are kept at 1/8, 1/4, 1/2 and all of
    it.
    """
    batch: int = 128
    """Images per step, half of them real."""
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
    """File of a frozen encoder: TorchScript f(x_in, sigma), or safetensors with its .json. Default:
    one trained once per data set, on its labels at all noise levels.
    """

    def per_noising(self) -> list[GuidanceConfig]:
        """One configuration for each noising."""
        return [replace(self, noising=(noising,)) for noising in self.noising]

    @property
    def coupling(self) -> str:
        """The coupling of the only noising; ``independent`` is the coupling ``random``."""
        (noising,) = self.noising
        # In a column next to couplings, "random" would read as random guidance.
        return "random" if noising == "independent" else noising

    @property
    def name(self) -> str:
        """Name of the discriminator of the only noising; a hash follows if its training is not the
        default.
        """
        (noising,) = self.noising
        own = "" if self.digest == GuidanceConfig().digest else f"-{self.digest}"
        return f"dg-{noising}{own}"

    @property
    def digest(self) -> str:
        """Six hexadecimal digits over the settings that train the discriminator, except noising."""
        # Settings of the sampling are left out: with others, the trained discriminator is reused.
        content = {key: value for key, value in asdict(self).items() if key not in AFTERWARDS}
        if self.encoder is not None:
            # The file's content counts, not its place.
            content["encoder"] = hashlib.sha256(Path(self.encoder).read_bytes()).hexdigest()
        return digest(content, digits=6)

    def label(self, weight: float) -> str:
        """The entry of the column ``guidance`` for samples guided with this weight."""
        if not weight:
            return "none"
        label = f"{self.name}:weight={weight:g}"
        if self.second:
            label += f",second={self.second:g}"
        if self.boost:
            label += ",boost"
        return label


def check_guidance(config: GuidanceConfig, coupling: str, conditional: bool) -> GuidanceConfig:
    """Refuse guidance that cannot run; return it with its noising in canonical spelling.

    Args:
        config: of the guidance.
        coupling: that the denoiser was trained with.
        conditional: True if the denoiser gets the class.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    from couplings import get

    checked = [_check_noising(one.coupling, conditional) for one in config.per_noising()]
    # Each once: a discriminator is trained for every one.
    noisings = tuple(dict.fromkeys(checked))
    # The command line can name the option and give it nothing.
    if not noisings:
        raise ConfigError("--guidance.noising needs at least one, such as independent")
    if config.boost and not config.boost_coupled and not get(coupling).independent:
        raise ConfigError(
            f"--guidance.boost with a denoiser trained with {coupling}: boosting adds fresh noise,"
            " independent of the image, which such a denoiser has not seen; leave it out, or"
            " pass --guidance.boost-coupled"
        )
    _check_ranges(config)
    return replace(config, noising=noisings)


def _check_noising(spec: str, conditional: bool) -> str:
    """The canonical spec of a noising, ``independent`` for the coupling ``random``."""
    from couplings import CouplingError, get

    try:
        noising = get(spec)
    except CouplingError as error:
        raise ConfigError(f"--guidance.noising: {error}") from None
    # Generated images have no place in a map that was fitted to the real ones.
    if noising.kind != "batch":
        raise ConfigError(
            f"--guidance.noising {spec}: it is fitted to real images only; take a coupling of a"
            " pool, such as lapjv"
        )
    if noising.follows_model:
        raise ConfigError(
            f"--guidance.noising {spec}: it follows a network that learns from its pairs; take"
            " another coupling of a pool, such as lapjv"
        )
    if (
        conditional
        and not noising.independent
        and not (noising.uses_labels or noising.within_class)
    ):
        separator = "," if ":" in noising.spec else ":"
        raise ConfigError(
            f"--guidance.noising {noising.spec}: the noise would reveal the class; couple within"
            f" classes ({noising.spec}{separator}within_class=true)"
        )
    return "independent" if noising.spec == "random" else noising.spec


def _check_ranges(config: GuidanceConfig) -> None:
    """Refuse values that no discriminator can be trained or sampled with.

    Raises:
        ConfigError: naming the option.

    """
    if config.batch < 2 or config.batch % 2:
        raise ConfigError(
            f"--guidance.batch {config.batch}: half of it is real, so take an even number"
        )
    if not 0 < config.held_out < 1:
        raise ConfigError(f"--guidance.held-out {config.held_out}: a share between 0 and 1")
    for nfe in config.nfe:
        check_heun_nfe("--guidance.nfe", nfe, "guidance")
    if not config.nfe or not config.weights:
        raise ConfigError(
            "--guidance.nfe and --guidance.weights need at least one number each, such as 17 and 1"
        )
    # A weight may be negative, to steer away from what the discriminator takes for real.
    if not all(map(math.isfinite, config.weights)):
        raise ConfigError(f"--guidance.weights {config.weights}: finite numbers, such as 0 1 2")
    check_heun_nfe("--guidance.fakes-nfe", config.fakes_nfe, "guidance")
    for option in ("images", "pool", "lr", "fakes_rho", "width", "blocks"):
        if not getattr(config, option) > 0:
            raise ConfigError(f"--guidance.{option.replace('_', '-')} must be above 0")
    if config.fakes is not None and config.fakes < 2:
        raise ConfigError(f"--guidance.fakes {config.fakes}: 2 or more")
    # Its content is checked with the data, which give the size of the images.
    if config.encoder is not None and not Path(config.encoder).is_file():
        raise ConfigError(f"--guidance.encoder {config.encoder}: no such file")


def check_heun_nfe(option: str, nfe: int, what: str, way_out: str = "") -> None:
    """Refuse numbers of evaluations that Heun cannot take, for what samples with no other sampler.

    Args:
        option: that gives the number.
        nfe: the number.
        what: samples with Heun, for the message.
        way_out: another one than such a number, for the message.

    Raises:
        ConfigError: naming the option.

    """
    # Importing torch takes seconds, and the command line imports this file.
    from models.samplers.heun import heun

    try:
        heun.steps(nfe)
    except ValueError:
        raise ConfigError(
            f"{option} {nfe}: {what} samples with Heun, which takes odd numbers: 3, 5, 7, ..."
            f"{way_out}"
        ) from None

"""Trains the discriminator of an arm: its own samples against real images, at all noise levels (Kim et al. 2023).

Reals are the training images as stored, fakes are sampled from the arm's denoiser without guidance. Both are noised
with unit noise, independent or coupled to the images (arXiv 2403.05069). Reals and fakes are coupled in pools of their
own: in one pool an assignment would share the noises out between the two kinds, and the noise itself would tell real
from fake. What remains is that each kind's coupling is its own: noisy reals and fakes then follow the laws that a
denoiser trained on each with this coupling would meet.

Images, noises and sigmas are found by seed and step: all arms, and all kinds of noising, see the same. Over-training
hurts guidance, so checkpoints are kept on the way, and real and fake images held out from training choose one of them.
The test split has no part in that. The folder of an arm's discriminators holds::

    fakes-<hash>/                      the generated images
    dg-<noising>-<hash>/
        checkpoint.pt                  the training state; removed when it is done
        discriminator.pt               the chosen one, and what it was made for
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench import noisy_encoder
from bench.config import EvaluationConfig
from bench.couplers import Pairs
from bench.data import Dataset, Split
from bench.defaults import plain_torch
from bench.guidance_config import GuidanceConfig
from bench.metrics.discrimination import accuracy, auc, calibration_error
from bench.pairs import PairStream
from bench.randomness import derive, generator
from bench.record import Measurement, write_bytes
from bench.samples import SampleStore, weights_digest
from bench.sampling import as_stored, draw_latents, finite_rows
from couplings import get
from models.discriminator import Discriminator, Head, HeadOptions, draw_log_uniform_sigma, feature_channels
from models.guidance import WINDOW
from models.precondition import EDMDenoiser
from models.samplers import heun
from models.schedule import karras_sigmas

VERSION = 2  # raise it when the discriminator or its training change, so that no old one is used
KEPT = (1 / 8, 1 / 4, 1 / 2, 1)  # of the budget, where checkpoints are kept
WEIGHT_DECAY = 1e-7
CHUNK = 500  # images sampled or judged at a time
CHECK_EVERY = 200  # steps between checkpoints of the training state
PROBE_POOLS = 4  # held-out pools of each kind that are judged
BINS = 8  # of ln sigma


class GuideError(RuntimeError):
    """The discriminator cannot be trained or used; the message names the way out."""


@dataclass(frozen=True)
class Sides:
    """Real and generated images."""

    real: Split
    fake: Split


@dataclass(frozen=True)
class Arm:
    """What a discriminator belongs to: a trained denoiser, its data set, the seed of its run; and where to compute.

    Of ``evaluation`` it takes how samples are made there: the range of sigma and the law of the classes.
    """

    net: EDMDenoiser
    dataset: Dataset
    seed: int
    device: str = "cpu"
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def guided(self) -> tuple[float, float]:
        """The lowest and highest sigma at which samples are guided: there the discriminator is judged."""
        return WINDOW[0], self.evaluation.sigma_max

    @property
    def sampling(self) -> dict[str, object]:
        """All that its images depend on beside weights, data, seed and schedule."""
        evaluation = self.evaluation
        levels = {"sigma_min": evaluation.sigma_min, "sigma_max": evaluation.sigma_max}
        return levels | ({"class_law": evaluation.class_law} if self.net.label_dim else {})


@dataclass(frozen=True)
class Trained:
    """A discriminator for ``models.guidance.Guidance``, chosen among those kept on the way.

    Attributes:
        net: the discriminator, frozen.
        images: training images it has seen.
        losses: held-out cross-entropy in the guided window of all that were kept, by images seen.

    """

    net: Discriminator
    images: int
    losses: dict[int, float]


@plain_torch()
def train_discriminator(
    config: GuidanceConfig, arm: Arm, parent: Path, cache: Path, progress: bool = True
) -> tuple[Trained, list[Measurement]]:
    """The discriminator of an arm, trained in a folder of ``parent`` or read from there, and what it is worth.

    A stopped training goes on, to the same weights.

    Raises:
        GuideError: the folder's discriminator is of another denoiser or data set, or damaged.
        models.discriminator.EncoderRefused: the encoder's file does not suit.
        couplings.CouplingError: a pool cannot be coupled.

    """
    spelled = "".join(c if c.isalnum() or c in "-.=" else "_" for c in config.noising[0])
    folder = parent / f"dg-{spelled}-{config.digest}"
    encoder = noisy_encoder.load(arm.dataset, cache, arm.device, config.encoder)
    fakes = make_fakes(config, arm, parent, progress)  # discriminators of one arm share them
    (real, held_real), (fake, held_fake) = (hold_out(x, config.held_out) for x in (arm.dataset.train, fakes))
    if not (folder / "discriminator.pt").exists():
        _train(config, arm, encoder, Sides(real, fake), Sides(held_real, held_fake), folder, progress)
    trained = load_discriminator(folder / "discriminator.pt", arm, encoder)
    rows = measure(config, arm, trained.net, Sides(held_real, held_fake), "train")
    return trained, rows + measure(config, arm, trained.net, Sides(arm.dataset.test, held_fake), "test")


def make_fakes(config: GuidanceConfig, arm: Arm, folder: Path, progress: bool = True) -> Split:
    """Images of the arm's denoiser, as the data set stores its own, and the classes asked for; resumable.

    The latents are found by seed and sample index, as in the evaluation, but are others: a discriminator must not have
    seen the very samples that it guides. They are sampled over the range of sigma of the evaluation. Those that are not
    finite teach nothing and are left out, with a note.

    Raises:
        GuideError: fewer than two are finite.

    """
    dataset, n = arm.dataset, config.fakes or len(arm.dataset.train)
    seed, steps = derive(arm.seed, "fakes"), (config.fakes_nfe + 1) // 2
    settings = {
        "weights": weights_digest(arm.net), "data": dataset.checksum, "seed": arm.seed,
        "nfe": config.fakes_nfe, "rho": config.fakes_rho, **arm.sampling,
    }  # fmt: skip
    store = SampleStore.of(folder, "fakes", settings)
    evaluation = arm.evaluation
    sigmas = karras_sigmas(steps, config.fakes_rho, evaluation.sigma_min, evaluation.sigma_max)
    for rows in tqdm(store.missing(n, CHUNK), desc="sample fakes", disable=None if progress else True):
        latents = draw_latents(len(rows), dataset, seed, rows.start, evaluation.class_law)
        labels = _one_hot(latents.labels, arm.net.label_dim, arm.device)
        with torch.no_grad():
            images = heun(arm.net.eval(), latents.noise.to(arm.device), sigmas, labels).float().cpu()
        store.add(rows.start, images=as_stored(images, dataset), labels=latents.labels, finite=finite_rows(images))
    images, labels, finite = (torch.cat(list(store.tensors(name, n))) for name in ("images", "labels", "finite"))
    if finite.sum() < 2:
        raise GuideError(f"{n - int(finite.sum()):,} of {n:,} samples are not finite: a lower --lr may help")
    if not finite.all():
        tqdm.write(f"note: {n - int(finite.sum()):,} of {n:,} fakes are not finite and left out")
    return Split(images[finite], labels[finite])


def refuse_small(count: int, share: float) -> None:
    """Refuse to take a share of so few images.

    Raises:
        GuideError: there are too few for two parts of two.

    """
    held = round(share * count)
    if held < 2 or count - held < 2:
        raise GuideError(
            f"{count} images cannot give {share:.0%} away: take more --guidance.fakes, or another --guidance.held-out"
        )


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """The larger part to train on, and a share that is held out; the same images for every arm and seed.

    Raises:
        GuideError: too few images for two parts of two.

    """
    refuse_small(len(split), share)
    held = round(share * len(split))
    order = torch.randperm(len(split), generator=generator(0, "guide held-out"))
    return tuple(Split(split.images[rows], split.labels[rows]) for rows in (order[held:], order[:held]))


def _train(
    config: GuidanceConfig,
    arm: Arm,
    encoder: noisy_encoder.Encoder,
    sides: Sides,
    held: Sides,
    folder: Path,
    progress: bool,
) -> None:
    """Plain binary cross-entropy at ln sigma ~ U, Adam; leaves discriminator.pt and removes what it resumes from."""
    half, steps = config.batch // 2, max(1, round(config.images / config.batch))
    keep = {max(1, round(share * steps)) for share in KEPT}
    net = _build(config, arm, encoder)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=config.lr, weight_decay=WEIGHT_DECAY)
    step, kept = 0, {}
    if content := _read(folder / "checkpoint.pt", arm, encoder):
        net.head.load_state_dict(content["head"])
        optimizer.load_state_dict(content["optimizer"])
        step, kept = content["step"], content["kept"]
    bar = tqdm(total=steps, initial=step, desc=f"train {config.name}", disable=None if progress else True)
    reals, fakes = (_stream(config, arm, getattr(sides, kind), kind, half, step, steps) for kind in ("real", "fake"))
    with bar, reals, fakes:
        for real, fake in zip(reals, fakes, strict=True):
            _step(net.train(), optimizer, real, fake, generator(arm.seed, "guide sigma", step=step))
            step += 1
            bar.update()
            if step in keep:
                kept[step] = {name: tensor.clone() for name, tensor in net.head.state_dict().items()}
            if step % CHECK_EVERY == 0 and step < steps:
                state = {"head": net.head.state_dict(), "optimizer": optimizer.state_dict()}
                _write(folder / "checkpoint.pt", arm, encoder, step=step, kept=kept, **state)
    best, losses = _choose(config, arm, net, kept, held)
    head = {"head": kept[best], "options": vars(net.head.options), "images": best * config.batch, "losses": losses}
    _write(folder / "discriminator.pt", arm, encoder, **head)
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _choose(
    config: GuidanceConfig, arm: Arm, net: Discriminator, kept: dict[int, dict[str, Tensor]], held: Sides
) -> tuple[int, dict[int, float]]:
    """The step whose head has the least cross-entropy on held-out images, and those of all by images seen."""
    losses = {}
    for step, head in kept.items():
        net.head.load_state_dict(head)
        logits = _judge(config, arm, net, held, "choose")
        losses[step] = F.softplus(torch.cat([-logits.real, logits.fake])).mean().item()
    # NaN is below nothing and above nothing, so it is ranked last.
    best = min(losses, key=lambda step: (math.isnan(losses[step]), losses[step]))
    return best, {step * config.batch: loss for step, loss in losses.items()}


def _build(config: GuidanceConfig, arm: Arm, encoder: noisy_encoder.Encoder) -> Discriminator:
    options = HeadOptions(config.width, config.blocks, arm.net.label_dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(arm.seed, "guide weights"))
        head = Head(feature_channels(encoder.net, arm.dataset.image_shape), options)
    return Discriminator(encoder.net, head).to(arm.device)


def _stream(config: GuidanceConfig, arm: Arm, split: Split, kind: str, batch: int, step: int, stop: int) -> PairStream:
    """Coupled pairs of one kind alone; see the module for why reals and fakes share no pool."""
    return PairStream(
        split.to(arm.device),
        get(config.coupling),
        pool=config.pool,
        batch=batch,
        seed=derive(arm.seed, f"guide {kind}"),
        start_step=step,
        stop_step=stop,
    )


def _step(net: Discriminator, optimizer: torch.optim.Optimizer, real: Pairs, fake: Pairs, g: torch.Generator) -> None:
    sigma = draw_log_uniform_sigma(len(real.images) + len(fake.images), g).to(real.images.device)
    of_real, of_fake = sigma.split([len(real.images), len(fake.images)])
    x = torch.cat([_noisy(real, of_real), _noisy(fake, of_fake)])
    labels = _one_hot(torch.cat([real.labels, fake.labels]), net.label_dim, x.device)
    is_real = (torch.arange(len(x), device=x.device) < len(real.images)).float()
    loss = F.binary_cross_entropy_with_logits(net(x, sigma, labels), is_real)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _noisy(pairs: Pairs, sigma: Tensor) -> Tensor:
    return pairs.images + sigma[:, None, None, None] * pairs.noise


def _one_hot(labels: Tensor, label_dim: int, device: str | torch.device) -> Tensor | None:
    return F.one_hot(labels, label_dim).float().to(device) if label_dim else None


@dataclass(frozen=True)
class Logits:
    """Logits ``[n]`` of held-out reals and of as many fakes, and the sigma of both, float32 on the CPU."""

    real: Tensor
    fake: Tensor
    sigma: Tensor


@torch.no_grad()
def _judge(config: GuidanceConfig, arm: Arm, net: Discriminator, held: Sides, purpose: str) -> Logits:
    """Judge held-out images, noised as in training, at ln sigma ~ U over the guided window."""
    found: dict[str, list[Tensor]] = {"real": [], "fake": []}
    net, n = net.eval(), PROBE_POOLS * config.pool
    sigma = draw_log_uniform_sigma(n, generator(arm.seed, f"guide {purpose}"), *arm.guided)
    for kind, logits in found.items():
        split = getattr(held, kind)
        with _stream(config, arm, split, f"{purpose} {kind}", config.pool, 0, PROBE_POOLS) as stream:
            for number, pairs in enumerate(stream):
                of_pool = sigma[number * config.pool :][: config.pool].to(arm.device)
                labels = _one_hot(pairs.labels, net.label_dim, arm.device)
                logits.append(net(_noisy(pairs, of_pool), of_pool, labels).cpu())
    return Logits(torch.cat(found["real"]), torch.cat(found["fake"]), sigma)


def measure(config: GuidanceConfig, arm: Arm, net: Discriminator, held: Sides, split: str) -> list[Measurement]:
    """AUC, accuracy and calibration error over the guided window, and in bins of ln sigma, on held-out images.

    ``split`` names where the reals come from; ``sigma`` is a bin's geometric middle. With ``train`` they are the images
    that chose the checkpoint, with ``test``, images used neither for training nor for the choice.
    """
    logits = _judge(config, arm, net, held, f"measure {split}")
    edges = torch.logspace(*torch.tensor(arm.guided).log10().tolist(), BINS + 1)
    bins = torch.bucketize(logits.sigma, edges[1:-1])
    parts = [(None, torch.ones_like(bins, dtype=torch.bool))]
    parts += [(float((edges[k] * edges[k + 1]).sqrt()), bins == k) for k in range(BINS)]
    metrics = {"dg_auc": auc, "dg_accuracy": accuracy, "dg_calibration_error": calibration_error}
    return [
        Measurement(
            name, metric(logits.real[rows], logits.fake[rows]),
            guidance=config.name, split=split, n=int(rows.sum()), sigma=sigma,
        )
        for sigma, rows in parts if rows.any()
        for name, metric in metrics.items()
    ]  # fmt: skip


def _made_for(arm: Arm, encoder: noisy_encoder.Encoder) -> dict[str, object]:
    """What a discriminator goes with, from what a person would see first."""
    return {
        "version": VERSION,
        "images": list(arm.dataset.image_shape),
        "classes told": arm.net.label_dim,
        "data": arm.dataset.checksum,
        "denoiser": weights_digest(arm.net),
        "encoder": encoder.fingerprint,
        "seed": arm.seed,
        "sampling": arm.sampling,
    }


def _write(path: Path, arm: Arm, encoder: noisy_encoder.Encoder, **content: object) -> None:
    buffer = io.BytesIO()
    torch.save({"made_for": _made_for(arm, encoder), **content}, buffer)
    write_bytes(path, buffer.getvalue())


def _read(path: Path, arm: Arm, encoder: noisy_encoder.Encoder) -> dict | None:
    """The content of a file, None where there is none; raises GuideError where it is damaged or of another arm."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=arm.device, weights_only=True)
        found = content["made_for"]
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise GuideError(f"{path} cannot be read ({type(error).__name__}): delete it, it is trained again") from None
    for what, wanted in _made_for(arm, encoder).items():
        if found.get(what) != wanted:
            has, needs = (str(value)[:16] for value in (found.get(what), wanted))
            raise GuideError(f"{path} is of another {what} ({has}, not {needs}): move it away, a new one is trained")
    return content


def load_discriminator(path: Path, arm: Arm, encoder: noisy_encoder.Encoder) -> Trained:
    """A trained discriminator.

    Raises:
        GuideError: no such file, damaged, or made for another data set, resolution, conditioning, denoiser or encoder.

    """
    content = _read(path, arm, encoder)
    if content is None:
        raise GuideError(f"no discriminator {path}: train one first")
    head = Head(feature_channels(encoder.net, arm.dataset.image_shape), HeadOptions(**content["options"]))
    head.load_state_dict(content["head"])
    net = Discriminator(encoder.net, head).to(arm.device).eval().requires_grad_(False)
    return Trained(net, content["images"], content["losses"])

"""Read a released EDM or EDM-AOT network pickle without running anything in it, and store it as safetensors.

    python -m models.import_edm edm-cifar10-32x32-cond-vp.pkl cifar10.safetensors

``models.edm_pickle`` reads the objects; here they become one of ``models.networks`` with the released weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models import networks
from models.edm_pickle import ImportRefused, ModuleDict, PersistentObject, StoredTensor, unpickle
from models.precondition import EDMDenoiser

FORMAT, FORMAT_VERSION = "edm-denoiser", "1"


@dataclass(frozen=True)
class ReleasedNetwork:
    """A released network in this repo's terms.

    Attributes:
        arch: name of the builder in ``models.networks``.
        keywords: what that builder was called with.
        denoiser: the network with the released weights, float32, in eval mode.
        source: its classes in the pickle, outermost first.
        source_dtypes: what its weights were stored in.
        source_sha256: of the pickle file.

    """

    arch: str
    keywords: dict[str, Any]
    denoiser: EDMDenoiser
    source: str
    source_dtypes: tuple[str, ...]
    source_sha256: str


def _state(module: Any, name: str) -> dict:
    """A module's ``__dict__``, as stored."""
    if not isinstance(module, (PersistentObject, ModuleDict)) or type(getattr(module, "state", None)) is not dict:
        raise ImportRefused(f"{name!r} is no network module")
    return module.state


def _entries(state: dict, kind: str) -> dict[str, Any]:
    entries = state.get(kind, {})
    if type(entries) is not dict or not all(type(name) is str for name in entries):
        raise ImportRefused(f"{kind} is no dict of names")
    return {name: value for name, value in entries.items() if value is not None}


def _named_tensors(network: PersistentObject) -> dict[str, Tensor]:
    """The state dict: names joined with dots over nested modules, and the tensors as stored."""
    tensors, stack, seen = {}, [("", network)], set()
    while stack:
        prefix, module = stack.pop()
        if id(module) in seen:  # else a few lines could nest a module in itself, or 2^n times
            raise ImportRefused(f"module {prefix!r} occurs twice")
        seen.add(id(module))
        state = _state(module, prefix)
        for name, value in (_entries(state, "_parameters") | _entries(state, "_buffers")).items():
            if type(value) is not StoredTensor:
                raise ImportRefused(f"{prefix + name!r} is no tensor")
            tensors[prefix + name] = value.view
        stack += [(f"{prefix}{name}.", child) for name, child in _entries(state, "_modules").items()]
    return tensors


_SONG_DEFAULTS = {
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "channel_mult_emb": 4,
    "resample_filter": (1, 1),
}
_NCSNPP = {"embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2}
# The options that make a released class one of our networks (Karras et al. 2022, Table 7 and appendix F.1).
_FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "SongUNet": {
        "ddpmpp": _SONG_DEFAULTS,
        "ncsnpp": _SONG_DEFAULTS | _NCSNPP | {"resample_filter": (1, 3, 3, 1)},
    },
    "DhariwalUNet": {"adm": {"channel_mult_emb": 4}},
}
_SONG_KEYWORDS = {"model_channels": 128, "channel_mult": (1, 2, 2, 2), "num_blocks": 4, "attn_resolutions": (16,)}
_ADM_KEYWORDS = {
    "model_channels": 192,
    "channel_mult": (1, 2, 3, 4),
    "num_blocks": 3,
    "attn_resolutions": (32, 16, 8),
}
_KEYWORDS = {
    name: {"label_dim": 0, "augment_dim": 0, "dropout": 0.10} | own
    for name, own in (("SongUNet", _SONG_KEYWORDS), ("DhariwalUNet", _ADM_KEYWORDS))
}
# Without bearing on D(x; sigma) in float32 at evaluation.
_IGNORED = {"model_type", "use_fp16", "sigma_min", "sigma_max", "label_dropout"}
_ATTRIBUTES = ("img_resolution", "img_channels", "label_dim", "sigma_data")
# Bounds far above any real network, so that a hostile file cannot have a huge one built.
_LARGEST = {
    "img_resolution": 2**14,
    "img_channels": 2**14,
    "label_dim": 2**20,
    "augment_dim": 2**14,
    "model_channels": 2**14,
    "num_blocks": 64,
}


def _plain(name: str, value: Any) -> Any:
    """An option as a number, a word, or a tuple of at most 16 numbers; anything else is refused."""
    if type(value) in (list, tuple) and len(value) <= 16 and all(type(v) in (int, float) for v in value):
        return tuple(value)
    if type(value) in (int, float, bool) or (type(value) is str and len(value) <= 40):
        return value
    raise ImportRefused(f"option {name} is neither a number, a word nor a short list")


def _check_keywords(keywords: Mapping[str, Any], sigma_data: Any) -> None:
    for name, largest in _LARGEST.items():
        value, least = keywords.get(name), 0 if name in ("label_dim", "augment_dim") else 1
        if type(value) is not int or not least <= value <= largest:
            raise ImportRefused(f"{name} must be a whole number from {least} to {largest}")
    for name in ("channel_mult", "attn_resolutions"):
        value = keywords.get(name)
        if type(value) is not tuple or not all(type(v) is int and 0 < v <= 2**14 for v in value):
            raise ImportRefused(f"{name} must be a list of positive whole numbers")
    for name, value in (("dropout", keywords.get("dropout")), ("sigma_data", sigma_data)):
        if type(value) not in (int, float) or not 0 <= value < math.inf or (name == "dropout" and value >= 1):
            raise ImportRefused(f"{name} is out of range")
    if not sigma_data:
        raise ImportRefused("sigma_data must be positive")


def _translate(network: PersistentObject) -> tuple[str, str, dict[str, Any], float]:
    """The name in ``models.networks``, the class of the raw network, the keywords and sigma_data."""
    if network.class_name != "EDMPrecond":
        raise ImportRefused(
            f"the network is preconditioned by {network.class_name}; only EDMPrecond is supported, "
            "since models.precondition computes its c_skip, c_out, c_in and c_noise and no others"
        )
    state = _state(network, "ema")
    unet = _entries(state, "_modules").get("model")
    if type(unet) is not PersistentObject or unet.class_name not in _FAMILIES:
        found = unet.class_name if type(unet) is PersistentObject else "none"
        raise ImportRefused(f"its raw network is {found}; supported are {', '.join(_FAMILIES)}")
    raw = {name: state[name] for name in _ATTRIBUTES if name in state} | _entries(state, "_init_kwargs")
    options = {name: _plain(name, value) for name, value in raw.items() if name not in _IGNORED}
    sigma_data = options.pop("sigma_data", 0.5)
    arch, fixed = _find_family(unet.class_name, options)
    keywords = _KEYWORDS[unet.class_name] | {name: value for name, value in options.items() if name not in fixed}
    unknown = sorted(keywords.keys() - _KEYWORDS[unet.class_name].keys() - {"img_resolution", "img_channels"})
    if unknown:
        raise ImportRefused(f"{unet.class_name} has an option that models.networks.{arch} lacks: {unknown[0]}")
    _check_keywords(keywords, sigma_data)
    return arch, unet.class_name, keywords, float(sigma_data)


def _find_family(class_name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    families = _FAMILIES[class_name]
    defaults = next(iter(families.values()))
    chosen = defaults | {name: value for name, value in options.items() if name in defaults}
    for arch, fixed in families.items():
        if chosen == fixed:
            return arch, fixed
    raise ImportRefused(f"{class_name} with {chosen} is none of: {', '.join(families)}")


def _build(arch: str, keywords: Mapping[str, Any], sigma_data: float, tensors: Mapping[str, Tensor]) -> EDMDenoiser:
    """The network with exactly these tensors, as float32; what it needs is compared before anything is allocated."""
    try:
        with torch.device("meta"):  # no memory, and no draw from the global stream
            denoiser = getattr(networks, arch)(**keywords)
    except Exception as error:
        raise ImportRefused(f"the options make no network ({error})") from error
    denoiser.sigma_data = sigma_data
    expected = {name: tuple(value.shape) for name, value in denoiser.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for problem, names in (
        ("is missing", expected.keys() - found.keys()),
        ("is not in the network", found.keys() - expected.keys()),
        ("is not floating point", {name for name, value in tensors.items() if not value.is_floating_point()}),
    ):
        if names:
            raise ImportRefused(f"tensor {min(names)} {problem} ({len(names)} such)")
    for name, shape in expected.items():
        if found[name] != shape:
            raise ImportRefused(f"tensor {name} has shape {found[name]}, the network needs {shape}")
    copies = {name: value.to(torch.float32, copy=True).contiguous() for name, value in tensors.items()}
    _check_filters(copies, denoiser.model.family.style.resample_filter)
    denoiser.load_state_dict(copies, strict=True, assign=True)
    return denoiser.eval()


def _check_filters(tensors: Mapping[str, Tensor], taps: tuple[int, ...]) -> None:
    f = torch.tensor(taps, dtype=torch.float32, device="cpu")
    for name, value in tensors.items():
        # Box filters are computed by pooling, so another buffer of the same shape would go unnoticed.
        if name.endswith(".resample_filter") and not torch.allclose(value[0, 0], f.outer(f) / f.sum() ** 2):
            raise ImportRefused(f"tensor {name} is not the filter {list(taps)}")


def read_released(path: str | os.PathLike) -> ReleasedNetwork:
    """The EMA network of an official pickle; nothing in the pickle is executed.

    Raises:
        ImportRefused: no such file, no network pickle, or a network that ``models.networks`` cannot build.

    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImportRefused(f"no file {path}") from None
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read ({error.strerror})") from error
    snapshot = unpickle(data)
    ema = snapshot.get("ema") if type(snapshot) is dict else None
    if type(ema) is not PersistentObject:
        raise ImportRefused("the pickle holds no network under 'ema'; is it a snapshot of EDM or EDM-AOT?")
    arch, unet, keywords, sigma_data = _translate(ema)
    tensors = _named_tensors(ema)
    return ReleasedNetwork(
        arch=arch,
        keywords=keywords,
        denoiser=_build(arch, keywords, sigma_data, tensors),
        source=f"{ema.class_name}({unet})",
        source_dtypes=tuple(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})),
        source_sha256=hashlib.sha256(data).hexdigest(),
    )


def write_network(network: ReleasedNetwork, path: str | os.PathLike) -> None:
    """Write weights and metadata as safetensors, whole or not at all."""
    repeated = ("label_dim", "augment_dim", "img_resolution", "img_channels")
    metadata = {name: str(network.keywords[name]) for name in repeated} | {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "arch": network.arch,
        "keywords": json.dumps(network.keywords, sort_keys=True),
        "sigma_data": repr(network.denoiser.sigma_data),
        "source": network.source,
        "source_sha256": network.source_sha256,
    }
    _write_bytes(Path(path), save(network.denoiser.state_dict(), metadata))


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Made by the kernel with mode 0666 less the umask; files of `tempfile` are readable by their owner only.
        # The same function is in `bench.record`, for `models` imports no other package.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_network(path: str | os.PathLike) -> EDMDenoiser:
    """Rebuild the denoiser that ``write_network`` stored: float32, on the CPU, in eval mode.

    Raises:
        ImportRefused: no such file, or not of this format and version.

    """
    if not Path(path).exists():
        raise ImportRefused(f"no file {path}: write it with python -m models.import_edm PICKLE {path}")
    try:
        Path(path).open("rb").close()  # safetensors calls every file that it cannot open one that is missing
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, FORMAT_VERSION):
                raise ImportRefused(f"{path} is no {FORMAT} file of version {FORMAT_VERSION}: import the pickle anew")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        options = json.loads(metadata["keywords"])
        keywords = {name: _plain(name, value) for name, value in options.items()}
        arch, sigma_data = metadata["arch"], float(metadata["sigma_data"])
    except ImportRefused:
        raise
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read ({error.strerror}): make it readable") from error
    except (SafetensorError, KeyError, AttributeError, ValueError) as error:
        raise ImportRefused(f"{path} is damaged ({error}): import the pickle anew") from error
    if arch not in {name for families in _FAMILIES.values() for name in families}:
        raise ImportRefused(f"{path} has an unknown network {arch!r}")
    _check_keywords(keywords, sigma_data)
    return _build(arch, keywords, sigma_data, tensors)


def _summary(network: ReleasedNetwork) -> str:
    k, tensors = network.keywords, network.denoiser.state_dict()
    parameters = sum(p.numel() for p in network.denoiser.parameters())
    stored = ", ".join(network.source_dtypes)
    stored = stored if stored == "float32" else f"{stored} -> float32"
    return (
        f"found    {network.source} = {network.arch}, {k['img_resolution']} px, {k['img_channels']} channels, "
        f"label_dim {k['label_dim']}, augment_dim {k['augment_dim']}\n"
        f"weights  {parameters:,} parameters in {len(tensors)} tensors, {stored}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line: 0, or 2 with one line on stderr where the pickle is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m models.import_edm",
        description="Convert a released EDM or EDM-AOT network pickle to safetensors, running nothing inside it.",
        epilog="Example: python -m models.import_edm edm-cifar10-32x32-cond-vp.pkl cifar10.safetensors. "
        "Supported: EDM-preconditioned SongUNet (ddpmpp, ncsnpp) and DhariwalUNet (adm); the EMA weights are taken. "
        "In Python: models.import_edm.load_network('cifar10.safetensors')(x, sigma, labels). "
        "Mind the licence of the weights: the official ones are CC BY-NC-SA 4.0.",
    )
    parser.add_argument("pickle", metavar="PICKLE", type=Path, help="the released network, a .pkl file")
    parser.add_argument("out", metavar="OUT.safetensors", type=Path, help="where to write; replaced if it exists")
    args = parser.parse_args(argv)
    if args.out.suffix != ".safetensors":
        parser.error(f"OUT must end in .safetensors, not {args.out.name!r}")
    try:
        network = read_released(args.pickle)
        print(_summary(network), flush=True)
        write_network(network, args.out)
    except (ImportRefused, OSError) as error:
        print(f"{args.pickle}: {error}", file=sys.stderr)
        return 2
    print(f"wrote    {args.out} (source sha256 {network.source_sha256})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

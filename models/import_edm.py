"""Converts a released EDM or EDM-AOT network pickle to safetensors, running nothing in it.

    python -m models.import_edm edm-cifar10-32x32-cond-vp.pkl cifar10.safetensors

``models.released.edm_pickle`` reads the objects; here they become one of ``models.networks`` with
the released weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from models.denoiser import Denoiser
from models.edm import edm_denoiser
from models.objectives.edm import EDM
from models.released.edm_pickle import ImportRefused, PersistentObject, unpickle
from models.released.translate import ARCHS, check_keywords, named_tensors, plain, translate
from models.unet.unet import UNet

FORMAT = "edm-denoiser"
FORMAT_VERSION = "1"
_ZIP = b"PK\x03\x04"  # how archives of torch.save begin


@dataclass(frozen=True)
class ReleasedNetwork:
    """A released network in this repository's terms.

    Attributes:
        arch: name in ``models.networks``.
        keywords: arguments of its ``build``.
        denoiser: the network with the released weights, float32, in eval mode.
        source: its classes in the pickle, outermost first.
        source_dtypes: dtypes that its weights were stored in.
        source_sha256: of the pickle file.

    """

    arch: str
    keywords: dict[str, Any]
    denoiser: Denoiser
    source: str
    source_dtypes: tuple[str, ...]
    source_sha256: str


def _build(
    arch: str, keywords: Mapping[str, Any], sigma_data: float, tensors: Mapping[str, Tensor]
) -> Denoiser:
    """Build the network with exactly these tensors, as float32."""
    try:
        # Without memory, and without a draw from the global stream: a hostile file may ask for a
        # huge network, and the shapes are compared first.
        with torch.device("meta"):
            denoiser = edm_denoiser(arch, objective=EDM(sigma_data=sigma_data), **keywords)
    except Exception as error:
        raise ImportRefused(f"no network can be built with its options ({error})") from error
    _check_tensors(denoiser, tensors)
    # Copies: stored tensors may be expanded views, or share their memory.
    copies = {}
    for name, value in tensors.items():
        copies[name] = value.to(torch.float32, copy=True).contiguous()
    _check_filters(copies, cast(UNet, denoiser.model).family.style.resample_filter)
    denoiser.load_state_dict(copies, strict=True, assign=True)
    return denoiser.eval()


def _check_tensors(denoiser: Denoiser, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors other than those of the network, before anything is allocated."""
    expected = {name: tuple(value.shape) for name, value in denoiser.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    whole = {name for name, value in tensors.items() if not value.is_floating_point()}
    problems = {
        "is missing": expected.keys() - given.keys(),
        "is not in the network": given.keys() - expected.keys(),
        "is not floating point": whole,
    }
    for problem, names in problems.items():
        if names:
            raise ImportRefused(f"tensor {min(names)} {problem} ({len(names)} such)")
    for name, shape in expected.items():
        if given[name] != shape:
            raise ImportRefused(f"tensor {name} has shape {given[name]}, the network needs {shape}")


def _check_filters(tensors: Mapping[str, Tensor], taps: tuple[int, ...]) -> None:
    """Refuse resampling filters that the network would not apply.

    Box filters are computed by pooling, so another buffer of the same shape would go unnoticed.
    """
    line = torch.tensor(taps, dtype=torch.float32, device="cpu")
    square = line.outer(line) / line.sum() ** 2
    for name, value in tensors.items():
        if name.endswith(".resample_filter") and not torch.allclose(value[0, 0], square):
            raise ImportRefused(f"tensor {name} is not the filter {list(taps)}")


def read_released(path: str | os.PathLike) -> ReleasedNetwork:
    """Read the EMA network of an official pickle; nothing in the pickle is executed.

    Raises:
        ImportRefused: no such file, no network pickle, or a network that ``models.networks`` cannot
            build.

    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImportRefused(f"no file {path}") from None
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read ({error.strerror})") from error
    if data.startswith(_ZIP):
        raise ImportRefused(
            "an archive of torch.save, not one of EDM's network pickles; evaluate weights of your"
            " own with python -m bench.run --from-checkpoint FILE --arch my_project.net:Net"
        )
    snapshot = unpickle(data)
    ema = snapshot.get("ema") if type(snapshot) is dict else None
    if type(ema) is not PersistentObject:
        raise ImportRefused(
            "the pickle holds no network under 'ema'; is it a snapshot of EDM or EDM-AOT?"
        )
    # The moving average only: it is what the papers sample with.
    arch, unet, keywords, sigma_data = translate(ema)
    tensors = named_tensors(ema)
    dtypes = {str(value.dtype).removeprefix("torch.") for value in tensors.values()}
    return ReleasedNetwork(
        arch=arch,
        keywords=keywords,
        denoiser=_build(arch, keywords, sigma_data, tensors),
        source=f"{ema.class_name}({unet})",
        source_dtypes=tuple(sorted(dtypes)),
        source_sha256=hashlib.sha256(data).hexdigest(),
    )


def write_network(network: ReleasedNetwork, path: str | os.PathLike) -> None:
    """Write weights and metadata as safetensors, whole or not at all."""
    from safetensors.torch import save

    sigma_data = cast(EDM, network.denoiser.objective).sigma_data
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "arch": network.arch,
        "keywords": json.dumps(network.keywords, sort_keys=True),
        "sigma_data": repr(sigma_data),
        "source": network.source,
        "source_sha256": network.source_sha256,
    }
    # Also one by one, for people and tools that look at the header of the file.
    for name in ("label_dim", "augment_dim", "img_resolution", "img_channels"):
        metadata[name] = str(network.keywords[name])
    _write_bytes(Path(path), save(network.denoiser.state_dict(), metadata))


def _write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random, so that two processes may write the same file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Made by the kernel with mode 0666 less the umask; files of `tempfile` are readable by
        # their owner only. `bench.record` has the same function: `models` imports no other
        # package.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Atomic on one file system, which a name in the same folder ensures.
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_network(path: str | os.PathLike) -> Denoiser:
    """Rebuild the denoiser that ``write_network`` stored: float32, on the CPU, in eval mode.

    Raises:
        ImportRefused: no such file, or not of this format and version.

    """
    from safetensors import SafetensorError

    if not Path(path).exists():
        raise ImportRefused(
            f"no file {path}: write it with python -m models.import_edm PICKLE {path}"
        )
    try:
        metadata, tensors = _read(path)
        options = json.loads(metadata["keywords"])
        keywords = {name: plain(name, value) for name, value in options.items()}
        arch = metadata["arch"]
        sigma_data = float(metadata["sigma_data"])
    except ImportRefused:
        raise
    except OSError as error:
        raise ImportRefused(
            f"{path} cannot be read ({error.strerror}): make it readable"
        ) from error
    except (SafetensorError, KeyError, AttributeError, ValueError) as error:
        raise ImportRefused(f"{path} is damaged ({error}): import the pickle again") from error
    # The name becomes that of a module, so only known ones are tried.
    if arch not in ARCHS:
        raise ImportRefused(f"{path} has an unknown network {arch!r}")
    check_keywords(keywords, sigma_data)
    return _build(arch, keywords, sigma_data, tensors)


def is_network_file(path: str | os.PathLike) -> bool:
    """True for a file of ``write_network``, also of another version or a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        # Other tools write this suffix too, but their files can be opened.
        return Path(path).suffix == ".safetensors"


def _read(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read metadata and tensors of a file of this format."""
    from safetensors import safe_open

    # Safetensors reports every file that it cannot open as missing: open it here first.
    Path(path).open("rb").close()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        version = (metadata.get("format"), metadata.get("format_version"))
        if version != (FORMAT, FORMAT_VERSION):
            raise ImportRefused(
                f"{path} is not an {FORMAT} file of version {FORMAT_VERSION}: import the pickle"
                " again"
            )
        names = list(file.keys())  # the file itself is no mapping
        return metadata, {name: file.get_tensor(name) for name in names}


def _summary(network: ReleasedNetwork) -> str:
    keywords = network.keywords
    tensors = network.denoiser.state_dict()
    parameters = sum(p.numel() for p in network.denoiser.parameters())
    # Released weights are often float16: say that they are converted.
    stored = ", ".join(network.source_dtypes)
    if stored != "float32":
        stored += " -> float32"
    size = f"{keywords['img_resolution']} px, {keywords['img_channels']} channels"
    labels = f"label_dim {keywords['label_dim']}, augment_dim {keywords['augment_dim']}"
    return (
        f"found    {network.source} = {network.arch}, {size}, {labels}\n"
        f"weights  {parameters:,} parameters in {len(tensors)} tensors, {stored}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line: 0, or 2 with one line on stderr if the pickle is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m models.import_edm",
        description=(
            "Convert a released EDM or EDM-AOT network pickle to safetensors, running nothing"
            " inside it."
        ),
        epilog=(
            "Example: python -m models.import_edm edm-cifar10-32x32-cond-vp.pkl"
            " cifar10.safetensors. Supported: EDM-preconditioned SongUNet (ddpmpp, ncsnpp) and"
            " DhariwalUNet (adm); the EMA weights are taken. In Python:"
            " models.import_edm.load_network('cifar10.safetensors')(x, sigma, labels). Mind the"
            " licence of the weights: the official ones are CC BY-NC-SA 4.0."
        ),
    )
    parser.add_argument(
        "pickle", metavar="PICKLE", type=Path, help="the released network, a .pkl file"
    )
    parser.add_argument(
        "out", metavar="OUT.safetensors", type=Path, help="where to write; replaced if it exists"
    )
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
    except ModuleNotFoundError as error:
        from couplings.extras import hint

        print(f"error: {hint(error) or error}", file=sys.stderr)
        return 2
    print(f"wrote    {args.out} (source sha256 {network.source_sha256})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

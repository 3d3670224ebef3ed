"""Translates a released network's class, keywords and tensors into this package's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.released.edm_pickle import ImportRefused, ModuleDict, PersistentObject, StoredTensor

_SONG_DEFAULTS = {
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "channel_mult_emb": 4,
    "resample_filter": (1, 1),
}
_NCSNPP = {"embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2}
# The options that make a released class one of our networks (Karras et al. 2022, Table 7 and
# appendix F.1).
_FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "SongUNet": {
        "ddpmpp": _SONG_DEFAULTS,
        "ncsnpp": _SONG_DEFAULTS | _NCSNPP | {"resample_filter": (1, 3, 3, 1)},
    },
    "DhariwalUNet": {"adm": {"channel_mult_emb": 4}},
}
_SONG_KEYWORDS = {
    "model_channels": 128,
    "channel_mult": (1, 2, 2, 2),
    "num_blocks": 4,
    "attn_resolutions": (16,),
}
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


def _state(module: Any, name: str) -> dict:
    """A module's ``__dict__``, as stored."""
    if (
        not isinstance(module, (PersistentObject, ModuleDict))
        or type(getattr(module, "state", None)) is not dict
    ):
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
        stack += [
            (f"{prefix}{name}.", child) for name, child in _entries(state, "_modules").items()
        ]
    return tensors


def _plain(name: str, value: Any) -> Any:
    """An option as a number, a word, or a tuple of at most 16 numbers; anything else is refused."""
    if (
        type(value) in (list, tuple)
        and len(value) <= 16
        and all(type(v) in (int, float) for v in value)
    ):
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
        if (
            type(value) not in (int, float)
            or not 0 <= value < math.inf
            or (name == "dropout" and value >= 1)
        ):
            raise ImportRefused(f"{name} is out of range")
    if not sigma_data:
        raise ImportRefused("sigma_data must be positive")


def _translate(network: PersistentObject) -> tuple[str, str, dict[str, Any], float]:
    """The name in ``models.networks``, the class of the raw network, the keywords and
    sigma_data.
    """
    if network.class_name != "EDMPrecond":
        raise ImportRefused(
            f"the network is preconditioned by {network.class_name}; only EDMPrecond is supported, "
            "since models.objectives.edm computes its c_skip, c_out, c_in and c_noise and no others"
        )
    state = _state(network, "ema")
    unet = _entries(state, "_modules").get("model")
    if type(unet) is not PersistentObject or unet.class_name not in _FAMILIES:
        found = unet.class_name if type(unet) is PersistentObject else "none"
        raise ImportRefused(f"its raw network is {found}; supported are {', '.join(_FAMILIES)}")
    raw = {name: state[name] for name in _ATTRIBUTES if name in state} | _entries(
        state, "_init_kwargs"
    )
    options = {name: _plain(name, value) for name, value in raw.items() if name not in _IGNORED}
    sigma_data = options.pop("sigma_data", 0.5)
    arch, fixed = _find_family(unet.class_name, options)
    keywords = _KEYWORDS[unet.class_name] | {
        name: value for name, value in options.items() if name not in fixed
    }
    unknown = sorted(
        keywords.keys() - _KEYWORDS[unet.class_name].keys() - {"img_resolution", "img_channels"}
    )
    if unknown:
        raise ImportRefused(
            f"{unet.class_name} has an option that models.networks.{arch} lacks: {unknown[0]}"
        )
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

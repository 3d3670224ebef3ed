"""Translates a released network's class, keywords and tensors into this package's terms.

A file may come from anyone, so nothing in it is taken for granted: neither types nor sizes.
"""

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
# Options that make a released class one of our networks (Karras et al. 2022, Table 7, App. F.1).
# Ours have these values built in, so a class with others is refused.
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
_SHARED_KEYWORDS = {"label_dim": 0, "augment_dim": 0, "dropout": 0.10}
# Defaults of the released classes: a pickle only has the options that were given.
_KEYWORDS = {
    "SongUNet": _SHARED_KEYWORDS | _SONG_KEYWORDS,
    "DhariwalUNet": _SHARED_KEYWORDS | _ADM_KEYWORDS,
}
ARCHS = ("ddpmpp", "ncsnpp", "adm")  # of models.networks that a released network may become
# Without effect on D(x; sigma) in float32 at evaluation.
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
    """Give a module's ``__dict__``, as stored."""
    known = isinstance(module, (PersistentObject, ModuleDict))
    # By type, not isinstance: a subclass could have methods of its own.
    if not known or type(getattr(module, "state", None)) is not dict:
        raise ImportRefused(f"{name!r} is not a network module")
    return module.state


def _entries(state: dict, kind: str) -> dict[str, Any]:
    entries = state.get(kind, {})
    if type(entries) is not dict or not all(type(name) is str for name in entries):
        raise ImportRefused(f"{kind} is not a dict of names")
    # Layers without a bias are stored with None.
    return {name: value for name, value in entries.items() if value is not None}


def named_tensors(network: PersistentObject) -> dict[str, Tensor]:
    """Collect the state dict: names joined with dots over nested modules, tensors as stored.

    Raises:
        ImportRefused: something else than modules and tensors, or a module that occurs twice.

    """
    tensors = {}
    seen = set()
    # A stack, not recursion: a file could nest modules beyond Python's limit.
    stack = [("", network)]
    while stack:
        prefix, module = stack.pop()
        # A few lines could nest a module in itself, or 2^n times.
        if id(module) in seen:
            raise ImportRefused(f"module {prefix!r} occurs twice")
        seen.add(id(module))
        state = _state(module, prefix)
        values = _entries(state, "_parameters") | _entries(state, "_buffers")
        for name, value in values.items():
            if type(value) is not StoredTensor:
                raise ImportRefused(f"{prefix + name!r} is not a tensor")
            tensors[prefix + name] = value.view
        for name, child in _entries(state, "_modules").items():
            stack.append((f"{prefix}{name}.", child))
    return tensors


def plain(name: str, value: Any) -> Any:
    """Read an option: a number, a word, or a tuple of at most 16 numbers.

    Raises:
        ImportRefused: anything else.

    """
    is_list = type(value) in (list, tuple) and len(value) <= 16
    if is_list and all(type(item) in (int, float) for item in value):
        return tuple(value)
    is_word = type(value) is str and len(value) <= 40
    if is_word or type(value) in (int, float, bool):
        return value
    raise ImportRefused(f"option {name} is neither a number, a word nor a short list")


def check_keywords(keywords: Mapping[str, Any], sigma_data: Any) -> None:
    """Refuse options of a type or size that no network has.

    Raises:
        ImportRefused: naming the option.

    """
    for name, largest in _LARGEST.items():
        least = 0 if name in ("label_dim", "augment_dim") else 1
        value = keywords.get(name)
        # True is an int to isinstance, but no number of channels.
        if type(value) is not int or not least <= value <= largest:
            raise ImportRefused(f"{name} must be a whole number from {least} to {largest}")
    for name in ("channel_mult", "attn_resolutions"):
        value = keywords.get(name)
        if type(value) is not tuple or not all(map(_is_width, value)):
            raise ImportRefused(f"{name} must be a list of positive whole numbers")
    dropout = keywords.get("dropout")
    if not _is_share(dropout) or dropout >= 1:
        raise ImportRefused("dropout is out of range")
    if not _is_share(sigma_data):
        raise ImportRefused("sigma_data is out of range")
    if not sigma_data:
        raise ImportRefused("sigma_data must be positive")


def _is_width(value: Any) -> bool:
    return type(value) is int and 0 < value <= 2**14


def _is_share(value: Any) -> bool:
    """True for a finite number of 0 or above."""
    return type(value) in (int, float) and 0 <= value < math.inf


def translate(network: PersistentObject) -> tuple[str, str, dict[str, Any], float]:
    """Translate a network's classes and options.

    Returns:
        the name in ``models.networks``, the class of the raw network, the keywords of ``build``
        and sigma_data.

    Raises:
        ImportRefused: another preconditioning or class, or options that ours lack.

    """
    # Other coefficients around the same weights would sample noise, without an error.
    if network.class_name != "EDMPrecond":
        raise ImportRefused(
            f"the network is preconditioned by {network.class_name}; only EDMPrecond is supported, "
            "since models.objectives.edm computes its c_skip, c_out, c_in and c_noise and no others"
        )
    state = _state(network, "ema")
    unet = _entries(state, "_modules").get("model")
    if type(unet) is not PersistentObject or unet.class_name not in _FAMILIES:
        class_name = unet.class_name if type(unet) is PersistentObject else "none"
        supported = ", ".join(_FAMILIES)
        raise ImportRefused(f"its raw network is {class_name}; supported are {supported}")
    options = _options(state)
    sigma_data = options.pop("sigma_data", 0.5)
    arch, fixed = _find_family(unet.class_name, options)
    defaults = _KEYWORDS[unet.class_name]
    given = {name: value for name, value in options.items() if name not in fixed}
    keywords = defaults | given
    unknown = sorted(keywords.keys() - defaults.keys() - {"img_resolution", "img_channels"})
    # An option that we ignored could change what the network computes.
    if unknown:
        raise ImportRefused(
            f"{unet.class_name} has an option that models.networks.{arch} lacks: {unknown[0]}"
        )
    check_keywords(keywords, sigma_data)
    return arch, unet.class_name, keywords, float(sigma_data)


def _options(state: dict) -> dict[str, Any]:
    """Read the options of a network: its attributes, and the arguments that it was made with."""
    raw = {name: state[name] for name in _ATTRIBUTES if name in state}
    raw |= _entries(state, "_init_kwargs")
    return {name: plain(name, value) for name, value in raw.items() if name not in _IGNORED}


def _find_family(class_name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    families = _FAMILIES[class_name]
    # The first family has the defaults of the released class.
    defaults = next(iter(families.values()))
    chosen = defaults | {name: value for name, value in options.items() if name in defaults}
    for arch, fixed in families.items():
        if chosen == fixed:
            return arch, fixed
    raise ImportRefused(f"{class_name} with {chosen} is none of: {', '.join(families)}")

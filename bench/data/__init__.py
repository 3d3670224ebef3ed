"""Data sets. One file, one data set: ``bench/data/<name>.py`` holds SHAPE, CLASSES and ``load``.

>>> from bench.data import load, names
>>> digits = load("digits")
>>> digits.train.images.shape                  # [n, c, h, w]
torch.Size([1437, 1, 8, 8])
"""

from bench.data._decoded import DecodedImages
from bench.data._decoder import Decoder, decoded, load_decoder, noted
from bench.data._description import announce, describe
from bench.data._script import ScriptError, read_script
from bench.data._stored import StoredImages, in_parts
from bench.data.contract import (
    GAUSSIAN,
    OWN_DATA,
    OWN_IMAGES,
    DataError,
    Dataset,
    Origin,
    Split,
    as_images,
    check_resolution,
    check_source,
    find,
    is_users_own,
    load,
    names,
    plain_name,
    stated,
)

__all__ = [
    "GAUSSIAN",
    "OWN_DATA",
    "OWN_IMAGES",
    "DataError",
    "Dataset",
    "DecodedImages",
    "Decoder",
    "Origin",
    "ScriptError",
    "Split",
    "StoredImages",
    "announce",
    "as_images",
    "check_resolution",
    "check_source",
    "decoded",
    "describe",
    "find",
    "in_parts",
    "is_users_own",
    "load",
    "load_decoder",
    "names",
    "noted",
    "plain_name",
    "read_script",
    "stated",
]

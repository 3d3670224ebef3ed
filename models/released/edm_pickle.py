"""Reads the objects of a released network pickle without running anything in it.

A pickle is a program. This reader admits the dozen names that a network pickle needs, and replaces
each by a function that only records its arguments; any other name ends the reading. Source text
inside the pickle is never run.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class ImportRefused(ValueError):
    """The file is no network that can be imported; the message is one printable line."""

    def __init__(self, message: str):
        # Messages quote the file, which could hold control characters of a terminal.
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else "?" for c in line)[:400])


# Stand-ins for the objects of a pickle. Named tuples have neither __dict__ nor __setstate__: a
# pickle cannot alter them.


class _Storage(NamedTuple):
    flat: Tensor  # [numel]


class StoredTensor(NamedTuple):
    """A tensor or parameter; the view may be expanded, so check its shape before copying it."""

    view: Tensor


class PersistentObject(NamedTuple):
    """An object of one of the pickle's own classes: the class's name and its ``__dict__``."""

    class_name: str
    state: dict


class ModuleDict:
    """State of a ``torch.nn.ModuleDict``.

    A class, not a function: pickles build one without calling it and then set its state.
    """

    __slots__ = ("state",)

    def __setstate__(self, state: dict):
        self.state = state


class _NumpyDtype:
    __slots__ = ("code",)

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        # Object arrays and records could hold anything.
        if not re.fullmatch(r"[fiu][248]|[iub]1", code):
            raise ImportRefused(f"numpy.dtype of {code[:20]!r}: only plain numbers are admitted")
        self.code = code

    def __setstate__(self, state: tuple):
        if state[1] not in ("<", "|"):
            raise ImportRefused("numpy.dtype with a byte order other than little-endian")


def _rebuild_object(meta: dict) -> PersistentObject:
    class_name = meta["class_name"]
    state = meta["state"]
    if meta["type"] != "class" or type(class_name) is not str or type(state) is not dict:
        raise ImportRefused("a persistent object without a class name and a state")
    # The source text, meta["module_src"], is dropped.
    return PersistentObject(class_name, state)


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    size: tuple,
    stride: tuple,
    requires_grad: bool = False,
    hooks: Mapping | None = None,
) -> StoredTensor:
    # Hooks would be code.
    if type(storage) is not _Storage or hooks:
        raise ImportRefused("a tensor without a storage, or with hooks")
    # This checks the bounds: size and offset are the file's.
    return StoredTensor(torch.as_strided(storage.flat, size, stride, offset))


def _rebuild_parameter(data: StoredTensor, requires_grad: bool, hooks: Mapping) -> StoredTensor:
    if type(data) is not StoredTensor or hooks:
        raise ImportRefused("a parameter that is not a tensor, or has hooks")
    return data


def _load_storage(blob: bytes) -> _Storage:
    """Load the storage in a nested file of torch's legacy format.

    Its zip format, which begins with PK, could be a decompression bomb.
    """
    if type(blob) is not bytes or blob.startswith(b"PK"):
        raise ImportRefused(
            "torch.storage._load_from_bytes of something other than torch's legacy format"
        )
    try:
        # ``weights_only`` admits tensors and storages, and raises at any other name.
        storage = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except Exception as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"names {named[1]}" if named else "cannot be read"
        raise ImportRefused(f"a blob in torch.storage._load_from_bytes {what}") from error
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ImportRefused(
            "a blob in torch.storage._load_from_bytes holds something other than a storage"
        )
    return _Storage(torch.empty(0, dtype=storage.dtype, device="cpu").set_(storage))


def _float_storage(values: list) -> _Storage:
    numbers = [float(value) for value in values]
    return _Storage(torch.tensor(numbers, dtype=torch.float32, device="cpu"))


def _numpy_scalar(dtype: _NumpyDtype, data: bytes) -> int | float | bool:
    if type(dtype) is not _NumpyDtype:
        raise ImportRefused("a numpy scalar without a dtype")
    return np.frombuffer(data, dtype=dtype.code).reshape(()).item()


# Every name that a network pickle may call, and the stand-in for it.
_CALLABLES: dict[str, Callable] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _rebuild_object,
    "collections.OrderedDict": dict,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # before torch 0.4
    "torch.storage._load_from_bytes": _load_storage,
    "torch.FloatStorage": _float_storage,  # before torch 0.4
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,  # since numpy 2
    "numpy.dtype": _NumpyDtype,
}
_MODULE_DICT = "torch.nn.modules.container.ModuleDict"


class _Callable(NamedTuple):
    """An admitted name, as the pickle gets it: it can be called, and nothing else."""

    name: str

    def __call__(self, *args):
        try:
            return _CALLABLES[self.name](*args)
        except ImportRefused:
            raise
        except Exception as error:
            # The arguments are the file's: a stand-in may fail on them in any way.
            raise ImportRefused(
                f"{self.name} is called with arguments that make no sense"
            ) from error


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        full = f"{module}.{name}"
        if full == _MODULE_DICT:
            return ModuleDict
        if full in _CALLABLES:
            return _Callable(full)
        raise ImportRefused(
            f"the pickle names {full}, which no network pickle needs; nothing was run"
        )

    def persistent_load(self, pid: Any):
        # Such references are to files next to the pickle, or to whatever a loader makes of them.
        raise ImportRefused(
            "the pickle refers to objects outside it (a file of torch.save?); nothing was run"
        )


def _check_opcodes(data: bytes) -> None:
    """Walk the opcodes without executing them: lengths must fit the file, memo slots be dense.

    The unpickler allocates as much as a length or a slot number claims, before it reads the data.
    """
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
            # Each opcode fills one slot at most, so an honest number is below the count.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and arg > count:
                raise ImportRefused(f"the pickle claims memo slot {arg} at its opcode {count}")
    except ImportRefused:
        raise
    except Exception as error:
        raise ImportRefused(f"damaged, or not a pickle ({error})") from error


def unpickle(data: bytes) -> Any:
    """Read the object in a pickle: plain values and containers, stand-ins for everything else.

    Raises:
        ImportRefused: damaged, or it names something that no network pickle needs; nothing was run.

    """
    _check_opcodes(data)
    try:
        return _Reader(io.BytesIO(data)).load()
    except ImportRefused:
        raise
    except Exception as error:
        raise ImportRefused(
            f"the pickle cannot be read ({type(error).__name__}: {error})"
        ) from error

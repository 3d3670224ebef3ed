"""A device that is simulated: tensors of the device "meta" that hold their values after all.

Every operation computes on the CPU, so numbers are those of the CPU, but the device of each tensor
is watched as CUDA does it: operands of two devices are an error, and only ``.to``, ``.cpu`` and
``copy_`` cross over. That finds a missing ``.to(device)`` on a machine without any GPU. Waits for
the device are counted: values that Python reads, results whose size depends on values, and copies
that are not ``non_blocking``.
"""

from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = "meta"
aten = torch.ops.aten
CROSSING = {aten._to_copy.default, aten.copy_.default}
# CUDA too takes indices from the CPU.
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}

# Python gets a number or a truth value, or the size of the result depends on the values.
READING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
}


class DeviceMismatch(RuntimeError):
    """Operands of two devices."""


class Away(torch.Tensor):
    """A tensor of the simulated device; ``here`` are its values."""

    @staticmethod
    def __new__(cls, here):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
        )

    def __init__(self, here):
        self.here = here

    def __repr__(self):
        return f"Away({self.here})"

    # Code takes the way that it takes for CUDA.
    is_cuda = True

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {}, [])


def compute(func, args, kwargs, waits):
    """The operation on the CPU, after a look at the devices of its operands."""
    flat = tree_flatten((args, kwargs))[0]
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    away = [value for value in tensors if isinstance(value, Away)]
    # A plain number in a tensor may come from the CPU, as with CUDA.
    here = [value for value in tensors if not isinstance(value, Away) and value.dim()]
    may_mix = func in CROSSING or (func in INDEXED and isinstance(args[0], Away))
    if away and here and not may_mix:
        raise DeviceMismatch(f"{func}: operands on the CPU and on the device")
    device = kwargs.get("device")
    target = torch.device(device).type if device is not None else None
    drawn = isinstance(kwargs.get("generator"), torch.Generator)
    if target == DEVICE and drawn:
        raise DeviceMismatch(f"{func}: a generator of the CPU draws on the device")
    if _waits(func, args, kwargs, bool(away), target):
        waits.append(str(func))
    plain = {key: value for key, value in kwargs.items() if key != "device"}
    if device is not None:
        plain["device"] = "cpu"
    unwrap = lambda value: value.here if isinstance(value, Away) else value  # noqa: E731
    out = func(*tree_map(unwrap, args), **tree_map(unwrap, plain))
    is_away = target == DEVICE if target else bool(away)
    if func is aten.copy_.default:
        is_away = isinstance(args[0], Away)
    if not is_away:
        return out
    wrap = lambda value: Away(value) if isinstance(value, torch.Tensor) else value  # noqa: E731
    return return_and_correct_aliasing(func, args, kwargs, tree_map(wrap, out))


def _waits(func, args, kwargs, away, target):
    """True if Python waits for the device at this operation, as with CUDA."""
    if func is aten._to_copy.default:
        # A copy to memory that is not pinned waits whatever it is asked to do.
        arrives = not away and target == DEVICE and not kwargs.get("non_blocking")
        return arrives or (away and target == "cpu")
    if func is aten.copy_.default:
        crosses = isinstance(args[0], Away) != isinstance(args[1], Away)
        return crosses and not (isinstance(args[0], Away) and any(args[2:]))
    if func in INDEXED and away:
        # The number of rows that a mask chooses is known to the device only.
        masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
        return bool(masks)
    return away and func in READING


class _Dispatch(TorchDispatchMode):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {}, self.waits)


class _Literals(TorchFunctionMode):
    """Numbers of Python, which torch would drop on this device, go there from the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        literal = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor)
        if literal and device is not None and torch.device(device).type == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func is torch.Tensor.tolist:
            return args[0].to("cpu").tolist()
        return func(*args, **kwargs)


@contextmanager
def elsewhere():
    """A block with the device; yields the list of the operations that waited for it."""
    waits = []
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    # Autocast, which is off in all that runs here, and fused Adam ask for real devices.
    with (
        mock.patch("torch.autocast", return_value=nullcontext()),
        mock.patch(fused, return_value=[DEVICE, "cpu"]),
        _Literals(),
        _Dispatch(waits),
    ):
        yield waits

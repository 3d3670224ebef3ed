import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
import torch

from models.released import edm_pickle
from models.released.edm_pickle import ImportRefused, StoredTensor, unpickle


class Call:
    """Pickles as a call of function with args."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def name(full: str) -> bytes:
    """The opcode that pushes a global."""
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def storage_blob(values: torch.Tensor) -> bytes:
    """What a plain pickle of a tensor hands to torch.storage._load_from_bytes."""
    blobs = [
        arg
        for opcode, arg, _ in pickletools.genops(pickle.dumps(values))
        if "BINBYTES" in opcode.name
    ]
    assert len(blobs) == 1
    return blobs[0]


def refused(data: bytes) -> str:
    with pytest.raises(ImportRefused) as caught:
        unpickle(data)
    message = str(caught.value)
    assert message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reads_tensors_parameters_and_numpy_scalars(dtype, protocol):
    weight = torch.arange(12.0).to(dtype).reshape(3, 4)
    stored = {
        "p": torch.nn.Parameter(weight),
        "view": weight.T[1:],
        "scalar": np.float64(0.5),
        "flag": np.bool_(True),
    }
    data = pickle.dumps(stored, protocol)
    read = unpickle(data)
    for key in ("p", "view"):
        assert type(read[key]) is StoredTensor
        assert read[key].view.dtype == dtype
        assert torch.equal(read[key].view, stored[key])
    assert (read["scalar"], read["flag"]) == (0.5, True)
    assert type(read["scalar"]) is float


def test_reads_names_of_numpy_before_2():
    assert (
        unpickle(pickle.dumps(np.float32(0.25), 3).replace(b"numpy._core", b"numpy.core")) == 0.25
    )


def test_reads_storages_saved_on_a_gpu_or_listed_as_floats():
    blob = storage_blob(torch.arange(3.0))
    on_gpu = blob.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
    assert on_gpu != blob
    stored = Call(torch.storage._load_from_bytes, on_gpu)
    data = pickle.dumps(Call(torch._utils._rebuild_tensor_v2, stored, 1, (2,), (1,), False, {}))
    assert torch.equal(unpickle(data).view, torch.tensor([1.0, 2.0]))
    listed = (
        name("torch._utils._rebuild_tensor")
        + b"("
        + name("torch.FloatStorage")
        + b"((lF1.5\naF2.5\natR"
    )
    assert torch.equal(unpickle(listed + b"I0\n(I2\nt(I1\nttR.").view, torch.tensor([1.5, 2.5]))


@pytest.mark.parametrize(
    "target", [os.system, eval, exec, __import__, open, np.load, np.frombuffer, torch.load, getattr]
)
def test_refuses_a_name_that_is_not_admitted_and_says_which(target, tmp_path):
    canary = tmp_path / "canary"
    message = refused(pickle.dumps({"ema": Call(target, f"touch {canary}")}))
    assert f"{target.__module__}.{target.__name__}" in message
    assert not canary.exists()


@pytest.mark.parametrize(
    "full",
    [
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch.serialization.load",
        "collections.deque",
        "os",
    ],
)
def test_refuses_near_misses_of_the_admitted_names(full):
    assert full in refused(name(f"{full}.x") + b".")
    assert "collections.OrderedDict.fromkeys" in refused(
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."
    )


@pytest.mark.parametrize("full", sorted(edm_pickle._CALLABLES))
@pytest.mark.parametrize(
    "args", [b"(S'x'\nt", b"(I1\nI2\nI3\nI4\nI5\nI6\nI7\nI8\nt", b"((lp0\nNNNNNt"]
)
def test_refuses_an_admitted_name_with_wrong_arguments(full, args):
    assert refused(name(full) + args + b"R.")


@pytest.mark.parametrize("full", [*sorted(edm_pickle._CALLABLES), edm_pickle._MODULE_DICT])
@pytest.mark.parametrize(
    "state", [b"}S'name'\nI1\ns", b"N}S'__class__'\nI1\ns\x86", b"}S'__code__'\nI1\ns"]
)
def test_a_pickle_cannot_set_attributes_of_what_it_names(full, state):
    assert refused(name(full) + state + b"b.")


def test_a_pickle_cannot_set_attributes_of_a_tensor():
    assert refused(pickle.dumps(torch.ones(3), 3)[:-1] + b"}X\x04\0\0\0viewK\x01sb.")


@pytest.mark.parametrize("zipped", [False, True])
def test_refuses_a_hostile_blob_inside_a_storage(zipped, tmp_path):
    canary, blob = tmp_path / "canary", io.BytesIO()
    torch.save(Call(os.system, f"touch {canary}"), blob, _use_new_zipfile_serialization=zipped)
    message = refused(pickle.dumps(Call(torch.storage._load_from_bytes, blob.getvalue())))
    assert "legacy format" in message if zipped else "posix.system" in message
    assert not canary.exists()


def test_refuses_a_blob_that_is_no_storage():
    for content in (torch.ones(3), {"a": 1}, "text"):
        blob = io.BytesIO()
        torch.save(content, blob, _use_new_zipfile_serialization=False)
        assert "other than a storage" in refused(
            pickle.dumps(Call(torch.storage._load_from_bytes, blob.getvalue()))
        )


def test_refuses_lengths_that_the_file_does_not_hold():
    huge = struct.pack("<Q", 1 << 45)
    for opcode in (b"\x8e", b"\x8d", b"\x96"):  # BINBYTES8, BINUNICODE8, BYTEARRAY8
        assert "damaged" in refused(b"\x80\x05" + opcode + huge + b"x.")
    assert refused(b"\x80\x04\x95" + huge + b"N.")  # FRAME
    # The unpickler would reserve 64 GB
    assert "memo slot 4294967295" in refused(b"\x80\x02Nr\xff\xff\xff\xff.")


def test_refuses_a_storage_larger_than_its_bytes():
    blob = storage_blob(torch.ones(77))
    # K and M: a byte of 77
    lying = blob.replace(b"KM", b"\x8a\x06" + (1 << 45).to_bytes(6, "little"), 1)
    assert lying != blob
    assert "cannot be read" in refused(pickle.dumps(Call(torch.storage._load_from_bytes, lying)))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (4,), (1,)), (2, (2,), (1,)), (-1, (1,), (1,)), (0, (2**62, 4), (0, 0))],
)
def test_refuses_a_tensor_beyond_its_storage(offset, size, stride):
    stored = Call(torch.storage._load_from_bytes, storage_blob(torch.ones(3)))
    data = pickle.dumps(
        Call(torch._utils._rebuild_tensor_v2, stored, offset, size, stride, False, {})
    )
    assert "_rebuild_tensor_v2" in refused(data)


def test_refuses_hooks_and_other_byte_orders():
    stored = Call(torch.storage._load_from_bytes, storage_blob(torch.ones(3)))
    hooked = Call(torch._utils._rebuild_tensor_v2, stored, 0, (3,), (1,), False, {"hook": 1})
    assert "hooks" in refused(pickle.dumps(hooked))
    assert "hooks" in refused(
        pickle.dumps(Call(torch._utils._rebuild_parameter, torch.ones(3), True, {"hook": 1}))
    )
    assert "byte order" in refused(pickle.dumps(np.dtype(">f8")))
    assert "only plain numbers" in refused(pickle.dumps(np.dtype("O")))


@pytest.mark.parametrize("keep", [0, 1, 20, 200, -1])
def test_refuses_a_truncated_file(keep):
    assert "damaged" in refused(pickle.dumps({"ema": torch.ones(50)})[:keep])


@pytest.mark.parametrize(
    "data", [b"hello world, no pickle", b"\x89PNG\r\n\x1a\n", b"\0" * 100, b"PK\x03\x04rest"]
)
def test_refuses_what_is_not_a_pickle(data):
    assert refused(data)


def test_message_of_a_hostile_name_is_one_clean_line():
    message = refused(b"\x80\x04\x8c\x03a\nb\x8c\x08\x1b[31m\r\nx\x93.")
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) <= 400

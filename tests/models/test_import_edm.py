import hashlib
import json
import os
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from models import edm as networks
from models import import_edm
from models.import_edm import ImportRefused, load_network, read_released
from models.objectives.edm import EDM

SONG = {
    "model_type": "SongUNet",
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "resample_filter": [1, 1],
}
RELEASED = {  # the words of the released classes for what models.networks calls by one name
    "ddpmpp": SONG,
    "ncsnpp": (
        SONG
        | {
            "embedding_type": "fourier",
            "encoder_type": "residual",
            "channel_mult_noise": 2,
            "resample_filter": [1, 3, 3, 1],
        }
    ),
    "adm": {"model_type": "DhariwalUNet"},
}
SIZES = {
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
    "dropout": 0.13,
}
SHAPE = {"img_resolution": 8, "img_channels": 3, "label_dim": 3, "augment_dim": 9}


class Persistent:
    """Pickles as an object of a persistent class does."""

    def __init__(self, class_name: str, state: dict, source: str = ""):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@pytest.fixture(autouse=True)
def _persistence(monkeypatch):
    """The module that the pickles name, while they are written."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the pickle was executed")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", package)
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


def persist(module: nn.Module, class_name: str, source: str = "", **attributes):
    """The module as the released code would pickle it."""
    children = {
        name: persist(child, {"model": "SongUNet"}.get(name, type(child).__name__), source)
        for name, child in module._modules.items()
        if child is not None
    }
    if isinstance(module, nn.ModuleDict):
        container = nn.ModuleDict()
        container._modules.update(children)
        return container
    state = {
        "training": False,
        "_parameters": module._parameters,
        "_buffers": module._buffers,
        "_modules": children,
        "skip_scale": np.sqrt(0.5),
    }
    return Persistent(class_name, state | attributes, source)


def small(arch: str, **options):
    return getattr(networks, arch)(**SHAPE | SIZES | options)


def snapshot(
    net, arch: str, *, class_name: str = "EDMPrecond", source: str = "", **options
) -> dict:
    kwargs = SHAPE | SIZES | RELEASED[arch] | {"use_fp16": False} | options
    ema = persist(
        net,
        class_name,
        source,
        _init_args=(),
        _init_kwargs=kwargs,
        sigma_data=0.5,
        sigma_max=float("inf"),
    )
    ema.meta["state"]["_modules"]["model"].meta["class_name"] = RELEASED[arch]["model_type"]
    loss = Persistent("EDMLoss", {"P_mean": -1.2, "_init_kwargs": {}})
    return {
        "ema": ema,
        "loss_fn": loss,
        "augment_pipe": None,
        "dataset_kwargs": {"path": "cifar10.zip"},
    }


@pytest.fixture
def convert(tmp_path, capsys):
    """Write the content as a pickle, run the command, return its exit code, the file it writes and
    what it printed.
    """

    def run(content):
        source, out = tmp_path / "network.pkl", tmp_path / "network.safetensors"
        source.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
        return import_edm.main([str(source), str(out)]), out, capsys.readouterr()

    return run


@pytest.fixture
def refusal(convert, tmp_path):
    """The one line with which the content is refused; nothing else may have happened."""

    def run(content) -> str:
        code, _, printed = convert(content)
        assert code == 2
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["network.pkl"]
        return printed.err

    return run


def assert_same_denoiser(first, second, seeded):
    x = torch.randn(3, 3, 8, 8, generator=seeded())
    sigma, labels = torch.tensor([0.01, 1.0, 60.0]), torch.eye(3)
    augment = torch.randn(3, 9, generator=seeded(1))
    with torch.no_grad():
        assert torch.equal(first(x, sigma, labels, augment), second(x, sigma, labels, augment))
        assert torch.equal(first(x, sigma), second(x, sigma))


@pytest.mark.parametrize("arch", RELEASED)
def test_round_trip_computes_the_same(arch, convert, scramble, seeded):
    options = {"model_channels": 64} if arch == "adm" else {}  # attends from 64 channels on
    net = scramble(small(arch, **options)).eval()
    before = torch.get_rng_state()
    code, out, printed = convert(snapshot(net, arch, **options))
    assert (code, printed.err) == (0, "")
    loaded = load_network(out)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_denoiser(net, loaded, seeded)
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in printed.out
    assert arch in printed.out
    assert str(out) in printed.out


def test_metadata_says_what_the_file_is(convert, scramble, tmp_path):
    _, out, _ = convert(snapshot(scramble(small("ncsnpp")), "ncsnpp"))
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    keywords = json.loads(metadata.pop("keywords"))
    assert keywords == SHAPE | SIZES
    assert metadata == {
        "format": "edm-denoiser",
        "format_version": "1",
        "arch": "ncsnpp",
        "sigma_data": "0.5",
        "source": "EDMPrecond(SongUNet)",
        "source_sha256": hashlib.sha256((tmp_path / "network.pkl").read_bytes()).hexdigest(),
        "label_dim": "3",
        "augment_dim": "9",
        "img_resolution": "8",
        "img_channels": "3",
    }


def test_options_left_out_are_those_of_the_released_classes_and_numpy_numbers_count(
    convert, scramble, seeded
):
    options = {
        "model_channels": 16,
        "channel_mult": (1, 2, 2, 2),
        "num_blocks": 1,
        "attn_resolutions": (16,),
        "dropout": 0.1,
    }
    net = scramble(networks.ddpmpp(8, 3, 3, 9, **options)).eval()
    content = snapshot(net, "ddpmpp")
    state = content["ema"].meta["state"]
    state |= {name: SHAPE[name] for name in ("img_resolution", "img_channels", "label_dim")} | {
        "sigma_data": np.float64(0.25)
    }
    kwargs = {
        "model_type": "SongUNet",
        "model_channels": np.int64(16),
        "num_blocks": 1,
        "augment_dim": 9,
    }
    state["_init_kwargs"] = kwargs
    code, out, _ = convert(content)
    assert code == 0
    loaded = load_network(out)
    assert loaded.objective.sigma_data == 0.25
    net.objective = EDM(sigma_data=0.25)
    assert_same_denoiser(net, loaded, seeded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_become_float32(dtype, convert, scramble, seeded):
    net = scramble(small("ddpmpp")).to(dtype)
    code, out, printed = convert(snapshot(net, "ddpmpp"))
    assert code == 0
    assert f"{str(dtype).removeprefix('torch.')} -> float32" in printed.out
    assert {value.dtype for value in load_file(out).values()} == {torch.float32}
    assert_same_denoiser(net.float().eval(), load_network(out).eval(), seeded)


def test_source_text_is_never_run(convert, tmp_path):
    canary = tmp_path / "canary"
    code, _, _ = convert(
        snapshot(small("ddpmpp"), "ddpmpp", source=f"open({str(canary)!r}, 'w').close()\n1/0")
    )
    assert code == 0
    assert not canary.exists()


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen", "integer", "filter"])
def test_state_dict_must_fit_exactly(change, refusal):
    net = small("ddpmpp")
    layer, name, words = net.model.map_layer0, "model.map_layer0.bias", "is missing"
    if change == "missing":
        del layer._parameters["bias"]
    elif change == "extra":
        layer.register_buffer("gain", torch.ones(2))
        name, words = "model.map_layer0.gain", "is not in the network"
    elif change == "misshapen":
        layer.bias = nn.Parameter(torch.ones(5))
        words = "has shape (5,), the network needs (64,)"
    elif change == "integer":
        del layer._parameters["bias"]
        layer.register_buffer("bias", torch.ones(64, dtype=torch.int64))
        words = "is not floating point"
    else:
        net.model.enc["4x4_down"].conv0.resample_filter *= 2
        name, words = "model.enc.4x4_down.conv0.resample_filter", "is not the filter [1, 1]"
    assert f"tensor {name} {words}" in refusal(snapshot(net, "ddpmpp"))


@pytest.mark.parametrize("class_name", ["VPPrecond", "VEPrecond", "iDDPMPrecond"])
def test_other_preconditionings_are_refused_by_name(class_name, refusal):
    message = refusal(snapshot(small("ddpmpp"), "ddpmpp", class_name=class_name))
    assert f"preconditioned by {class_name}; only EDMPrecond is supported, since" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder_type": "skip"}, "'encoder_type': 'skip'"),
        ({"embedding_type": "fourier"}, "none of: ddpmpp, ncsnpp"),
        ({"channel_mult_emb": 2}, "none of: ddpmpp, ncsnpp"),
        (
            {"attention_kind": "linear"},
            "an option that models.networks.ddpmpp lacks: attention_kind",
        ),
        ({"img_resolution": 9}, "no network can be built"),
        ({"label_dim": None, "img_channels": "three"}, "img_channels must be a whole number"),
        ({"dropout": 1.5}, "dropout is out of range"),
        ({"sigma_data": 0}, "sigma_data must be positive"),
        ({"channel_mult": [[1]]}, "channel_mult is neither"),
        ({"model_channels": 10**9}, "model_channels must be a whole number from 1 to"),
        ({"num_blocks": 10**9}, "num_blocks must be a whole number from 1 to 64"),
        ({"model_channels": 2**14}, "has shape"),
    ],
)
def test_options_that_make_no_network_here_are_refused(options, words, refusal):
    assert words in refusal(snapshot(small("ddpmpp"), "ddpmpp", **options))


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], {"ema": {"a": torch.ones(2)}}, None])
def test_a_pickle_without_a_network_is_refused(content, refusal):
    assert "no network under 'ema'" in refusal(content)


def test_modules_nested_in_themselves_are_refused(refusal):
    content = snapshot(small("ddpmpp"), "ddpmpp")
    modules = content["ema"].meta["state"]["_modules"]
    modules["again"] = modules["model"]
    assert "occurs twice" in refusal(content)


def test_a_small_file_cannot_claim_a_huge_tensor(refusal):
    net = small("ddpmpp")
    net.model.map_layer0.weight = nn.Parameter(torch.ones(1).expand(2**20, 2**30))
    assert "tensor model.map_layer0.weight has shape" in refusal(snapshot(net, "ddpmpp"))


class Hostile:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["top", "loss_fn", "attribute", "weights"])
@pytest.mark.parametrize(
    ("function", "command", "named"),
    [(os.system, "touch '{}'", "posix.system"), (eval, "open('{}', 'w').close()", "builtins.eval")],
)
def test_a_hostile_pickle_is_refused_wherever_it_strikes(
    where, function, command, named, refusal, tmp_path
):
    hostile = Hostile(function, command.format(tmp_path / "canary"))
    pickle.loads(pickle.dumps(hostile))  # it does bite
    (tmp_path / "canary").unlink()
    content = snapshot(small("ddpmpp"), "ddpmpp")
    state = content["ema"].meta["state"]
    match where:
        case "top":
            content = hostile
        case "loss_fn":
            content["loss_fn"] = hostile
        case "attribute":
            state["anything"] = hostile
        case "weights":
            state["_parameters"] = {"w": hostile}
    assert named in refusal(content)  # which also lists the folder: no canary


def test_damaged_files_are_refused(refusal):
    data = pickle.dumps(snapshot(small("ddpmpp"), "ddpmpp"))
    assert "damaged, or not a pickle" in refusal(data[: len(data) // 2])
    assert "damaged, or not a pickle" in refusal(b"<html>404 not found</html>")


def test_absent_file_and_wrong_suffix(tmp_path, capsys):
    assert import_edm.main([str(tmp_path / "none.pkl"), str(tmp_path / "out.safetensors")]) == 2
    assert "no file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        import_edm.main([str(tmp_path / "none.pkl"), str(tmp_path / "out.pt")])
    assert "must end in .safetensors" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600)])
def test_a_network_has_the_mode_that_the_umask_leaves(convert, umask, mode):
    before = os.umask(umask)
    try:
        _, out, _ = convert(snapshot(small("ddpmpp"), "ddpmpp"))
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == mode


def test_a_file_that_cannot_be_read_is_not_called_missing(tmp_path):
    with pytest.raises(ImportRefused, match="Is a directory"):
        load_network(tmp_path)
    with pytest.raises(ImportRefused, match="Is a directory"):
        import_edm.read_released(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(convert, tmp_path, monkeypatch):
    content = snapshot(small("ddpmpp"), "ddpmpp")
    _, out, _ = convert(content)
    old = out.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    code, _, printed = convert(content)
    assert code == 2
    assert "disk full" in printed.err
    assert out.read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "network.pkl",
        "network.safetensors",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "is not an edm-denoiser file"),
        ({"format_version": "2"}, "is not an edm-denoiser file of version 1"),
        ({"keywords": "{"}, "is damaged"),
        ({"keywords": "[]"}, "is damaged"),
        ({"keywords": json.dumps(SHAPE | SIZES | {"num_blocks": 10**9})}, "num_blocks"),
        ({"keywords": json.dumps(SHAPE | SIZES | {"depth": 1})}, "no network can be built"),
        (
            {"keywords": json.dumps(SHAPE | SIZES | {"label_dim": 4})},
            "tensor model.map_label.weight has shape",
        ),
        ({"sigma_data": "half"}, "is damaged"),
        ({"arch": "EDMDenoiser"}, "unknown network 'EDMDenoiser'"),
    ],
)
def test_load_refuses_what_it_did_not_write(change, words, convert, tmp_path):
    _, out, _ = convert(snapshot(small("ddpmpp"), "ddpmpp"))
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata() | change
    other = tmp_path / "other.safetensors"
    save_file(load_file(out), other, metadata)
    with pytest.raises(ImportRefused, match="^[^\n]*$") as caught:
        load_network(other)
    assert words in str(caught.value)


def test_load_refuses_other_files(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ImportRefused, match="write it with python -m models.import_edm"):
        load_network(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(ImportRefused, match="is damaged"):
        load_network(path)


def test_an_archive_of_torch_save_is_told_apart(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ImportRefused, match=r"archive of torch.save.*--from-checkpoint"):
        read_released(path)


def test_read_released_names_the_family(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps(snapshot(small("adm"), "adm")))
    network = read_released(path)
    assert (network.arch, network.source, network.source_dtypes) == (
        "adm",
        "EDMPrecond(DhariwalUNet)",
        ("float32",),
    )


def test_help_teaches():
    run = subprocess.run(
        [sys.executable, "-m", "models.import_edm", "--help"], capture_output=True, text=True
    )
    assert run.returncode == 0
    for words in ("PICKLE", "OUT.safetensors", "Example:", "load_network"):
        assert words in run.stdout

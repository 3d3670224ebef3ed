import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.data import Dataset, Split, as_images
from bench.features import FeatureError, load, load_all


class Means(nn.Module):
    """Two features that can be worked out by hand: the mean, and the number of pixels."""

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), torch.full_like(flat[:, 0], float(flat.shape[1]))], 1)


class WithState(nn.Module):
    """Dropout and batch statistics, which only a network in training uses."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class Spatial(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


class Doubles(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double()


class ThreeChannels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).flatten(1)


def saved(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        torch.jit.script(net).save(str(path))
    return path


@pytest.fixture
def dataset() -> Dataset:
    g = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(256, (9, 1, 4, 4), generator=g).to(torch.uint8), torch.arange(9) % 2
    )
    return Dataset("toy", split, split, num_classes=2)


def test_features_are_the_networks_and_named_by_the_file(dataset, tmp_path):
    path = saved(Means(), tmp_path / "my-net.pt")
    features = load(f"torchscript:path={path}", dataset, tmp_path / "cache", "cpu")
    images = as_images(dataset.train.images)
    assert (features.name, features.size, features.slow) == ("my-net", 2, True)
    assert features.fingerprint == f"torchscript-{hashlib.sha256(path.read_bytes()).hexdigest()}"
    expected = torch.stack([images.mean((1, 2, 3)), torch.full((9,), 16.0)], 1)
    torch.testing.assert_close(features.extract(images), expected)


def test_images_are_resized_on_demand_and_the_fingerprint_says_so(dataset, tmp_path):
    path = saved(Means(), tmp_path / "net.pt")
    plain, larger, smaller = (
        load(f"torchscript:path={path}{size}", dataset, tmp_path, "cpu")
        for size in ("", ",size=8", ",size=1")
    )
    images = as_images(dataset.train.images)
    assert larger.extract(images)[:, 1].unique().item() == 64
    assert smaller.extract(images)[:, 1].unique().item() == 1
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 1
    # All pixels take part on the way down: this is what antialiasing is for
    assert smaller.extract(corner)[0, 0] > 0
    assert len({plain.fingerprint, larger.fingerprint, smaller.fingerprint}) == 3


def test_the_network_does_not_train(dataset, tmp_path):
    torch.manual_seed(0)
    net = WithState()
    features = load(f"torchscript:path={saved(net, tmp_path / 'net.pt')}", dataset, tmp_path, "cpu")
    images = as_images(dataset.train.images)
    found = features.extract(images)
    assert not found.requires_grad
    torch.testing.assert_close(found, net.eval()(images).detach())
    torch.testing.assert_close(features.extract(images[:1]), found[:1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("inception", "'inception' means another thing here: give another name=NAME"),
        ("pixels", "'pixels' means another thing here"),
        ("fid", "'fid' means another thing here"),
        ("infinity_net", "lower case, digits and dashes: give name=infinity-net"),
        ("My Net.v2", "give name=my-net-v2"),
        ("-", "give name=my-net"),
    ],
)
def test_names_that_would_mislead_are_refused_as_options_and_as_files(
    name, message, dataset, tmp_path
):
    file, other = saved(Means(), tmp_path / f"{name}.pt"), saved(Means(), tmp_path / "net.pt")
    for spec in (f"torchscript:path={file}", f"torchscript:path={other},name={name}"):
        with pytest.raises(FeatureError, match=message):
            load(spec, dataset, tmp_path, "cpu")
    assert load(f"torchscript:path={file},name=net-2", dataset, tmp_path, "cpu").name == "net-2"


def test_two_files_of_one_name_are_refused(dataset, tmp_path):
    (tmp_path / "b").mkdir()
    a, b = (
        f"torchscript:path={saved(Means(), tmp_path / file)}" for file in ("net.pt", "b/net.pt")
    )
    with pytest.raises(FeatureError, match="the name 'net' is taken"):
        load_all([a, b], dataset, tmp_path, "cpu")
    assert [f.name for f in load_all([a, f"{b},name=net-b"], dataset, tmp_path, "cpu")] == [
        "net",
        "net-b",
    ]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            Spatial(),
            (
                r"returns torch.float32 \[2, 1, 4, 4\], wanted are float32 features \[n, d\]:"
                r" average or flatten"
            ),
        ),
        (Pair(), "returns tuple, wanted"),
        (Doubles(), "returns torch.float64"),
        (
            ThreeChannels(),
            r"cannot take images \[2, 1, 4, 4\] \(.*3 channels.*\): prepare them in the script",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused_in_one_line(net, message, dataset, tmp_path):
    with pytest.raises(FeatureError, match=message) as caught:
        load(f"torchscript:path={saved(net, tmp_path / 'net.pt')}", dataset, tmp_path, "cpu")
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_network_are_refused(dataset, tmp_path):
    (tmp_path / "net.pt").write_bytes(b"PK no")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "state.pt")
    for spec, message in (
        ("torchscript", "which file\\? torchscript:path=PATH"),
        (f"torchscript:path={tmp_path}/none.pt", "none.pt cannot be read .No such file"),
        (f"torchscript:path={tmp_path}/net.pt", "net.pt is not a TorchScript file"),
        (f"torchscript:path={tmp_path}/state.pt", "state.pt is not a TorchScript file"),
        (f"torchscript:path={tmp_path}/net.pt,size=0", "size=0: at least 1 pixel"),
    ):
        with pytest.raises(FeatureError, match=message) as caught:
            load(spec, dataset, tmp_path, "cpu")
        assert "\n" not in str(caught.value)

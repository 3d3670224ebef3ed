import hashlib
import io
import re
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from bench import features as package
from bench.data import as_images
from bench.features import FeatureError, inception, load

OFFICIAL = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class Answer(io.BytesIO):
    """What a server sends, without saying how long it is."""

    def info(self):
        return Message()


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A file that passes for the official one."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"weights").hexdigest())
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """Where torch.hub keeps what it fetched."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints" / inception.FILE


def test_the_expected_weights_are_the_official_ones():
    assert inception.SHA256 == OFFICIAL
    # Torch.hub's convention
    assert re.search(r"-([0-9a-f]{8})\.pth$", inception.FILE).group(1) == OFFICIAL[:8]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_given_8_bits_of_three_channels(
    channels, weights, make_toy, tmp_path, fake_fidelity, monkeypatch
):
    monkeypatch.setattr(package, "BATCH", 4)
    dataset, net = make_toy(channels), fake_fidelity["inceptionv3"]
    features = load(f"inception:weights={weights}", dataset, tmp_path, "cpu")
    assert (features.name, features.size, features.slow) == ("inception", 2048, True)
    assert features.fingerprint == f"inception-{inception.SHA256}-torch-fidelity-9.9"
    assert net.made == [("inception-v3-compat", ["2048"], str(weights))]
    images = dataset.train.images
    found = features.extract(as_images(images))
    assert torch.equal(torch.cat(net.seen), images.expand(-1, 3, -1, -1))
    assert [len(batch) for batch in net.seen] == [4, 4, 1]
    torch.testing.assert_close(
        found, images.flatten(1).float().mean(1, keepdim=True).expand(-1, 2048)
    )


def test_other_weights_are_refused_before_they_are_opened(
    weights, make_toy, tmp_path, fake_fidelity
):
    weights.write_bytes(b"others")
    expected, found = inception.SHA256, hashlib.sha256(b"others").hexdigest()
    with pytest.raises(
        FeatureError, match=f"weights.pth .* expected sha256 {expected}, found {found}; "
    ) as caught:
        load(f"inception:weights={weights}", make_toy(), tmp_path, "cpu")
    assert "\n" not in str(caught.value)
    assert fake_fidelity["inceptionv3"].made == []


def test_a_missing_file_is_named(make_toy, tmp_path, fake_fidelity):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FeatureError, match=f"inception: {path} cannot be read"):
            load(f"inception:weights={path}", make_toy(), tmp_path, "cpu")


def test_without_a_path_the_weights_are_fetched_once_and_checked(
    weights, hub, make_toy, tmp_path, fake_fidelity, monkeypatch
):
    fetched = []

    def urlopen(request):
        fetched.append(request.full_url)
        return Answer(b"weights")

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    for _ in range(2):
        load("inception", make_toy(), tmp_path, "cpu")
    assert fetched == ["https://example.org/weights.pth"]
    assert hub.read_bytes() == b"weights"
    assert [path for _, _, path in fake_fidelity["inceptionv3"].made] == [str(hub)] * 2
    hub.write_bytes(b"damaged")
    with pytest.raises(FeatureError, match="expected sha256"):
        load("inception", make_toy(), tmp_path, "cpu")


def test_a_download_of_something_else_is_not_kept(
    hub, make_toy, tmp_path, fake_fidelity, monkeypatch
):
    def fetch(url, path, hash_prefix, progress):
        assert hash_prefix == OFFICIAL
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(
        FeatureError, match="cannot be fetched .invalid hash value.: .*inception:weights=PATH"
    ):
        load("inception", make_toy(), tmp_path, "cpu")


def test_without_a_network_the_error_says_where_the_weights_belong(
    hub, make_toy, tmp_path, fake_fidelity, monkeypatch
):
    def urlopen(request):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    with pytest.raises(FeatureError) as caught:
        load("inception", make_toy(), tmp_path, "cpu")
    message = str(caught.value)
    assert "no network" in message
    assert "inception:weights=PATH" in message
    assert str(hub) in message
    assert "\n" not in message
    assert not list(hub.parent.iterdir())


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    """Inception's own architecture with random weights, from a seed, and the file they are saved
    in.
    """
    module = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="needs the extra [fid]"
    )
    net_class, path = (
        module.FeatureExtractorInceptionV3,
        tmp_path_factory.mktemp("weights") / "random.pth",
    )
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(net_class, "load_state_dict", lambda self, state: None)
        net = net_class("inception-v3-compat", ["2048"])
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28)])
def test_features_are_those_of_torch_fidelity_called_directly(
    channels, side, random_weights, make_toy, tmp_path, monkeypatch
):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setattr(
        inception, "SHA256", hashlib.sha256(random_weights.read_bytes()).hexdigest()
    )
    dataset = make_toy(channels, side=side)
    features = load(f"inception:weights={random_weights}", dataset, tmp_path, "cpu")
    images = dataset.train.images[:3]
    found = features.extract(as_images(images))
    direct = FeatureExtractorInceptionV3(
        "any", ["2048"], feature_extractor_weights_path=str(random_weights)
    )
    assert found.shape == (3, features.size) == (3, 2048)
    assert not found.requires_grad
    assert torch.equal(found, direct(images.expand(-1, 3, -1, -1).contiguous())[0])
    assert found.std(0).max() > 0

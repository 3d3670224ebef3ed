from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench.data import as_images
from bench.features import FeatureError, load


def test_the_network_is_given_8_bits_of_three_channels(make_toy, tmp_path, fake_fidelity):
    dataset, net = make_toy(1), fake_fidelity["dinov2"]
    features = load("dinov2", dataset, tmp_path, "cpu")
    assert (features.name, features.size, features.slow) == ("dinov2", 1024, True)
    assert net.made == [("dinov2-vit-l-14", ["dinov2"], None)]
    images = dataset.train.images
    assert features.extract(as_images(images)).shape == (len(images), 1024)
    assert torch.equal(torch.cat(net.seen), images.expand(-1, 3, -1, -1))


def test_the_fingerprint_is_that_of_weights_and_library(
    make_toy, tmp_path, fake_fidelity, monkeypatch
):
    first = load("dinov2", make_toy(), tmp_path, "cpu").fingerprint
    assert first == load("dinov2", make_toy(), tmp_path, "cpu").fingerprint
    assert first.endswith("-torch-fidelity-9.9")
    plain = fake_fidelity["dinov2"].__init__

    def other_weights(self, *args):
        plain(self, *args)
        self.weight[1] = 2

    monkeypatch.setattr(fake_fidelity["dinov2"], "__init__", other_weights)
    assert load("dinov2", make_toy(), tmp_path, "cpu").fingerprint != first


def test_without_a_network_the_error_says_what_to_copy(
    make_toy, tmp_path, fake_fidelity, monkeypatch
):
    def fail(*_):
        raise URLError("no network\nat all")

    monkeypatch.setattr(fake_fidelity["dinov2"], "__init__", fail)
    with pytest.raises(
        FeatureError, match="DINOv2 cannot be fetched .*no network.*copy "
    ) as caught:
        load("dinov2", make_toy(), tmp_path, "cpu")
    assert "\n" not in str(caught.value)


class Small(nn.Module):
    """In the place of ViT-L/14: as many features of an image of the same size."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 7 * 7, 1024)

    def forward(self, images):
        assert images.shape[1:] == (3, 224, 224)
        return self.layer(F.avg_pool2d(images, 32).flatten(1))


def test_features_are_those_of_torch_fidelity_called_directly(make_toy, tmp_path, monkeypatch):
    module = pytest.importorskip(
        "torch_fidelity.feature_extractor_dinov2", reason="needs the extra [fid]"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Small()
    monkeypatch.setattr(torch.hub, "load", lambda repo, model: {"dinov2_vitl14": net}[model])
    dataset = make_toy(3, side=32)
    features = load("dinov2", dataset, tmp_path, "cpu")
    images = dataset.train.images
    direct = module.FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    assert torch.equal(features.extract(as_images(images)), direct(images)[0])

import sys

import pytest
import torch

from bench.data import as_images
from bench.features import FeatureError, load
from bench.features._fidelity import to_bytes


def test_what_was_8_bits_comes_back_unchanged():
    levels = torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_bytes(as_images(levels)), levels.expand(1, 3, 16, 16))


def test_values_are_rounded_and_clipped():
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0, 0.49 / 127.5, -0.51 / 127.5]).reshape(
        1, 1, 1, 7
    )
    assert to_bytes(images)[0, 0, 0].tolist() == [0, 0, 128, 255, 255, 128, 127]


def test_colours_keep_their_order():
    images = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    assert torch.equal(to_bytes(images), (images * 127.5 + 128).clamp(0, 255).to(torch.uint8))


@pytest.mark.parametrize("spec", ["inception", "dinov2"])
class TestBoth:
    def test_without_torch_fidelity_the_error_says_how_to_get_it(
        self, spec, make_toy, tmp_path, monkeypatch
    ):
        for name in [name for name in sys.modules if name.startswith("torch_fidelity")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as if it were not installed
        with pytest.raises(FeatureError, match=r"pip install .*\[fid\]'") as caught:
            load(spec, make_toy(), tmp_path, "cpu")
        assert "\n" not in str(caught.value)

    def test_a_torchvision_of_another_build_is_named_as_the_cause(
        self, spec, make_toy, tmp_path, monkeypatch
    ):
        def fail(name):
            raise RuntimeError("operator torchvision::nms does not exist\nand more")

        monkeypatch.setattr("bench.features._fidelity.import_module", fail)
        with pytest.raises(
            FeatureError, match=r"torchvision::nms.*the torchvision of the same build"
        ) as caught:
            load(spec, make_toy(), tmp_path, "cpu")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("shape", [{"channels": 2}, {"channels": 3, "bounded": False}])
    def test_what_is_no_picture_is_refused(self, spec, shape, make_toy, tmp_path, fake_fidelity):
        with pytest.raises(
            FeatureError,
            match=f"{spec} takes pictures of 1 or 3 channels, toy has none: leave {spec} out",
        ):
            load(spec, make_toy(**shape), tmp_path, "cpu")

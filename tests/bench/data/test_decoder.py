"""Decoders of latents: what metrics see, what is refused, and a run measured with one."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.check import check, make
from bench.config import ConfigError
from bench.config.decoder import check_decoder
from bench.data import DataError, Dataset, Split, decoded, load_decoder, noted
from bench.features import pixels
from bench.metrics.contract import FeatureSpace
from bench.record import RunFolder
from bench.run import main

G = torch.Generator().manual_seed(0)
LATENTS = torch.randn(150, 4, 2, 2, generator=G)


class Doubled(nn.Module):
    """The first three channels at twice the size, scaled: images that can be worked out by hand."""

    def __init__(self, by: float = 0.2):
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3) * self.by


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) / 5


class Lost(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:1] / 5


class Wide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :1] / 5


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 127.5 * x + 127.5


class Bytes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.uint8)


class NotFinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x / 5).log()


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.rand_like(x)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class OtherChannels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def saved(net, path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        torch.jit.script(net).save(str(path))
    return path


def of(latents=LATENTS, bounded=False):
    train = Split(latents[:100], torch.zeros(100, dtype=torch.int64))
    test = Split(latents[100:], torch.zeros(len(latents) - 100, dtype=torch.int64))
    return Dataset("arrays", train, test, 1, bounded=bounded)


def evaluation(path):
    return make(None, {"decode": str(path)}).evaluation


def loaded(path, dataset=None):
    return load_decoder(evaluation(path), dataset or of(), "cpu")


def expected(latents):
    """The levels of the images of ``Doubled``, by NumPy."""
    images = np.kron(latents[:, :3].double().numpy(), np.ones((1, 1, 2, 2))) / 5
    return np.clip(np.floor(np.clip(images, -1, 1) * 127.5 + 128), 0, 255)


def test_images_are_the_decoders_in_8_bits(tmp_path):
    decoder = loaded(saved(Doubled(), tmp_path / "d.pt"))
    view = decoded(of(), decoder)
    assert view.image_shape == (3, 4, 4)
    assert view.bounded
    images = view.train.images
    # The same decoder in float32 may round a tie the other way.
    assert np.abs(images[:].numpy() - expected(LATENTS[:100])).max() <= 1
    for key in (torch.tensor([5, 0, 5]), slice(3, 9)):
        assert torch.equal(images[key], images[:][key])
    assert torch.equal(images[2], images[:][2])
    assert torch.equal(torch.cat([part[:] for part in images.split(7)]), images[:])


def test_a_latent_that_is_not_finite_gives_no_image(tmp_path):
    decoder = loaded(saved(Doubled(), tmp_path / "d.pt"))
    latents = LATENTS[:70].clone()
    latents[66, 0, 0, 0] = math.inf
    images = decoder(latents)
    assert images[66].isnan().all()
    rest = torch.arange(70) != 66
    assert images[rest].isfinite().all()
    torch.testing.assert_close(
        images[rest], decoder(LATENTS[:70])[rest].float() / 127.5 - 1, atol=1e-6, rtol=0
    )


def test_features_of_real_images_are_of_decoded_ones(tmp_path):
    view = decoded(of(), loaded(saved(Doubled(), tmp_path / "d.pt")))
    space = FeatureSpace(pixels.load(view, tmp_path, "cpu"), view)
    moments = space.real["train"].moments
    images = view.train.images[:].flatten(1).double() / 127.5 - 1
    torch.testing.assert_close(moments.mean, images.mean(0), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(moments.covariance, images.T.cov(), atol=1e-6, rtol=1e-5)
    rows = torch.tensor([7, 3])
    torch.testing.assert_close(space.real["train"].rows(rows), images[rows].float())


def test_other_files_and_other_latents_are_other_data_and_other_runs(tmp_path):
    first = loaded(saved(Doubled(), tmp_path / "a.pt"))
    second = loaded(saved(Doubled(0.1), tmp_path / "b.pt"))
    assert first.digest != second.digest
    sums = [decoded(of(), first), decoded(of(), second), decoded(of(LATENTS + 1), first), of()]
    assert len({dataset.checksum for dataset in sums}) == 4
    runs = [make(None, {"decode": str(tmp_path / name)}) for name in ("a.pt", "b.pt")]
    runs += [make(None, {})]
    assert len({run.run_id for run in runs}) == 3
    # Only the measurements differ, so trainings are shared; a copy of the file is the same run.
    assert all(run.training == runs[0].training for run in runs)
    (tmp_path / "c.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    assert make(None, {"decode": str(tmp_path / "c.pt")}).run_id == runs[0].run_id
    assert "decoder" not in runs[2].identity["evaluation"]
    assert not {"decode", "decoder"} & runs[2].measured["evaluation"].keys()


def test_a_run_of_decoded_images_is_not_measured_without_the_file(tmp_path):
    config = make(None, {"decode": str(saved(Doubled(), tmp_path / "a.pt"))})
    assert check(config) == config
    (tmp_path / "a.pt").unlink()
    with pytest.raises(ConfigError, match="a.pt: it cannot be read .No such file"):
        check(config)
    with pytest.raises(ConfigError, match="name the file of its decoder, whose SHA-256 begins"):
        check_decoder(replace(config.evaluation, decode=None))


def test_the_note_takes_the_place_of_that_on_latents(tmp_path):
    decoder = loaded(saved(Doubled(), tmp_path / "d.pt"))
    once = noted(of(), decoder)
    assert once.origin.notes == (decoder.note,)
    assert decoder.note.startswith("distances and pictures are of images that d.pt")
    assert noted(once, decoder) is once
    assert noted(once, None) is once


BAD = {
    "a flat output": (Flat(), r"returns float32 \[4, 16\]; wanted are float images \[4, c, h, w\]"),
    "a lost batch": (Lost(), r"returns float32 \[1, 4, 2, 2\]; wanted"),
    "no squares": (Wide(), "squares with h = w are needed"),
    "0 to 255": (Pixels(), "images / 127.5 - 1"),
    "bytes": (Bytes(), "returns uint8"),
    "NaN": (NotFinite(), "NaN or infinity for training latents"),
    "random images": (Noisy(), "other images at a second call"),
    "two tensors": (Pair(), "returns tuple"),
    "other channels": (OtherChannels(), r"cannot take latents \[4, 4, 2, 2\]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_decoder_is_one_line(tmp_path, kind):
    net, words = BAD[kind]
    with pytest.raises(DataError, match=words) as caught:
        loaded(saved(net, tmp_path / "d.pt"))
    assert "\n" not in str(caught.value)
    assert "d.pt" in str(caught.value)


def test_other_files_and_other_data_are_one_line(tmp_path):
    torch.save(nn.Conv2d(4, 3, 1).state_dict(), tmp_path / "state.pt")
    with pytest.raises(DataError, match="is not a TorchScript file"):
        loaded(tmp_path / "state.pt")
    path = saved(Doubled(), tmp_path / "d.pt")
    with pytest.raises(DataError, match="points in the plane"):
        loaded(path, of(torch.randn(150, 2, 1, 1)))
    with pytest.raises(DataError, match="pictures, not latents"):
        loaded(path, of(bounded=True))
    chosen = evaluation(path)
    saved(Doubled(0.1), path)
    with pytest.raises(DataError, match="the file changes"):
        load_decoder(chosen, of(), "cpu")


def test_a_run_is_measured_in_images_and_reuses_the_training(tmp_path, tiny_flags, capsys):
    path = tmp_path / "latents.npy"
    np.save(path, LATENTS.repeat(2, 1, 1, 1).numpy())
    at = tiny_flags.index("--metrics")
    flags = [*tiny_flags[:at], "--metrics", "samples", "--features", "pixels", "--no-baseline"]
    args = ["--data", "arrays", "--data-dir", str(path), *flags, "--runs", str(tmp_path / "runs")]
    assert main(args) == 0
    decoder = saved(Doubled(), tmp_path / "d.pt")
    assert main([*args, "--decode", str(decoder)]) == 0
    assert "distances and pictures are of images that d.pt" in capsys.readouterr().out
    folders = [RunFolder(path) for path in (tmp_path / "runs").glob("arrays-lapjv-*")]
    with_decoder, without = sorted(
        folders, key=lambda folder: "decoder" not in folder.config()["evaluation"]
    )
    record = with_decoder.provenance()["decoder"]
    assert record["file"] == "d.pt"
    assert record["sha256"] == with_decoder.config()["evaluation"]["decoder"]
    assert record["images"] == [3, 4, 4]
    sizes = [folder.provenance()["feature_sizes"] for folder in (with_decoder, without)]
    assert [size["pixels"] for size in sizes] == [48, 16]
    # Latents of four channels have no picture; their images do, enlarged from 6 x 6 of 4 pixels.
    assert (with_decoder.path / "samples/nfe5.png").exists()
    assert not (without.path / "samples/nfe5.png").exists()
    assert with_decoder.provenance()["trained_in"] == without.run_id
    page = (tmp_path / "runs/report.html").read_text()
    pages = page + "".join(path.read_text() for path in (tmp_path / "runs").glob("comp*.html"))
    assert "Of arrays, distances are between such values, not between decoded images." in pages
    assert "Of arrays, distances and pictures are of images that d.pt" in pages
    # A finished run stays as it is, and its rows the same.
    before = [json.dumps(row.key) for row in with_decoder.measurements()]
    assert main([*args, "--decode", str(decoder)]) == 0
    assert [json.dumps(row.key) for row in with_decoder.measurements()] == before

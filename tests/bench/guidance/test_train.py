"""The discriminator of a model, trained for a moment; a study measures its use on digits."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.config.guidance import GuidanceConfig
from bench.data import Dataset, Split, load
from bench.guidance import encoder as noisy_encoder
from bench.guidance import images, logits
from bench.guidance import train as guide
from bench.guidance.images import GuidedModel, GuideError, Sides
from bench.guidance.train import train_discriminator
from bench.metrics.contract import HeldOut
from bench.metrics.discriminator import measure
from models.edm import small

CONFIG = GuidanceConfig(images=256, batch=32, pool=32, fakes=60, fakes_nfe=3, width=8, held_out=0.2)


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(noisy_encoder, "TRAINING_IMAGES", 3 * noisy_encoder.BATCH)
    monkeypatch.setattr(guide, "CHECK_EVERY", 3)
    monkeypatch.setattr(images, "CHUNK", 25)


def denoiser(seed=0, label_dim=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return small(8, 1, label_dim, model_channels=8, channel_mult=(1,))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load("digits")
    train, test = (Split(s.images[:80], s.labels[:80]) for s in (whole.train, whole.test))
    return dataclasses.replace(whole, train=train, test=test)


@pytest.fixture
def model(digits) -> GuidedModel:
    return GuidedModel(denoiser(), digits, seed=0)


def run(config, model, folder: Path):
    trained, held = train_discriminator(
        config, model, folder / "guidance", folder / ".cache", progress=False
    )
    judged = HeldOut(config, model, trained.net, held)
    test = Sides(model.dataset.test, held.fake)
    return trained, [*measure(judged, held, "train"), *measure(judged, test, "test")]


def weights(trained) -> dict:
    return trained.net.state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_trains_chooses_and_reports(model, tmp_path):
    trained, rows = run(CONFIG, model, tmp_path)
    assert set(trained.losses) == {32, 64, 128, 256}
    assert trained.losses[trained.images] == min(trained.losses.values())
    assert {r.metric for r in rows} == {"dg_auc", "dg_accuracy", "dg_calibration_error"}
    assert {r.split for r in rows} == {"train", "test"}
    assert {r.guidance for r in rows} == {CONFIG.name}
    assert all(0 <= r.value <= 1 for r in rows)
    assert len({r.key for r in rows}) == len(rows)
    bins = {r.sigma for r in rows} - {None}
    assert all(model.guided[0] < sigma < model.guided[1] for sigma in bins)
    assert not list((tmp_path / "guidance").glob("*/checkpoint.pt"))


def test_done_is_not_done_again(model, tmp_path, monkeypatch):
    first, rows = run(CONFIG, model, tmp_path)

    def refuse(*_):
        raise AssertionError("done again")

    monkeypatch.setattr(guide, "_step", refuse)
    monkeypatch.setattr(images, "heun", refuse)
    monkeypatch.setattr(noisy_encoder, "_train", refuse)
    again, rows_again = run(CONFIG, model, tmp_path)
    assert same(weights(first), weights(again))
    assert rows == rows_again


def test_a_stopped_training_goes_on_to_the_same_weights(model, tmp_path, monkeypatch):
    whole, rows = run(CONFIG, model, tmp_path / "whole")
    step, calls = guide._step, []

    def stop_at_the_fifth(*args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(guide, "_step", stop_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            run(CONFIG, model, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(guide, "_step", lambda *args: (calls.append(args), step(*args)))
        resumed, rows_resumed = run(CONFIG, model, tmp_path / "stopped")
    assert len(calls) == 5 + 8 - 3  # from the checkpoint at step 3 on
    assert same(weights(whole), weights(resumed))
    assert whole.losses == resumed.losses
    assert rows == rows_resumed


def test_all_noisings_and_arms_see_the_same_images_noises_and_sigmas(
    model, digits, tmp_path, monkeypatch
):
    seen, step = {}, guide._step

    def spy(net, optimizer, real, fake, g):
        seen.setdefault(key, []).append((real, fake, g.get_state()))
        step(net, optimizer, real, fake, g)

    monkeypatch.setattr(guide, "_step", spy)
    for key, config, other in (
        ("random", CONFIG, model),
        ("coupled", dataclasses.replace(CONFIG, noising=("hungarian",)), model),
        ("model", CONFIG, GuidedModel(denoiser(1), digits, seed=0)),
    ):
        run(config, other, tmp_path / key)
    for random, coupled, other in zip(*seen.values(), strict=True):
        for kind in (0, 1):
            # A pool is two batches here, so sums over a pool are compared below.
            assert torch.equal(random[kind].labels, coupled[kind].labels)
        assert torch.equal(random[0].images, coupled[0].images)
        assert torch.equal(random[1].images, coupled[1].images)
        assert torch.equal(random[0].images, other[0].images)
        assert not torch.equal(random[1].images, other[1].images)
        assert torch.equal(random[0].noise, other[0].noise)
        assert torch.equal(random[1].noise, other[1].noise)
        assert torch.equal(random[2], coupled[2])
        assert torch.equal(random[2], other[2])
    for kind in (0, 1):
        pools = [
            torch.cat([seen[key][k][kind].noise for k in (0, 1)]).flatten(1).sum(1).sort().values
            for key in ("random", "coupled")
        ]
        assert torch.equal(*pools)  # the same noises of this kind alone, in another order
        assert not torch.equal(*(seen[key][0][kind].noise for key in ("random", "coupled")))


def test_held_out_images_are_apart_from_those_trained_on(digits):
    train, held = guide.hold_out(digits.train, 0.25)
    assert (len(train), len(held)) == (60, 20)
    both = torch.cat([train.images, held.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), digits.train.images.flatten(1).unique(dim=0))
    with pytest.raises(GuideError, match="--guidance.held-out"):
        guide.hold_out(digits.train, 0.01)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda model: dataclasses.replace(model, net=denoiser(1)), "denoiser"),
        (
            lambda model: dataclasses.replace(model, net=denoiser(0, label_dim=10)),
            "number of classes",
        ),
        (lambda model: dataclasses.replace(model, dataset=fewer(model.dataset)), "data set"),
        (lambda model: dataclasses.replace(model, dataset=cropped(model.dataset)), "image shape"),
    ],
)
def test_a_discriminator_of_something_else_is_refused_in_one_line(change, what, model, tmp_path):
    run(CONFIG, model, tmp_path)
    path = next((tmp_path / "guidance").glob("*/discriminator.pt"))
    encoder = noisy_encoder.load(model.dataset, tmp_path / ".cache", "cpu")
    with pytest.raises(GuideError, match=f"was trained for another {what} ") as caught:
        guide.load_discriminator(path, change(model), encoder)
    assert "\n" not in str(caught.value)


def fewer(dataset):
    return dataclasses.replace(
        dataset, test=Split(dataset.test.images[1:], dataset.test.labels[1:])
    )


def cropped(dataset):
    return dataclasses.replace(
        dataset, train=Split(dataset.train.images[..., 1:, 1:], dataset.train.labels)
    )


def test_a_damaged_discriminator_is_refused(model, tmp_path):
    run(CONFIG, model, tmp_path)
    path = next((tmp_path / "guidance").glob("*/discriminator.pt"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GuideError, match="delete it, it is trained again"):
        run(CONFIG, model, tmp_path)
    path.unlink()
    with pytest.raises(GuideError, match="train one first"):
        guide.load_discriminator(
            path, model, noisy_encoder.load(model.dataset, tmp_path / ".cache", "cpu")
        )


def test_conditional_arm_within_classes(digits, tmp_path):
    config = dataclasses.replace(CONFIG, noising=("hungarian:within_class=true",), pool=64)
    trained, _ = run(config, GuidedModel(denoiser(0, label_dim=10), digits, seed=0), tmp_path)
    assert trained.net.label_dim == 10


def test_learns_to_tell_what_differs(model, digits):
    """Reals against dark squares: a few hundred steps are enough to be nearly sure."""
    fakes = Split(torch.full((80, 1, 8, 8), -1.0), digits.train.labels)
    encoder = noisy_encoder.Encoder(Flat(), "flat")
    net = guide._build(dataclasses.replace(CONFIG, width=16), model, encoder)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=5e-3)
    streams = [
        logits.kind_stream(CONFIG, model, s, k, 32, 0, 100)
        for s, k in ((digits.train, "real"), (fakes, "fake"))
    ]
    with streams[0], streams[1]:
        for number, (real, fake) in enumerate(zip(*streams, strict=True)):
            guide._step(net, optimizer, real, fake, torch.Generator().manual_seed(number))
    held = Sides(digits.test, fakes)
    rows = measure(HeldOut(CONFIG, model, net, held), held, "test")
    worth = {(r.metric, r.sigma): r.value for r in rows}
    assert worth["dg_auc", min(sigma for _, sigma in worth if sigma)] > 0.95


class Flat(nn.Module):
    def forward(self, x_in, sigma):
        return x_in


def test_images_without_labels_are_told_apart_by_cluster(digits, tmp_path):
    one = dataclasses.replace(
        digits, train=Split(digits.train.images, torch.zeros(80, dtype=torch.long)), num_classes=1
    )
    targets, classes = noisy_encoder._targets(one)
    assert classes == noisy_encoder.CLUSTERS == len(targets.unique())
    encoder = noisy_encoder.load(one, tmp_path, "cpu")
    assert encoder.fingerprint == noisy_encoder.load(one, tmp_path, "cpu").fingerprint


@pytest.mark.parametrize(("low", "high"), [(0.002, 80.0), (0.05, 10.0)])
def test_fakes_are_sampled_over_the_range_of_the_evaluation(
    low, high, model, tmp_path, monkeypatch
):
    """And found by it, so that those of another range are others."""
    evaluation = dataclasses.replace(model.evaluation, sigma_min=low, sigma_max=high)
    seen = []
    monkeypatch.setattr(images, "heun", lambda ode, noise, sigmas: seen.append(sigmas) or noise)
    images.make_fakes(CONFIG, model, tmp_path, progress=False)
    images.make_fakes(
        CONFIG, dataclasses.replace(model, evaluation=evaluation), tmp_path, progress=False
    )
    assert [seen[-1][0].item(), seen[-1][-2].item()] == pytest.approx([high, low])
    assert len(list(tmp_path.iterdir())) == 1 + (high != 80)


def test_fakes_of_a_conditional_denoiser_come_as_often_as_the_training_split_has_them(
    digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(images, "heun", lambda ode, noise, sigmas: noise)
    train = dataclasses.replace(digits.train, labels=torch.where(torch.arange(80) < 72, 3, 7))
    lopsided = dataclasses.replace(digits, train=train)
    model = GuidedModel(denoiser(0, label_dim=10), lopsided, seed=0)
    found = images.make_fakes(
        dataclasses.replace(CONFIG, fakes=200), model, tmp_path, progress=False
    )
    assert set(found.labels.tolist()) == {3, 7}
    assert (found.labels == 3).double().mean().item() == pytest.approx(
        0.9, abs=4 * (0.09 / 200) ** 0.5
    )


def test_fakes_that_are_not_finite_are_left_out_with_a_note(model, tmp_path, monkeypatch, capsys):
    bad = torch.nan

    def some(ode, noise, sigmas):
        return torch.where(noise[:, :1, :1, :1] > 0, bad, noise)

    monkeypatch.setattr(images, "heun", some)
    found = images.make_fakes(CONFIG, model, tmp_path / "some", progress=False)
    assert 2 <= len(found) < CONFIG.fakes
    assert found.images.isfinite().all()
    assert f"{CONFIG.fakes - len(found)} of {CONFIG.fakes} fakes are not finite" in "".join(
        capsys.readouterr()
    )
    monkeypatch.setattr(images, "heun", lambda ode, noise, sigmas: noise * bad)
    with pytest.raises(GuideError, match="60 of 60 samples are not finite"):
        images.make_fakes(CONFIG, model, tmp_path / "all", progress=False)

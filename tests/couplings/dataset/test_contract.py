"""The contract of every dataset coupling; a new file in couplings/dataset is tested by itself."""

import os

import pytest
import torch

from couplings import Coupling, CouplingError, DatasetCoupling, Fitted, get, names
from couplings.dataset.contract import read_state, stream, training_set, write_state

CLAIMS = (
    "exact_noise_marginal",
    "exact_data_marginal",
    "uses_labels",
    "deterministic",
    "independent",
)


@pytest.fixture(params=names(kind="dataset"))
def coupling(request, monkeypatch):
    # Stands in for a trained model, for couplings that need one.
    monkeypatch.setattr(Fitted, "model", staticmethod(lambda noise, labels: noise.tanh()))
    quick = {
        "semidiscrete": "semidiscrete:batch=256,max_chi2=0.1",
        "semidiscrete-balanced": "semidiscrete-balanced:batch=256,max_chi2=0.1",
        "cached": "cached:caches=2,batch=8",
    }
    return get(quick.get(request.param, request.param))


@pytest.fixture
def images(pool):
    return pool(24)[0]


def equal(one, other) -> bool:
    same = all(torch.equal(one[key], other[key]) for key in one if key != "seconds")
    return one.keys() == other.keys() and same


def test_kinds_tell_batch_and_dataset_couplings_apart():
    assert {"semidiscrete", "cached"} <= set(names(kind="dataset"))
    assert {"random", "lapjv"} <= set(names(kind="batch"))
    assert set(names()) == set(names(kind="batch")) | set(names(kind="dataset"))
    assert all(isinstance(get(name), DatasetCoupling) for name in names(kind="dataset"))
    assert all(isinstance(get(name), Coupling) for name in names(kind="batch"))


def test_claims_are_stated(coupling):
    assert all(isinstance(getattr(type(coupling), claim), bool) for claim in CLAIMS)
    assert get(coupling.spec) == coupling


def test_pools_are_refused(coupling, pool, seeded):
    with pytest.raises(CouplingError, match="whole data set"):
        coupling.pair(*pool(4), generator=seeded(0))


def test_the_generator_decides_and_global_randomness_stays(coupling, images, seeded):
    before = torch.get_rng_state()
    one, two, other = (coupling.fit(images, generator=seeded(s)).state_dict() for s in (0, 0, 1))
    assert equal(one, two)
    assert not equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(CouplingError, match="generator"):
        coupling.fit(images)


def test_a_finished_fit_is_read_from_its_file(coupling, images, seeded, tmp_path):
    path = tmp_path / "deep" / "state.safetensors"
    first = coupling.fit(images, generator=seeded(0), checkpoint=path)
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]
    again = coupling.fit(images, checkpoint=path)
    assert equal(first.state_dict(), again.state_dict())
    assert first.report == again.report
    assert equal(first.state_dict(), coupling.load(path, images).state_dict())


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_state_has_the_mode_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_state(tmp_path / "state", {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "state").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_state(tmp_path, monkeypatch, failing):
    write_state(tmp_path / "state", {"a": torch.zeros(1)})

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        write_state(tmp_path / "state", {"a": torch.ones(1)})
    monkeypatch.undo()
    assert read_state(tmp_path / "state") == {"a": torch.zeros(1)}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_that_cannot_be_read_is_not_called_missing(tmp_path):
    with pytest.raises(CouplingError, match="Is a directory"):
        read_state(tmp_path)
    with pytest.raises(CouplingError, match="File name too long"):
        read_state(tmp_path / ("a" * 300))
    with pytest.raises(CouplingError, match="no file"):
        read_state(tmp_path / "none")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_state_of_somebody_else_says_so(tmp_path):
    write_state(tmp_path / "state", {"a": torch.zeros(1)})
    (tmp_path / "state").chmod(0)
    with pytest.raises(CouplingError, match="Permission denied"):
        read_state(tmp_path / "state")


class Killed(Exception):
    pass


def test_a_killed_fit_ends_as_one_that_was_not(coupling, images, seeded, tmp_path):
    whole = coupling.fit(images, generator=seeded(0)).state_dict()
    path = tmp_path / "state.safetensors"
    killed = coupling.begin(training_set(images), 0)
    killed.load_state_dict(whole | _start(coupling, images, seeded))

    def save():
        write_state(path, killed.state_dict())
        raise Killed

    with pytest.raises(Killed):
        killed.run(save)
    resumed = coupling.fit(images, checkpoint=path)
    assert equal(resumed.state_dict(), whole)


def _start(coupling, images, seeded):
    seed = int(torch.randint(2**62, (), generator=seeded(0)))
    return coupling.begin(training_set(images), seed).state_dict()


def test_other_data_and_options_are_refused(coupling, images, seeded, tmp_path):
    path = tmp_path / "state.safetensors"
    coupling.fit(images, generator=seeded(0), checkpoint=path)
    with pytest.raises(CouplingError, match="other images"):
        coupling.load(path, images.flip(0))
    changed = images.clone()
    changed[3, 0, 0, 0] += 1e-3
    with pytest.raises(CouplingError, match="other images"):
        coupling.fit(changed, generator=seeded(0), checkpoint=path)
    with pytest.raises(CouplingError, match="fit again"):
        get(f"{coupling.name}:batch=16").load(path, images)
    with pytest.raises(CouplingError, match="fit with checkpoint"):
        coupling.load(tmp_path / "none", images)
    path.write_bytes(b"junk")
    with pytest.raises(CouplingError, match="not a safetensors"):
        coupling.load(path, images)
    with pytest.raises(CouplingError, match="no state"):
        coupling.begin(training_set(images), 0).load_state_dict({})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(4, 3, dtype=torch.uint8), "floating point"),
        (torch.zeros(0, 3), "nothing to fit"),
        (torch.full((4, 3), torch.nan), "NaN"),
        (torch.zeros(4), "tensor"),
    ],
)
def test_bad_training_sets_are_refused(coupling, seeded, bad, message):
    with pytest.raises(CouplingError, match=message):
        coupling.fit(bad, generator=seeded(0))


def test_labels_must_fit(coupling, images, seeded):
    with pytest.raises(CouplingError, match="23 labels for 24 images"):
        coupling.fit(images, torch.zeros(23), seeded(0))
    with pytest.raises(CouplingError, match="needs labels"):
        get(f"{coupling.name}:per_class=true").fit(images, generator=seeded(0))


def test_checksum_sees_order_values_labels_and_shape(images):
    labels = torch.arange(24)
    checksums = {
        training_set(images).checksum,
        training_set(images.flip(0)).checksum,
        training_set(images.flatten(1)).checksum,
        training_set(images, labels).checksum,
        training_set(images, labels.flip(0)).checksum,
    }
    assert len(checksums) == 5
    assert (
        training_set(images.to(memory_format=torch.channels_last)).checksum
        == training_set(images).checksum
    )


def test_streams_differ_and_are_fixed():
    assert stream(1, "step", 2) == stream(1, "step", 2)
    assert (
        len(
            {
                stream(1, "step", 2),
                stream(1, "step", 3),
                stream(2, "step", 2),
                stream(1, "check", 2),
            }
        )
        == 4
    )


def test_states_are_written_whole(tmp_path):
    path = tmp_path / "a"
    write_state(path, {"x": torch.arange(3)})
    with pytest.raises(AttributeError):
        write_state(path, {"x": None})
    assert read_state(path)["x"].tolist() == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 1

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from bench.data import load
from couplings import CouplingError, get
from couplings.dataset.contract import read_state, training_set, write_state
from couplings.dataset.semidiscrete import SemiDiscrete

N = 32


def fit(images, seeded, options="", labels=None, **kwargs):
    return get(f"semidiscrete:batch=512,max_chi2=0.01{options}").fit(
        images, labels, seeded(0), **kwargs
    )


def frequencies(sd, n: int, seeded, size: int = 20000, labels=None):
    noise = torch.randn(size, *sd.shape, generator=seeded(7))
    index = sd.assign(noise, labels)
    assert index.dtype == torch.int64
    assert index.shape == (size,)
    return index.bincount(minlength=n)


def test_images_come_equally_often_and_the_cost_falls(pool, seeded):
    images, _ = pool(N)
    sd = fit(images, seeded)
    assert sd.report["chi2"] <= 0.01
    counts = frequencies(sd, N, seeded)
    assert len(counts) == N
    assert (counts / counts.double().mean() - 1).abs().max() < 0.25
    noise = torch.randn(4000, *images.shape[1:], generator=seeded(3))
    gains = {"sd": (images[sd.assign(noise)] * noise).flatten(1).sum(1).mean()}
    for n in (8, 32):
        batch = [get("lapjv").pair(images[:n], z).index for z in noise[: n * 40].split(n)]
        pairs = [
            (z[i] * images[:n]).flatten(1).sum(1).mean()
            for z, i in zip(noise.split(n), batch, strict=False)
        ]
        gains[n] = torch.stack(pairs).mean()
    assert gains["sd"] > gains[32] > gains[8] > 0


def test_noise_is_any_float_and_chunked_alike(pool, seeded):
    sd = fit(pool(N)[0], seeded)
    noise = torch.randn(50, 3, 4, 4, generator=seeded(1))
    index = sd.assign(noise)
    assert torch.equal(torch.cat([sd.assign(z) for z in noise.split(7)]), index)
    assert torch.equal(sd.assign(noise.double()), index)
    assert sd.assign(noise[:0]).shape == (0,)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sd.assign(noise), index)
    with pytest.raises(CouplingError, match="noise"):
        sd.assign(noise.flatten(1))
    with pytest.raises(CouplingError, match="NaN"):
        sd.assign(noise * torch.nan)


def test_per_class(pool, seeded):
    images, _ = pool(N)
    labels = (torch.arange(N) % 3 == 0).long() + 4
    sd = fit(images, seeded, ",per_class=true", labels)
    noise = torch.randn(3000, 3, 4, 4, generator=seeded(1))
    wanted = torch.randint(4, 6, (3000,), generator=seeded(2))
    index = sd.assign(noise, wanted)
    assert torch.equal(labels[index], wanted)
    for value in (4, 5):
        inside = frequencies(sd, N, seeded, labels=torch.full((20000,), value))[
            labels == value
        ].double()
        assert (inside / inside.mean() - 1).abs().max() < 0.25
    one_hot = torch.eye(6)[labels]
    by_one_hot = fit(images, seeded, ",per_class=true", one_hot).assign(noise, torch.eye(6)[wanted])
    assert torch.equal(labels[by_one_hot], wanted)
    assert (by_one_hot == index).double().mean() > 0.9
    with pytest.raises(CouplingError, match="does not hold"):
        sd.assign(noise, wanted + 1)
    with pytest.raises(CouplingError, match="one label per noise sample"):
        sd.assign(noise)


def test_labels_are_not_looked_at_by_default(pool, seeded):
    images, noise = pool(N)
    labels = torch.arange(N) % 2
    assert torch.equal(
        fit(images, seeded, labels=labels).assign(noise), fit(images, seeded).assign(noise)
    )


def test_flips_are_targets_of_their_own(pool, seeded):
    images, _ = pool(N)
    sd = fit(images, seeded, ",flips=true")
    noise = torch.randn(4000, 3, 4, 4, generator=seeded(1))
    index = sd.assign(noise)
    assert len(index.unique()) == 2 * N
    chosen = sd.mirrored(images, index)
    doubled = torch.cat([images, images.flip(-1)])
    assert torch.equal(chosen, doubled[index])
    # Mirrored noise goes with mirrored images, except near a border between cells.
    mirrored = sd.assign(noise.flip(-1))
    assert ((mirrored - index).abs() == N).double().mean() > 0.85
    with pytest.raises(CouplingError, match="flips"):
        fit(images.flatten(1), seeded, ",flips=true")


def test_projection_is_pca(pool, seeded):
    images, noise = pool(N, (3, 4, 4))
    sd = fit(images, seeded, ",project=pca:5")
    assert sd.basis.shape == (48, 5)
    assert torch.allclose(sd.basis.T @ sd.basis, torch.eye(5), atol=1e-5)
    flat = images.flatten(1) - images.flatten(1).mean(0)
    leading = torch.linalg.svdvals(flat.double())[:5].square().sum()
    assert (flat @ sd.basis).square().sum() == pytest.approx(float(leading), rel=1e-5)
    outside = noise.flatten(1) - noise.flatten(1) @ sd.basis @ sd.basis.T
    assert torch.equal(sd.assign(noise + 3 * outside.reshape(noise.shape)), sd.assign(noise))
    full = fit(images, seeded, ",project=pca:48").assign(noise)
    assert (full == fit(images, seeded).assign(noise)).double().mean() > 0.8
    with pytest.raises(CouplingError, match="K up to 48"):
        fit(images, seeded, ",project=pca:49")


@pytest.mark.parametrize("project", ["pca", "pca:0", "pca:x", "svd:3"])
def test_bad_options(project):
    with pytest.raises(CouplingError, match="pca:K"):
        get(f"semidiscrete:project={project}")
    for option in ("steps=0", "batch=1", "max_chi2=0", "rate=-1"):
        with pytest.raises(CouplingError, match=option.split("=")[0]):
            get(f"semidiscrete:{option}")


def test_equal_images_share_a_cell_evenly(pool, seeded):
    images = pool(N)[0]
    images[1::2] = images[0::2]  # 16 pairs
    images[3] = -0.0 * images[3]
    images[4] = 0.0 * images[4]
    sd = fit(images, seeded)
    assert sd.report["targets"] < 20
    counts = frequencies(sd, N, seeded)
    assert (counts / counts.double().mean() - 1).abs().max() < 0.25
    assert chisquare(counts[:2].numpy()).pvalue > 1e-4


def test_one_image(seeded):
    sd = get("semidiscrete").fit(torch.ones(1, 2), generator=seeded(0))
    assert sd.assign(torch.randn(5, 2, generator=seeded(0))).tolist() == [0] * 5


def test_too_few_steps_are_refused_and_can_be_continued(pool, seeded, tmp_path):
    images, noise = pool(N)
    path = tmp_path / "potential.safetensors"
    with pytest.raises(CouplingError, match="raise steps"):
        get("semidiscrete:steps=3,max_chi2=0.001").fit(images, generator=seeded(0), checkpoint=path)
    went_on = get("semidiscrete:max_chi2=0.001").fit(images, checkpoint=path)
    assert went_on.report["steps"] > 3
    assert went_on.report["chi2"] <= 0.001
    assert went_on.report["noises"] == 4096 * went_on.report["steps"]
    assert went_on.report["seconds"] > 0


def test_state_moves_between_fits(pool, seeded):
    images, noise = pool(N)
    sd = fit(images, seeded)
    fresh = sd.coupling.begin(training_set(images), 0)
    fresh.load_state_dict(sd.state_dict())
    assert torch.equal(fresh.assign(noise), sd.assign(noise))
    fresh.cells[0].dual.average += 1.0 * torch.arange(N)
    assert not torch.equal(fresh.cells[0].dual.average, sd.cells[0].dual.average)


def low(name: str) -> torch.Tensor:
    """Targets on which gradient steps of the default rate diverge or stall."""
    g = torch.Generator().manual_seed(0)
    if name == "line":
        return torch.randn(16, 1, generator=g)
    if name == "clusters":
        return torch.randn(5, 16, generator=g)[torch.arange(300) % 5] + 1e-3 * torch.randn(
            300, 16, generator=g
        )
    name, _, count = name.partition(" of ")
    return load(name).train.images[: int(count or 300)]


def independent_chi2(images: torch.Tensor, sd, seed: int, n: int = 40_000) -> float:
    """The unbiased chi-square by NumPy in float64: each noise sample goes to the least cost less
    potential.
    """
    y = images.flatten(1).double().numpy()
    y = y - y.mean(0)
    h = sd.cells[0].dual.average.numpy()
    noise = np.random.default_rng(seed).standard_normal((n, y.shape[1]))
    counts = np.zeros(len(y))
    for x in np.array_split(noise, 20):
        cost = np.square(y).sum(1) / 2 - x @ y.T  # and |x|^2 / 2, the same for all
        counts += np.bincount((cost - np.square(y).sum(1) / 2 - h).argmin(1), minlength=len(y))
    return len(y) * (counts * (counts - 1)).sum() / (n * (n - 1)) - 1


@pytest.mark.parametrize("name", ["line", "clusters", "moons", "eight-gaussians", "moons of 1200"])
def test_defaults_fit_few_dimensions_and_tight_clusters(name, seeded):
    images = low(name)
    sd = get("semidiscrete").fit(images, generator=seeded(0))
    assert sd.report["chi2"] <= SemiDiscrete.max_chi2
    assert sd.report["steps"] < 500
    # Twice the target leaves room for the noise of both measurements.
    assert independent_chi2(images, sd, 1) < 2 * SemiDiscrete.max_chi2


def test_images_are_fitted_by_gradient_steps(seeded):
    sd = get("semidiscrete").fit(load("digits").train.images[:300], generator=seeded(0))
    assert sd.cells[0].dual.averaged == -1
    assert sd.report["steps"] <= 142


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_the_fit_does_not_depend_on_the_scale_of_the_images(scale, seeded):
    images = low("line")
    noise = torch.randn(500, 1, generator=seeded(1))
    one, scaled = (get("semidiscrete").fit(s * images, generator=seeded(0)) for s in (1.0, scale))
    assert one.report["steps"] == scaled.report["steps"]
    assert torch.equal(one.assign(noise), scaled.assign(noise))


def test_a_fit_resumes_at_any_newton_step_to_the_same_potential(seeded, tmp_path):
    images = low("clusters")
    states = []
    path = tmp_path / "potential.safetensors"
    sd = get("semidiscrete").begin(training_set(images), 7)
    sd.run(lambda: states.append({key: value.clone() for key, value in sd.state_dict().items()}))
    whole = sd.state_dict()
    newton = [state for state in states if state["averaged"] >= 0]
    assert len(newton) > 4
    for state in newton[:: len(newton) // 4]:
        write_state(path, state)
        resumed = get("semidiscrete").fit(images, checkpoint=path).state_dict()
        assert all(torch.equal(resumed[key], whole[key]) for key in whole if key != "seconds")


def test_files_without_newton_steps_are_read(pool, seeded, tmp_path):
    """Files of earlier versions hold gradient steps only."""
    images, noise = pool(N)
    path = tmp_path / "potential.safetensors"
    sd = fit(images, seeded, checkpoint=path)
    state = read_state(path)
    write_state(
        path,
        {key: state[key] for key in state if key not in ("averaged", "best", "since", "confirmed")},
    )
    again = fit(images, seeded, checkpoint=path)
    assert again.report == sd.report
    assert torch.equal(again.assign(noise), sd.assign(noise))


def test_a_fit_begun_by_an_earlier_version_is_refused(pool, seeded, tmp_path):
    images, noise = pool(N)
    path = tmp_path / "potential.safetensors"
    sd = fit(images, seeded, checkpoint=path)
    state = read_state(path)
    del state["head"]
    write_state(path, state)
    assert torch.equal(fit(images, seeded, checkpoint=path).assign(noise), sd.assign(noise))
    state["chi2"] = torch.full_like(state["chi2"], 0.5)
    write_state(path, state)
    with pytest.raises(CouplingError, match="delete its file, such as .cache"):
        fit(images, seeded, checkpoint=path)


def test_a_fit_from_a_smooth_start_resumes_to_the_same_potential(seeded, tmp_path):
    images = torch.randn(1600, 6, generator=seeded(1))
    images *= 0.5 + torch.rand(1600, 1, generator=seeded(2))
    path = tmp_path / "potential.safetensors"
    whole = get("semidiscrete:max_chi2=0.02").fit(images, generator=seeded(0))
    assert whole.cells[0].dual.head > 0
    with pytest.raises(CouplingError, match="raise steps"):
        get("semidiscrete:max_chi2=0.02,steps=7").fit(images, generator=seeded(0), checkpoint=path)
    resumed = get("semidiscrete:max_chi2=0.02").fit(images, checkpoint=path)
    state = whole.state_dict()
    again = resumed.state_dict()
    assert all(torch.equal(again[key], state[key]) for key in state if key != "seconds")
    assert independent_chi2(images, whole, 1) < 0.04


def test_what_cannot_be_fitted_is_given_up_early_with_the_way_out(seeded):
    """Targets that float32 scores cannot tell from each other."""
    centres = torch.randn(3, 2, generator=seeded(1))
    images = centres[torch.arange(60) % 3] + 1e-7 * torch.randn(60, 2, generator=seeded(3))
    with pytest.raises(
        CouplingError, match="batch or max_chi2, lower rate, or pass float64 images"
    ) as error:
        get("semidiscrete").fit(images, generator=seeded(0))
    assert int(str(error.value).split(" steps")[0].split()[-1]) < 500
    # The way out that it names is one.
    sd = get("semidiscrete:max_chi2=0.05").fit(images.double(), generator=seeded(0))
    assert sd.report["chi2"] <= 0.05


@pytest.mark.data
def test_on_images_it_gains_more_than_large_batches(real_data, seeded):
    """CIFAR-10, 2000 images in 64 components: <x, T(x)> is 71 of this map and 61 of exact batches
    of 400.
    """
    images = load("cifar10", real_data).train.images[:2000].float() / 127.5 - 1
    sd = get("semidiscrete:project=pca:64,max_chi2=0.05").fit(images, generator=seeded(1))
    assert sd.report["chi2"] <= 0.05
    dual = sd.cells[0].dual
    noise = torch.randn(20480, 64, generator=seeded(2))
    gain = (noise * dual.targets[dual.cells(noise)]).sum(1).mean()
    # The semi-dual bounds what any coupling of the two can gain.
    assert gain == pytest.approx(dual.value(noise), rel=0.005)
    batches = []
    rows = torch.randperm(2000, generator=seeded(3))
    for x, own in zip(noise[:2000].split(400), rows.split(400), strict=True):
        y = dual.targets[own]
        batches.append((x[get("lapjv").pair(y, x).index] * y).sum(1).mean())
    assert gain - torch.stack(batches).mean() > 8

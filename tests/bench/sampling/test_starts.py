import shutil
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare

from bench.data import Dataset, Split, load
from bench.data.eight_gaussians import MEANS, NUM_MODES, STD
from bench.metrics._moments import Moments
from bench.metrics.frechet import frechet_distance
from bench.metrics.prior_error import prior_errors
from bench.sampling.starts import parse, prepare, streams
from couplings import CouplingError
from couplings.dataset.semidiscrete import SemiDiscrete
from couplings.spec import format_spec
from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.heun import heun
from models.starts.expressway import Expressway
from models.starts.gaussian import Gaussian

MIXTURE = GaussianMixture(
    MEANS, torch.full((NUM_MODES,), STD).double(), torch.full((NUM_MODES,), 1 / 8).double()
)


def first(data: str, n: int) -> Dataset:
    whole = load(data)
    return replace(whole, train=Split(whole.train.images[:n], whole.train.labels[:n]))


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Starts of 200 digits, or of 150 points in the plane, fitted once for all tests."""
    cache = tmp_path_factory.mktemp("cache")
    data = {"digits": first("digits", 200), "eight-gaussians": first("eight-gaussians", 150)}

    def build(spec, name="digits", **options):
        return prepare(spec, data[name], 0, cache, "cpu", 80.0, **options)

    build.data, build.cache = data, cache
    return build


def noise(n: int, shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def between_modes(points: torch.Tensor) -> float:
    """Share of points more than 4 deviations from the nearest mode, and on the side of the next."""
    flat = points.flatten(1).double()
    near = torch.cdist(flat, MEANS).topk(2, dim=1, largest=False)
    nearest, next_one = MEANS[near.indices].unbind(1)
    towards = ((flat - nearest) * (next_one - nearest)).sum(1) > 0
    return ((near.values[:, 0] > 4 * STD) & towards).double().mean().item()


def begin(ready, n: int, seed: int = 0, labels=None) -> torch.Tensor:
    """Points where sampling begins."""
    shape = ready.targets.images.shape[1:]
    start = ready
    return start.sigma * start.latents(noise(n, shape, seed), streams(seed, range(n)), labels)


def index_of(points: torch.Tensor, ready) -> torch.Tensor:
    distance = torch.cdist(points.flatten(1), ready.targets.images.flatten(1).double())
    assert distance.amin(1).max() < 1e-4
    return distance.argmin(1)


def test_specs():
    assert parse("gaussian") == Gaussian()
    assert parse("expressway:step=50,targets=test") == Expressway(step=50, targets="test")
    start = parse("ot-prior:tau=0.1, sigma=2,noise=frozen")
    assert format_spec(start) == "ot-prior:sigma=2.0,tau=0.1"
    for spec in (
        "gaussian",
        "truncated:sigma=0.5",
        "random-index:step=9,view=ncsnv2",
        "ot-prior:sigma=1.0,tau=0.5",
    ):
        assert format_spec(parse(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "way"),
    [
        ("expresway:sigma=1", "expressway"),
        ("ot-prior:sgima=1", "sigma"),
        ("truncated", "needs sigma or step"),
        ("truncated:sigma=1,tau=1", "option of truncated"),
        ("random-index:sigma=1,noise=old", "frozen"),
    ],
)
def test_bad_specs_name_the_way_out(spec, way):
    with pytest.raises(ValueError, match=way):
        parse(spec)


def test_a_hard_map_leads_to_its_targets_equally_often(make):
    ready = make("ot-prior:sigma=0.5")
    counts = index_of(begin(ready, 1000), ready).bincount(minlength=200)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    assert ready.costs["start_fit_noises"] > 0
    assert ready.costs["start_fit_seconds"] > 0
    assert ready.costs["start_chi2"] <= 0.005
    control = make("random-index:sigma=0.5")
    assert torch.equal(control.targets.images, ready.targets.images)
    assert (
        chisquare(index_of(begin(control, 1000), control).bincount(minlength=200).numpy()).pvalue
        > 1e-3
    )


def test_the_hard_map_leads_a_latent_to_its_own_target(make):
    """Shuffled, it would be the same in law, so that no other test here would see it: what tells is
    the pairing.

    Cells of equal mass minimise the cost of all pairings that take each target equally often:
    latents end nearer to their targets than by a random index, by most of what an exact assignment
    of as many gains.
    """
    from scipy.optimize import linear_sum_assignment

    latents = noise(200, (1, 8, 8)).double().flatten(1)
    found = {}
    for name in ("ot-prior", "random-index"):
        ready = make(f"{name}:sigma=0.5")
        found[name] = (latents - begin(ready, 200).flatten(1)).square().sum(1).mean().item()
    cost = torch.cdist(
        latents, make("ot-prior:sigma=0.5").targets.images.flatten(1).double()
    ).square()
    best = cost[linear_sum_assignment(cost)].mean().item()
    gain = (found["random-index"] - found["ot-prior"]) / (found["random-index"] - best)
    assert gain > 0.5, found
    ready = make("ot-prior:sigma=0.5")
    shuffled = cost[torch.arange(200), index_of(begin(ready, 200), ready).roll(1)]
    assert (found["random-index"] - shuffled.mean().item()) / (found["random-index"] - best) < 0.5


def test_in_law_the_hard_map_is_a_random_index(make):
    """Frechet distances of equal samples, to the held-out images, agree within three standard
    errors.
    """
    real = Moments.of(make.data["digits"].test.images.flatten(1))
    found = {}
    for spec in ("ot-prior:sigma=0.5", "random-index:sigma=0.5"):
        ready = make(spec)
        distances = [
            frechet_distance(Moments.of(begin(ready, 400, s).flatten(1)), real) for s in range(8)
        ]
        found[spec] = torch.tensor(distances)
    a, b = found.values()
    assert (a.mean() - b.mean()).abs() < 3 * ((a.var() + b.var()) / 8).sqrt()


def test_prior_error_of_a_hard_map_is_a_twentieth_of_the_gaussians(make):
    data = make.data["digits"]
    hard = prior_errors(make("ot-prior:sigma=0.5"), data, 0, n=400)
    plain = prior_errors(make("truncated:sigma=0.5"), data, 0, n=400)
    assert hard["prior_error"] < 0.05 * plain["prior_error"]
    assert plain["prior_error_fresh"] > 1.5 * plain["prior_error_floor"]
    assert hard["prior_error_floor"] == plain["prior_error_floor"]
    fresh = prior_errors(make("random-index:sigma=0.5,noise=fresh"), data, 0, n=400)
    assert fresh["prior_error_fresh"] == pytest.approx(fresh["prior_error_floor"], rel=0.1)


def test_a_wrong_map_is_seen_in_the_prior_error(make):
    ready = make("ot-prior:sigma=0.5")
    before = prior_errors(ready, make.data["digits"], 0, n=50)["prior_error"]
    dual, right = ready.fitted.cells[0].dual, ready.fitted.cells[0].dual.average
    dual.average = torch.zeros_like(right)
    after = prior_errors(ready, make.data["digits"], 0, n=50)["prior_error"]
    dual.average = right
    assert after > 5 * before


def test_a_jump_leaves_fewer_points_between_modes(make):
    """In few evaluations, from below the distance of the modes; the denoiser is exact."""
    plain, jump = (
        make(f"{name}:sigma=0.2", "eight-gaussians") for name in ("truncated", "expressway")
    )
    z = noise(4000, (2, 1, 1))
    for steps in (2, 3, 4, 5):
        mixed = [
            between_modes(
                heun(
                    SigmaODE(MIXTURE.denoise),
                    s.latents(z, streams(0, range(4000))),
                    s.sigmas(steps),
                )
            )
            for s in (plain, jump)
        ]
        assert mixed[1] <= mixed[0] / 2
        assert mixed[0] > 0.02


def test_a_jump_from_the_top_is_the_full_sampler(make):
    """Noised data are noise there: as many samples in every mode, and as many in between."""
    ends = []
    for spec in ("gaussian", "ot-prior:sigma=80.0"):
        start = make(spec, "eight-gaussians")
        latents = start.latents(noise(3000, (2, 1, 1)), streams(0, range(3000)))
        ends.append(heun(SigmaODE(MIXTURE.denoise), latents, start.sigmas(12)).flatten(1))
    full, jump = ends
    assert between_modes(jump) == pytest.approx(between_modes(full), abs=0.02)
    assert frechet_distance(Moments.of(jump), Moments.of(full)) < 0.02
    assert torch.cdist(jump, MEANS).argmin(1).bincount(minlength=8).min() > 200


def test_smoothing_draws_towards_the_mean(make):
    centre = make("ot-prior:sigma=0.5").targets.images.mean(0).double()
    reach = [
        (begin(make(f"ot-prior:sigma=0.5,tau={tau}"), 200) - centre).square().mean()
        for tau in (0.0, 0.3, 3.0)
    ]
    assert reach == sorted(reach, reverse=True)
    assert reach[2] < 0.9 * reach[0]


def test_classes_are_kept(make):
    wanted = torch.arange(60) % 10
    for spec in ("expressway:sigma=0.5", "random-index:sigma=0.5", "ot-prior:sigma=0.5,tau=0.01"):
        ready = make(spec, conditional=True)
        points = begin(ready, 60, labels=wanted)
        near = torch.cdist(points.flatten(1), ready.targets.images.flatten(1).double()).argmin(1)
        assert torch.equal(ready.targets.labels[near], wanted)


def test_a_fit_is_kept_and_belongs_to_its_targets(make, tmp_path):
    data = make.data["digits"]

    def fitted(spec, seed=0):
        return prepare(spec, data, seed, tmp_path, "cpu", 80.0)

    first_time, files = (
        fitted("expressway:sigma=0.5"),
        lambda: sorted(tmp_path.glob("*.safetensors")),
    )
    (path,) = files()
    assert fitted("ot-prior:sigma=0.5").costs == first_time.costs  # same targets, same map
    assert fitted("ot-prior:sigma=0.5,tau=0.5").costs == first_time.costs
    assert files() == [path]
    fitted("expressway:sigma=2.0")
    (other,) = set(files()) - {path}
    shutil.copy(path, other)
    with pytest.raises(CouplingError, match="other images"):
        fitted("expressway:sigma=2.0")


def test_fresh_noise_shares_one_map_over_the_levels(make):
    low, high = (make(f"expressway:sigma={sigma},noise=fresh") for sigma in (0.5, 2.0))
    assert low.costs == high.costs
    assert torch.equal(low.targets.images, make.data["digits"].train.images)
    spread = begin(high, 100) - low.targets.images[low.fitted.assign(noise(100, (1, 8, 8)))]
    assert spread.std().item() == pytest.approx(2, rel=0.05)


def test_targets(make):
    data = make.data["digits"]
    held_out = make("random-index:sigma=0.5,targets=test").targets
    assert torch.equal(held_out.labels, data.test.labels)
    assert (held_out.images - data.test.images).std().item() == pytest.approx(0.5, rel=0.02)
    with pytest.raises(ValueError, match="images of a model"):
        make("random-index:sigma=0.5,targets=model")
    made = Split(torch.zeros(7, 1, 8, 8), torch.zeros(7, dtype=torch.int64))
    ready = make("random-index:sigma=0.5,targets=model", generate=lambda: made)
    assert ready.costs == {"start_targets": 7.0}


def test_coupled_denoisers_and_levels_above_the_top(make):
    with pytest.warns(UserWarning, match="without a coupling"):
        make("random-index:sigma=0.5", coupled=True)
    make("truncated:sigma=0.5", coupled=True)
    with pytest.raises(ValueError, match="at most"):
        make("truncated:sigma=81")


def test_projected_cells(make):
    ready = make("expressway:sigma=0.5,project=pca:8")
    assert ready.fitted.basis.shape == (64, 8)
    index_of(begin(ready, 20), ready)


def test_points_in_the_plane_need_no_rate_of_their_own(make):
    ready = make("expressway:sigma=0.5", "eight-gaussians")
    assert ready.fitted.coupling.rate == SemiDiscrete.rate
    assert ready.costs["start_chi2"] <= 0.05


MOMENTS = """
from dataclasses import dataclass
from models.starts.random_index import RandomIndex

@dataclass(frozen=True, kw_only=True)
class Moments(RandomIndex):
    takes_whole_targets = False
    spread: float = 1.0

    def place(self, targets):
        images = targets.images.double()
        return lambda noise, streams, labels: images.mean(0) + self.spread * images.std(0) * noise
"""


def test_a_start_of_the_users_is_found_by_its_module(make, tmp_path, monkeypatch):
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "moments.py").write_text(MOMENTS)
    monkeypatch.syspath_prepend(tmp_path)
    spec = "my_project.moments:sigma=0.5,spread=0.5"
    assert format_spec(parse(spec)) == spec
    prepared = make(spec)
    points = begin(prepared, 4000)
    targets = prepared.targets.images.double()
    torch.testing.assert_close(points.mean(0), targets.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(points.std(0), targets.std(0) / 2, atol=0.05, rtol=0)
    assert not prepared.choice.takes_whole_targets
    with pytest.raises(ValueError, match="did you mean spread"):
        parse("my_project.moments:sigma=0.5,spred=1")

import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from bench.config import EvaluationConfig, RunConfig, TrainingConfig
from bench.data import Dataset, Split, load
from bench.evaluation.loop import evaluate
from bench.evaluation.points import (
    MOST,
    PAIRS,
    PARTS,
    PATHS,
    Trajectories,
    save_pairs,
    save_points,
    save_trajectories,
)
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.sampling.latents import draw_latents
from models import edm as networks
from models.ode import FlowODE, SigmaODE
from models.samplers.heun import heun
from models.schedules.flow import Flow
from models.schedules.karras import Karras


def numbers(path):
    head, *lines = path.read_text().splitlines()
    return head, [[float(value) for value in line.split(",")] for line in lines]


def some_moons() -> Dataset:
    """The first 50 points of each split."""
    data = load("moons")
    train = Split(data.train.images[:50], data.train.labels[:50])
    return replace(data, train=train, test=Split(data.test.images[:50], data.test.labels[:50]))


def run(folder, data, coupling, **asked):
    given = {"nfe": (3, 5), "samples": 30, "rhos": (), **asked}
    evaluation = replace(EvaluationConfig(), **given)
    config = RunConfig("moons", coupling, training=TrainingConfig(pool=40), evaluation=evaluation)
    net = networks.small(1, 2, model_channels=8, channel_mult=(1,)).eval()
    ranks = Ranks(0, 1, "cpu")
    evaluate(config, net, data, [], ranks, RunFolder(folder), progress=False)
    return folder / "samples"


def test_the_first_points_are_kept_with_four_digits(tmp_path):
    points = torch.tensor([[0.123456, -2.0], [float("nan"), 1e-9]]).reshape(-1, 2, 1, 1)
    save_points(tmp_path / "samples" / "nfe5.csv", points)
    assert (tmp_path / "samples" / "nfe5.csv").read_text() == "x,y\n0.1235,-2\nnan,1e-09\n"


def test_no_more_than_a_page_can_show(tmp_path):
    save_points(tmp_path / "many.csv", torch.arange(4000.0).reshape(-1, 2, 1, 1))
    lines = (tmp_path / "many.csv").read_text().splitlines()
    assert len(lines) == 1 + MOST
    assert lines[-1] == f"{2 * MOST - 2},{2 * MOST - 1}"


def test_a_run_on_points_keeps_generated_ones_and_those_of_the_data(tmp_path):
    data = some_moons()
    samples = run(tmp_path, data, "random", metrics=("samples",))
    kept = {path.name: path.read_text().splitlines() for path in samples.iterdir()}
    lengths = {name: len(lines) for name, lines in kept.items()}
    assert lengths == {"nfe5.csv": 31, "real.csv": 51, "pairs.csv": 41}
    x, y = data.test.images[0].flatten().tolist()
    assert kept["real.csv"][:2] == ["x,y", f"{x:.4g},{y:.4g}"]


def test_points_of_another_sampler_are_kept_under_its_name(tmp_path):
    """At the usual numbers of evaluations; if none of them was asked for, at all."""
    data = some_moons()
    for samplers, nfe, kept in (
        (("euler", "heun"), (5, 7), {"euler-nfe5.csv", "nfe5.csv"}),
        (("euler",), (4, 6), {"euler-nfe4.csv", "euler-nfe6.csv"}),
    ):
        folder = tmp_path / str(nfe[0])
        samples = run(folder, data, "random", metrics=("samples",), samplers=samplers, nfe=nfe)
        assert {path.name for path in samples.glob("*nfe*.csv")} == kept


def test_a_run_keeps_the_pairs_of_its_coupling(tmp_path):
    """Of the same pool for both couplings; those of ``lapjv`` are the best assignment."""
    data = some_moons()
    pairs = {}
    for coupling in ("random", "lapjv"):
        samples = run(tmp_path / coupling, data, coupling, metrics=("samples",))
        head, rows = numbers(samples / "pairs.csv")
        assert head == "noise_x,noise_y,x,y"
        pairs[coupling] = torch.tensor(rows)
    noise = pairs["random"][:, :2]
    images = pairs["random"][:, 2:]
    assert torch.equal(pairs["lapjv"][:, 2:], images)
    assert torch.equal(pairs["lapjv"][:, :2].sort(0).values, noise.sort(0).values)
    train = data.train.images.flatten(1)
    # Four digits are kept.
    assert cdist(images, train).min(1).max() < 1e-3
    cost = cdist(images, noise, "sqeuclidean")
    least = cost[linear_sum_assignment(cost)].sum()
    took = (pairs["lapjv"][:, :2] - pairs["lapjv"][:, 2:]).square().sum().item()
    assert took == pytest.approx(least, rel=1e-3)
    assert cost.trace() > 1.2 * least


def test_pairs_are_no_more_than_a_page_can_show(tmp_path):
    many = torch.arange(2.0 * PAIRS + 20).reshape(-1, 2, 1, 1)
    save_pairs(tmp_path / "pairs.csv", many, -many)
    _, rows = numbers(tmp_path / "pairs.csv")
    assert rows[:2] == [[0, 1, 0, -1], [2, 3, -2, -3]]
    assert len(rows) == PAIRS


def test_a_run_keeps_paths_from_its_latents_to_where_they_end(tmp_path):
    data = some_moons()
    samples = run(tmp_path, data, "random", metrics=("paths",), trajectories=50, reference_steps=8)
    head, rows = numbers(samples / "trajectories.csv")
    assert head == "path,t,x,y"
    paths = {}
    for number, *point in rows:
        paths.setdefault(int(number), []).append(point)
    assert list(paths) == list(range(PATHS))
    noise = draw_latents(PATHS, data, 0).noise.flatten(1).tolist()
    for path, start in zip(paths.values(), noise, strict=True):
        times = [t for t, _, _ in path]
        assert times == sorted(set(times), reverse=True)
        assert times[0] == 1
        assert times[-1] == 0
        assert path[0][1:] == pytest.approx(start, rel=1e-3)
        # As many as the reference has steps here, and both ends.
        assert 4 < len(path) <= 10


@pytest.mark.parametrize(
    ("ode", "schedule", "top"), [(SigmaODE, Karras(), 80.0), (FlowODE, Flow(), math.inf)]
)
def test_paths_are_those_of_a_point_of_data_in_flow_coordinates(tmp_path, ode, schedule, top):
    """All data in one point: z = (1 - t) point + t n, in all rows and at all times kept."""
    point = torch.tensor([0.3, -0.4]).double().reshape(2, 1, 1)

    class Known:
        def __call__(self, x, sigma, labels=None):
            return point.expand_as(x)

        def at_time(self, z, t, labels=None):
            return point.expand_as(z)

    g = torch.Generator().manual_seed(0)
    latents = torch.randn(6, 2, 1, 1, generator=g, dtype=torch.float64)
    observer = Trajectories(rows=4)
    times = schedule.times(200, 0.002, top)
    ends = heun(ode(Known(), observe=observer), latents, times)
    kept = observer.per_sample()["trajectories"]
    assert kept.dtype == torch.float32
    assert PARTS / 2 < kept.shape[1] <= PARTS + 1
    save_trajectories(tmp_path / "paths.csv", kept, ends[:4])
    _, rows = numbers(tmp_path / "paths.csv")
    assert {number for number, *_ in rows} == {0, 1, 2, 3}
    for number, t, x, y in rows:
        n = latents[int(number)].flatten()
        expected = (1 - t) * point.flatten() + t * n
        # Below t = 1 Karras' path is that from sigma_max n: off by the point over sigma_max.
        assert [x, y] == pytest.approx(expected.tolist(), abs=1e-2)

from dataclasses import replace

import torch

from bench.config import EvaluationConfig, RunConfig
from bench.data import Split, load
from bench.evaluation.loop import evaluate
from bench.evaluation.points import MOST, save_points
from bench.process.ranks import Ranks
from bench.record import RunFolder
from models import edm as networks


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
    data = load("moons")
    data = replace(data, test=Split(data.test.images[:50], data.test.labels[:50]))
    asked = replace(EvaluationConfig(), nfe=(3, 5), samples=30, rhos=(), metrics=("samples",))
    net = networks.small(1, 2, model_channels=8, channel_mult=(1,)).eval()
    evaluate(
        RunConfig("moons", evaluation=asked),
        net,
        data,
        [],
        Ranks(0, 1, "cpu"),
        RunFolder(tmp_path),
        progress=False,
    )
    kept = {path.name: path.read_text().splitlines() for path in (tmp_path / "samples").iterdir()}
    assert {name: len(lines) for name, lines in kept.items()} == {"nfe5.csv": 31, "real.csv": 51}
    x, y = data.test.images[0].flatten().tolist()
    assert kept["real.csv"][:2] == ["x,y", f"{x:.4g},{y:.4g}"]

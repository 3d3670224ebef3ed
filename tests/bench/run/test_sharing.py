"""Runs at once, and the cores of each."""

from dataclasses import replace

import pytest

from bench import data
from bench.check import make
from bench.run.sharing import Sharing, metric_bytes, share, threads_of_user, within_memory


@pytest.mark.parametrize(
    ("asked", "runs", "cores", "threads", "expected"),
    [
        (None, 2, 2, None, Sharing(2, 1)),
        (None, 6, 2, None, Sharing(2, 1)),
        (None, 2, 16, None, Sharing(2, 8)),
        (None, 3, 16, None, Sharing(3, 5)),
        (None, 1, 4, None, Sharing(1, 4)),
        (1, 6, 4, None, Sharing(1, 4)),
        (4, 6, 2, None, Sharing(4, 1)),
        (9, 3, 2, None, Sharing(3, 1)),
        # OMP_NUM_THREADS has the last word on threads, and fewer processes have that many.
        (None, 6, 8, 4, Sharing(2, 4)),
        (None, 6, 2, 4, Sharing(1, 4)),
        (3, 6, 2, 4, Sharing(3, 4)),
    ],
)
def test_cores_are_shared_out(asked, runs, cores, threads, expected):
    assert share(asked, runs, cores, threads) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("4,2", 4), ("", None), ("0", None), ("many", None)]
)
def test_threads_of_the_user(monkeypatch, text, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads_of_user() == expected


def test_memory_takes_runs_away_but_no_threads():
    dataset = data.load("digits")
    config = make("digits", {"coupling": "lapjv"})
    sharing = Sharing(4, 2)
    assert within_memory(sharing, [config], dataset, float("inf")) == sharing
    assert within_memory(sharing, [config], dataset, 100e9) == sharing
    assert within_memory(sharing, [config], dataset, 2.5e9) == Sharing(2, 2)
    assert within_memory(sharing, [config], dataset, 1e6) == Sharing(1, 2)
    # 4 n^2 bytes of a large pool
    large = replace(config, training=replace(config.training, pool=40_000))
    assert within_memory(sharing, [config, large], dataset, 16e9) == Sharing(2, 2)


def test_points_in_the_plane_need_memory_for_their_distance_after_the_training():
    moons = data.load("moons")
    config = make("moons", {"coupling": "random", "samples": 10_000})
    assert metric_bytes(config, moons) == 12 * min(10_000, len(moons.test)) ** 2
    assert metric_bytes(make("digits", {"coupling": "random"}), data.load("digits")) == 0

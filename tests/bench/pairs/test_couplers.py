import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from bench import data
from bench.pairs.couplers import couple_fitted
from bench.pairs.pool import Drawn, Pairs, draw_pool
from bench.pairs.stream import PairStream
from bench.pairs.workers import Workers
from couplings import CouplingError, get


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def split():
    return data.load("digits").train


@pytest.fixture(scope="module")
def few(split):
    return type(split)(split.images[:60], split.labels[:60])


@pytest.fixture(scope="module")
def workers():
    """Two worker processes with a coupling that draws, asks for labels, changes noise and fails."""
    found = Workers(get("sinkhorn:epsilon=0.5,within_class=true,jitter=0.2"), 2)
    yield found
    found.close()


def test_a_worker_process_pairs_as_the_coupling_itself_does(split, workers):
    drawn = draw_pool(split, 64, 0, 0, 0).pairs
    there = workers.pair(drawn.images, drawn.noise, drawn.labels, generator(7))
    here = workers.coupling.pair(drawn.images, drawn.noise, drawn.labels, generator(7))
    assert torch.equal(there.index, here.index)
    assert torch.equal(there.of(drawn.noise), here.of(drawn.noise))
    assert there.report.keys() == here.report.keys()


def test_an_error_in_a_worker_process_is_the_couplings_own(split, workers):
    drawn = draw_pool(split, 64, 0, 0, 0).pairs
    with pytest.raises(CouplingError, match="needs labels"):
        workers.pair(drawn.images, drawn.noise, None, generator())


def test_a_worker_process_that_dies_is_an_error_with_the_way_out(split):
    doomed = Workers(get("random"), 1)
    drawn = draw_pool(split, 8, 0, 0, 0).pairs
    doomed.pair(drawn.images, drawn.noise)
    before = {child.pid for child in multiprocessing.active_children()}
    for pid in set(doomed._processes._processes) & before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(CouplingError, match="--workers 0"):
        doomed.pair(drawn.images, drawn.noise)
    doomed.close()


def test_a_clusters_warning_signals_do_not_end_a_worker_process(split):
    workers = Workers(get("random"), 1)
    drawn = draw_pool(split, 8, 0, 0, 0).pairs
    workers.pair(drawn.images, drawn.noise)
    for pid in workers._processes._processes:
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    pairing = workers.pair(drawn.images, drawn.noise)
    workers.close()
    assert pairing.index.tolist() == list(range(8))


def test_worker_processes_end_with_a_killed_trainer():
    code = """
import time, torch
from bench.pairs.couplers import Workers
from couplings import get
if __name__ == "__main__":
    workers = Workers(get("random"), 1)
    workers.pair(torch.randn(4, 3), torch.randn(4, 3))
    print(*workers._processes._processes, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as trainer:
        worker = int(trainer.stdout.readline())
        trainer.kill()
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{worker}")


def test_a_stream_is_the_same_with_worker_processes_as_without(split):
    options = {"pool": 64, "batch": 32, "seed": 3, "stop_step": 10}
    coupling = get("lapjv:jitter=0.2")
    with PairStream(split, coupling, **options) as stream:
        here = list(stream)
    with PairStream(split, coupling, workers=2, **options) as stream:
        there = list(stream)
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.noise, b.noise)
    assert stream.cost.pools == 5


def test_a_semidiscrete_pool_keeps_the_noises_and_gives_each_the_image_of_its_cell(few):
    fitted = get("semidiscrete:max_chi2=0.5,batch=512").fit(few.images, few.labels, generator())
    drawn = draw_pool(few, 32, 0, 0, 0)
    coupled = couple_fitted(fitted, few)(drawn, generator())
    cells = fitted.assign(drawn.pairs.noise)
    assert torch.equal(coupled.pairs.noise, drawn.pairs.noise)
    assert torch.equal(coupled.pairs.images, few.images[cells])
    assert torch.equal(coupled.pairs.labels, few.labels[cells])
    assert coupled.report["cost_after"] < coupled.report["cost_before"]
    assert coupled.state is None


def test_a_semidiscrete_pool_may_hold_mirrored_images_with_their_labels(few):
    fitted = get("semidiscrete:max_chi2=0.5,batch=512,flips=true").fit(
        few.images, few.labels, generator()
    )
    drawn = draw_pool(few, 60, 0, 0, 0)
    coupled = couple_fitted(fitted, few)(drawn, generator())
    cells = fitted.assign(drawn.pairs.noise)
    assert (cells >= 60).any()
    for image, label, cell in zip(
        coupled.pairs.images, coupled.pairs.labels, cells.tolist(), strict=True
    ):
        expected = few.images[cell % 60]
        assert torch.equal(image, expected.flip(-1) if cell >= 60 else expected)
        assert label == few.labels[cell % 60]


def test_a_pool_of_one_class_stays_so_with_potentials_of_their_own(few):
    fitted = get("semidiscrete:max_chi2=0.5,batch=512,per_class=true").fit(
        few.images, few.labels, generator()
    )
    drawn = draw_pool(few, 32, 0, 0, 0)
    coupled = couple_fitted(fitted, few)(drawn, generator())
    assert torch.equal(coupled.pairs.labels, drawn.pairs.labels)


def test_a_cached_pool_keeps_the_images_and_gives_each_a_noise_it_holds(few):
    fitted = get("cached:epochs=1,batch=30").fit(few.images, few.labels, generator())
    drawn = draw_pool(few, 100, 0, 0, 0)  # more than there are images: a second round begins
    coupled = couple_fitted(fitted, few)(drawn, generator())
    assert torch.equal(coupled.pairs.images, drawn.pairs.images)
    assert coupled.report["cost_after"] < coupled.report["cost_before"]
    last = drawn.rows[60:]
    held = torch.stack([fitted.noise(slots) for slots in fitted.slots[last]])  # [40, caches, ...]
    assert (held == coupled.pairs.noise[60:, None]).flatten(2).all(2).any(1).all()
    assert coupled.state["step"] == fitted.step


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_a_coupling_that_learns_goes_on_from_the_state_of_its_stream(few, stop):
    def fitted():
        return get("cached:epochs=1,batch=30").fit(few.images, few.labels, generator())

    options = {"pool": 40, "batch": 10, "seed": 3, "stop_step": 12}
    with PairStream(few, fitted(), **options) as stream:
        whole = list(stream)
    with PairStream(few, fitted(), **options) as first:
        begun = [pairs for _, pairs in zip(range(stop), first, strict=False)]
        state = first.state
    again = fitted()
    again.load_state_dict(state)
    with PairStream(few, again, start_step=stop, **options) as second:
        rest = list(second)
    for a, b in zip(whole, begun + rest, strict=True):
        assert torch.equal(a.noise, b.noise)


def test_a_drawn_pool_says_where_its_images_come_from(split):
    drawn = draw_pool(split, 64, 0, 0, 0)
    assert isinstance(drawn, Drawn)
    assert isinstance(drawn.pairs, Pairs)
    assert torch.equal(split.images[drawn.rows], drawn.pairs.images)

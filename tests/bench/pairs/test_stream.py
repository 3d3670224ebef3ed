import itertools
import multiprocessing

import pytest
import torch

from bench import data
from bench.data import as_images
from bench.pairs.pool import draw_pool
from bench.pairs.stream import PairStream
from bench.randomness import generator
from couplings import get
from models.augment import Augment


@pytest.fixture(scope="module")
def split():
    return data.load("digits").train


def take(split, coupling, steps, start=0, pool=64, batch=16):
    with PairStream(
        split, get(coupling), pool=pool, batch=batch, seed=3, start_step=start
    ) as stream:
        return list(itertools.islice(iter(stream), steps))


def rows(tensor):
    return sorted(map(tuple, tensor.flatten(1).tolist()))


def test_a_pool_draws_every_image_at_most_once_until_the_data_is_used_up(split):
    few = type(split)(split.images[:40], split.labels[:40])
    pool = draw_pool(few, 100, seed=0, rank=0, number=0).pairs
    _, counts = pool.images.flatten(1).unique(dim=0, return_counts=True)
    assert set(counts.tolist()) <= {2, 3}


def test_each_image_and_noise_of_a_pool_is_used_once(split):
    drawn = draw_pool(split, 64, seed=3, rank=0, number=0).pairs
    pairs = take(split, "lapjv", 4)
    assert rows(torch.cat([p.images for p in pairs])) == rows(drawn.images)
    assert rows(torch.cat([p.noise for p in pairs])) == rows(drawn.noise)


def test_couplings_see_the_same_images_labels_and_noises_and_differ_in_the_pairing_alone(split):
    random, coupled = take(split, "random", 8), take(split, "lapjv", 8)
    for a, b in zip(random, coupled, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
    first = [torch.cat([p.noise for p in pairs[:4]]) for pairs in (random, coupled)]
    assert rows(first[0]) == rows(first[1])
    assert not torch.equal(*first)


def test_the_pairs_handed_out_are_the_optimal_ones(split):
    """The permutation lands on the noise, in the right direction: the cost of what comes out is the
    least possible.
    """
    from scipy.optimize import linear_sum_assignment

    drawn = draw_pool(split, 64, seed=3, rank=0, number=0).pairs
    cost = (
        torch.cdist(drawn.images.flatten(1).double(), drawn.noise.flatten(1).double())
        .square()
        .numpy()
    )
    best = cost[linear_sum_assignment(cost)].sum()
    pairs = take(split, "lapjv", 4)
    found = sum((p.images - p.noise).double().square().sum().item() for p in pairs)
    assert found == pytest.approx(best, rel=1e-6)


def test_labels_stay_with_their_images(split):
    known = {
        tuple(image.flatten().tolist()): label.item()
        for image, label in zip(split.images, split.labels, strict=True)
    }
    for pairs in take(split, "lapjv", 4):
        for image, label in zip(pairs.images, pairs.labels, strict=True):
            assert known[tuple(image.flatten().tolist())] == label.item()


@pytest.mark.parametrize("start", [1, 4, 6])
@pytest.mark.parametrize("coupling", ["lapjv", "sinkhorn:epsilon=0.5"])
@pytest.mark.parametrize("pool", [64, 40, 7])
def test_a_stream_can_begin_at_any_step(split, coupling, start, pool):
    whole, part = take(split, coupling, 8, pool=pool), take(split, coupling, 8 - start, start, pool)
    for a, b in zip(whole[start:], part, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.noise, b.noise)


@pytest.mark.parametrize("pool", [64, 40, 16, 7])
def test_batches_run_on_from_one_pool_to_the_next(split, pool):
    """Whatever the batch, what comes out is the pools one after the other."""
    by_pool = take(split, "lapjv", 10, pool=pool, batch=pool)
    by_batch = take(split, "lapjv", 4, pool=pool, batch=16)
    for part in ("images", "noise", "labels"):
        want = torch.cat([getattr(pairs, part) for pairs in by_pool])[:64]
        assert torch.equal(torch.cat([getattr(pairs, part) for pairs in by_batch]), want)


def test_a_coupling_that_learns_goes_on_from_the_middle_of_a_pool(split):
    """The state at a step is that before the pool which the step is in the midst of."""
    few = type(split)(split.images[:60], split.labels[:60])
    options = {"pool": 40, "batch": 16, "seed": 3, "stop_step": 12}

    def fitted():
        return get("cached").fit(as_images(few.images), generator=generator(0, "fit"))

    with PairStream(few, fitted(), **options) as stream:
        whole = [(pairs.noise, stream.state) for pairs in stream]
    for start in range(1, 12):
        again = fitted()
        again.load_state_dict(whole[start - 1][1])
        with PairStream(few, again, **options, start_step=start) as stream:
            for (noise, _), pairs in zip(whole[start:], stream, strict=True):
                assert torch.equal(noise, pairs.noise)


@pytest.mark.parametrize("options", ["", ",jitter=0.3", ",mix=0.5"])
def test_pairs_that_follow_the_model_are_those_of_their_own_step_and_stay_after_a_stop(
    split, options
):
    """The model changes with each step; a run that resumes inside a pool has other weights than
    those which paired it.
    """
    sizes = {"pool": 40, "batch": 16, "seed": 3, "stop_step": 10}
    step = [0]
    asked = []

    def velocity(state, t, labels):
        asked.append((step[0], len(state)))
        return state.flatten(1).roll(step[0], 1).reshape(state.shape) * (1 + step[0])

    def batches(start=0, resumed=None):
        coupling = get(f"model-aligned:warmup=0{options}").using(velocity)
        step[0] = start
        found = []
        with PairStream(split, coupling, **sizes, start_step=start, resumed=resumed) as stream:
            for pairs in stream:
                found.append((pairs.noise, stream.state))
                step[0] += 1
        return found

    whole = batches()
    # Two evaluations a pool, at the steps that are the first to take from pools 0 to 3.
    assert [at for at, count in asked if count == 40] == [0, 0, 2, 2, 5, 5, 7, 7]
    for start in range(1, 10):
        for (noise, _), (again, _) in zip(
            whole[start:], batches(start, whole[start - 1][1]), strict=True
        ):
            assert torch.equal(noise, again)
    # A pool ends with step 5, so nothing is kept there.
    assert whole[4][1] is None
    assert whole[3][1] is not None


def test_no_worker_pairs_for_a_model_in_training(split):
    coupling = get("model-aligned").using(lambda state, t, labels: state)
    options = {"pool": 32, "batch": 32, "seed": 0, "stop_step": 2}
    with PairStream(split, coupling, **options, workers=2) as stream:
        assert len(list(stream)) == 2
        assert not multiprocessing.active_children()


def test_ranks_and_seeds_draw_pools_of_their_own(split):
    pools = [
        draw_pool(split, 8, seed, rank, 0).pairs.noise for seed, rank in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({tuple(p.flatten().tolist()) for p in pools}) == 3


def test_the_cost_of_coupling_is_counted(split):
    with PairStream(split, get("lapjv"), pool=64, batch=16, seed=0) as stream:
        list(itertools.islice(iter(stream), 8))
        cost = stream.cost
    assert cost.pools == 2
    assert 0 < cost.cost_after < cost.cost_before
    assert cost.solver_seconds > 0
    assert cost.median_ms > 0


def test_an_error_of_the_solver_reaches_the_trainer(split):
    with pytest.raises(ValueError, match="max_iterations"):
        take(split, "sinkhorn:epsilon=0.001,max_iterations=1", 4)


@pytest.mark.parametrize(("pool", "pools"), [(64, 2), (40, 4), (7, 19)])
def test_a_resumed_stream_counts_each_pool_once_and_solves_none_beyond_the_end(
    split, monkeypatch, pool, pools
):
    import bench.pairs.stream as module

    solved = []
    draw = module.draw_pool
    monkeypatch.setattr(module, "draw_pool", lambda *a: solved.append((a[1], a[4])) or draw(*a))
    options = {"pool": pool, "batch": 16, "seed": 0, "stop_step": 8}
    with PairStream(split, get("lapjv"), **options) as whole:
        assert len(list(whole)) == 8
    assert solved[1:] == [(pool, number) for number in range(pools)]
    with PairStream(split, get("lapjv"), **options) as first:
        list(itertools.islice(iter(first), 6))
    with PairStream(split, get("lapjv"), **options, start_step=6, cost=first.cost) as second:
        assert len(list(second)) == 2
    assert second.cost.pools == whole.cost.pools == pools
    assert second.cost.cost_after == pytest.approx(whole.cost.cost_after)


def test_a_pool_is_augmented_before_it_is_coupled(split):
    """AOT's order: the pairs handed out are the best ones for the images as the network will see
    them.
    """
    from scipy.optimize import linear_sum_assignment

    options = {"pool": 64, "batch": 64, "seed": 3, "augment": Augment(0.8)}
    with PairStream(split, get("lapjv"), **options) as stream:
        pairs = next(iter(stream))
    drawn = draw_pool(split, 64, seed=3, rank=0, number=0).pairs
    assert rows(pairs.noise) == rows(drawn.noise)
    assert not torch.equal(pairs.images, drawn.images)
    cost = torch.cdist(pairs.images.flatten(1).double(), pairs.noise.flatten(1).double()).square()
    best = cost[linear_sum_assignment(cost.numpy())].sum().item()
    assert cost.diagonal().sum().item() == pytest.approx(best, rel=1e-6)

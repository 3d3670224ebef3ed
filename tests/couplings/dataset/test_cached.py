import pytest
import torch
from scipy.optimize import linear_sum_assignment

from couplings import CouplingError, get
from couplings.dataset.cached import exchange
from couplings.dataset.contract import training_set

N = 40


@pytest.fixture
def cached(pool):
    return get("cached:caches=2,batch=8,epochs=0").begin(training_set(pool(N)[0]), 5)


def is_permutation(slots) -> bool:
    return sorted(slots.flatten().tolist()) == list(range(slots.numel()))


def test_the_cost_never_rises_and_the_noises_stay(cached, seeded):
    generator = seeded(0)
    costs = [cached.cost()]
    noises = cached.noise(torch.arange(2 * N))
    for _ in range(30):
        cached.pair(torch.randperm(N, generator=generator)[:8])
        costs.append(cached.cost())
        assert is_permutation(cached.slots)
    assert all(
        after <= before * (1 + 1e-12) for before, after in zip(costs, costs[1:], strict=False)
    )
    assert costs[-1] < 0.97 * costs[0]
    assert torch.equal(cached.noise(torch.arange(2 * N)), noises)
    assert noises.std() == pytest.approx(1, abs=0.05)


def test_pair_returns_what_is_then_held(cached):
    index = torch.tensor([3, 30, 11, 7])
    noise = cached.pair(index)
    held = torch.stack([cached.noise(slots) for slots in cached.slots[index]])  # [4, caches, ...]
    assert (held == noise[:, None]).flatten(2).all(2).any(1).all()
    assert cached.report["steps"] == 1


def test_the_whole_set_at_once_is_the_exact_assignment(pool):
    images, _ = pool(N)
    cached = get("cached:caches=1").begin(training_set(images), 5)
    noise = cached.noise(torch.arange(N))
    distance = torch.cdist(images.flatten(1).double(), noise.flatten(1).double()).square().numpy()
    cached.pair(torch.arange(N))
    assert cached.cost() == pytest.approx(
        distance[linear_sum_assignment(distance)].mean(), rel=1e-6
    )


def test_sweeps_approach_the_global_optimum(pool, seeded):
    images, _ = pool(N)
    costs = [
        get(f"cached:caches=1,batch=8,epochs={e}").fit(images, generator=seeded(0)).cost()
        for e in (0, 1, 20)
    ]
    best = get("cached:caches=1,batch=40,epochs=1").fit(images, generator=seeded(0)).cost()
    assert costs[0] > costs[1] > costs[2] >= best * (1 - 1e-9)
    assert costs[0] - costs[2] > 0.9 * (costs[0] - best)


def test_resume_keeps_what_training_learned(pool, seeded):
    images, _ = pool(N)
    batches = [torch.randperm(N, generator=seeded(s))[:8] for s in range(12)]
    whole = get("cached").fit(images, generator=seeded(0))
    for batch in batches[:6]:
        whole.pair(batch)
    resumed = get("cached").begin(training_set(images), 0)
    resumed.load_state_dict(whole.state_dict())
    for batch in batches[6:]:
        assert torch.equal(whole.pair(batch), resumed.pair(batch))
    assert torch.equal(whole.slots, resumed.slots)
    assert whole.report == resumed.report
    slots = whole.slots.clone()
    whole.run(lambda: None)  # a finished fit: nothing is done again, nothing is drawn
    assert torch.equal(whole.slots, slots)


def test_augmented_images_decide(pool):
    images, _ = pool(N)
    index = torch.arange(8)
    pairs = [
        get("cached:caches=1").begin(training_set(images), 5).pair(index, sign * images[:8])
        for sign in (1, -1)
    ]
    correlation = [float((z * images[:8]).sum()) for z in pairs]
    assert correlation[0] > 0 > correlation[1]


def test_per_class_exchanges_within_a_class(pool, seeded):
    images, _ = pool(N)
    labels = torch.arange(N) % 4
    fitted = get("cached:per_class=true,caches=3").fit(images, labels, seeded(0))
    assert is_permutation(fitted.slots)
    assert torch.equal((fitted.slots // 3) % 4, labels[:, None].expand(-1, 3))
    assert fitted.report["swaps"] > 0


def test_exchange_leaves_ties_in_place():
    same = torch.ones(5, 3)
    assert exchange(
        same, torch.randn(5, 3, generator=torch.Generator()), torch.zeros(5)
    ).tolist() == [0, 1, 2, 3, 4]


def test_misuse_is_refused(cached):
    with pytest.raises(CouplingError, match="twice"):
        cached.pair(torch.tensor([1, 1]))
    with pytest.raises(CouplingError, match="leaves"):
        cached.pair(torch.tensor([N]))
    with pytest.raises(CouplingError, match="images"):
        cached.pair(torch.tensor([1, 2]), torch.zeros(2, 3))
    for option in ("caches=0", "batch=1", "epochs=-1"):
        with pytest.raises(CouplingError, match=option.split("=")[0]):
            get(f"cached:{option}")

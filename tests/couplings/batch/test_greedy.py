import torch

from couplings import get


def test_the_first_image_gets_the_nearest_noise_and_the_last_what_is_left(seeded):
    """On a line with noise at 0, 1 and 10, whoever comes first of two images at 0 takes the 0."""
    images = torch.tensor([[0.0], [0.1], [0.2]])
    noise = torch.tensor([[10.0], [0.0], [1.0]])
    found = {
        tuple(get("greedy").pair(images, noise, generator=seeded(seed)).index.tolist())
        for seed in range(40)
    }
    assert found == {(1, 2, 0), (1, 0, 2), (2, 1, 0), (0, 1, 2), (2, 0, 1), (0, 2, 1)}


def test_between_random_and_the_optimum(pool, seeded):
    images, noise = pool(200, (3, 8, 8))
    report = get("greedy").pair(images, noise, generator=seeded(0)).report
    assert (
        get("lapjv").pair(images, noise).report["cost_after"]
        < report["cost_after"]
        < report["cost_before"]
    )

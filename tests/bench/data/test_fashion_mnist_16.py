import pytest
import torch

from bench.data import load
from bench.data.fashion_mnist_16 import halve


def test_each_pixel_is_the_mean_of_its_block():
    blocks = [[0, 0, 0, 1], [0, 0, 1, 1], [255, 255, 255, 255], [10, 20, 30, 41]]
    image = torch.tensor(
        [[0, 0, 0, 0], [0, 1, 1, 1], [255, 255, 10, 20], [255, 255, 30, 41]], dtype=torch.uint8
    ).reshape(1, 1, 4, 4)
    means = [sum(block) / 4 for block in blocks]
    expected = [int(mean + 0.5) for mean in means]
    expected[1] = 1  # (0, 0, 1, 1): a half is rounded up
    assert halve(image).flatten().tolist() == expected


def test_random_images_agree_with_average_pooling():
    images = torch.randint(
        256, (5, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    pooled = torch.nn.functional.avg_pool2d(images.double(), 2)
    assert halve(images).dtype == torch.uint8
    assert torch.equal(halve(images).double(), (pooled + 0.5).floor())


@pytest.mark.data
def test_real_set_is_the_large_one_halved(real_data):
    small, large = load("fashion-mnist-16", real_data), load("fashion-mnist", real_data)
    assert torch.equal(small.test.labels, large.test.labels)
    pooled = torch.nn.functional.avg_pool2d(large.test.images.float(), 2)
    assert (small.test.images - pooled).abs().max() <= 0.5

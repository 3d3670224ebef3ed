import pytest
import torch
from scipy.spatial.distance import cdist

from couplings import get


@pytest.mark.parametrize("shape", [(1,), (3, 8, 8)])
def test_no_pair_blocks(pool, shape):
    images, noise = (x.flatten(1).double() for x in pool(150, shape))
    index = get("stable").pair(images, noise).index
    distance = torch.from_numpy(cdist(images, noise))
    paired = distance[torch.arange(150), index]
    mate = torch.empty(150, dtype=torch.float64).scatter(0, index, paired)  # what every noise has
    assert not ((distance < paired[:, None] - 1e-9) & (distance < mate - 1e-9)).any()


def test_the_nearest_pair_is_taken_first():
    images = torch.tensor([[0.0], [2.0]])
    noise = torch.tensor([[1.9], [3.0]])
    assert get("stable").pair(images, noise).index.tolist() == [1, 0]
    assert get("hungarian").pair(images, noise).index.tolist() == [0, 1]

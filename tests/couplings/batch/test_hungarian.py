import pytest
import torch

from couplings import get


def test_a_known_pool():
    images = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = torch.tensor([[0.0, 9.0], [1.0, 0.0], [9.0, 1.0]])
    pairing = get("hungarian").pair(images, noise)
    assert pairing.index.tolist() == [1, 2, 0]
    assert pairing.report["cost_after"] == pytest.approx((1 + 2 + 1) / 3)


def test_l2_prefers_one_long_pair():
    """Lengths 1 and 1.005 against 0 and 2.002: the second has the lower sum, the first the lower
    squares.
    """
    bent = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.1]])
    assert get("hungarian").pair(*bent).index.tolist() == [0, 1]
    assert get("hungarian:cost=l2").pair(*bent).index.tolist() == [1, 0]

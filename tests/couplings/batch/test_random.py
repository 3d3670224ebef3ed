import torch

from couplings import get


def test_pairs_stay_as_drawn(pool):
    pairing = get("random").pair(*pool(9))
    assert torch.equal(pairing.index, torch.arange(9))
    assert pairing.report["cost_after"] == pairing.report["cost_before"]

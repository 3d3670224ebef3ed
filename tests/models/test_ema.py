import pytest
import torch
from torch import nn

from models.ema import EMA


class Scalar(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))
        self.register_buffer("stored", torch.tensor(value))


def test_half_life_counts_images_whatever_the_batch():
    for batch in (1, 10, 50):
        ema = EMA(Scalar(1.0), halflife=100, rampup=None)
        for seen in range(0, 200, batch):
            ema.update(Scalar(0.0), seen, batch)
        assert ema.net.weight.item() == pytest.approx(0.25, rel=1e-5)  # two half-lives


def test_ramp_up_limits_the_half_life_to_a_fraction_of_the_images_seen():
    ema = EMA(Scalar(1.0), halflife=500, rampup=0.05)
    assert ema.beta(0, batch=64) == 0  # nothing seen: take the new weights over
    assert ema.beta(2000, batch=100) == pytest.approx(0.5)
    assert ema.beta(4000, batch=100) == pytest.approx(0.5**0.5)
    assert ema.beta(10**9, batch=500) == pytest.approx(0.5)
    assert EMA(Scalar(1.0), halflife=500, rampup=None).beta(0, batch=500) == pytest.approx(0.5)


def test_first_update_with_ramp_up_forgets_the_initial_weights():
    ema = EMA(Scalar(1.0), halflife=500)
    ema.update(Scalar(-3.0), images_seen=0, batch=8)
    assert ema.net.weight.item() == -3


def test_average_is_a_copy_without_gradients():
    net = Scalar(2.0).train()
    ema = EMA(net, halflife=10, rampup=None)
    assert not ema.net.training
    assert not ema.net.weight.requires_grad
    net.stored.fill_(7)
    net.weight.data.fill_(4)
    assert ema.net.weight.item() == 2
    assert ema.net.stored.item() == 2
    ema.update(net, 0, batch=10)
    assert ema.net.weight.item() == 3
    assert ema.net.stored.item() == 7  # running statistics are those of the network
    assert net.weight.requires_grad
    assert net.weight.item() == 4

"""Networks that torch.compile takes whole, in parts, or not at all; without a C++ compiler."""

from copy import deepcopy

import pytest
import torch

from bench.training.compiled import Compiled
from bench.training.state import TrainingError
from models.blocks import recompute
from models.networks import small

SIZES = {"model_channels": 8, "channel_mult": (1,), "dropout": 0.2}


class Breaking(torch.nn.Module):
    """A network with a statement that the compiler leaves to Python."""

    def forward(self, x):
        y = x.square()
        torch._dynamo.graph_break()
        return y + 1


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(net, call):
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        call(x, torch.zeros(4), None, None).square().sum().backward()
    return [weight.grad for weight in net.parameters()]


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_network_compiled_whole_has_the_same_gradients(capsys, recomputed):
    with torch.random.fork_rng():
        net = small.build(8, 1, 0, 0, **SIZES).train()
    other = deepcopy(net)
    if recomputed:
        recompute(other)
    expected = gradients(net, net)
    found = gradients(other, Compiled(other, "small", backend="eager"))
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two, one)
    assert "note" not in capsys.readouterr().out


def test_a_network_compiled_in_parts_is_noted_once(capsys):
    compiled = Compiled(Breaking(), "my.net", backend="eager")
    for _ in range(2):
        assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    said = capsys.readouterr().out
    assert said.count("note: --compile: --arch my.net is compiled in 2 parts") == 1
    assert said.count("\n") == 1


def test_a_network_that_cannot_be_compiled_is_one_line():
    def fail(*_):
        raise ValueError("no compiler\nhere")

    compiled = Compiled(torch.nn.Linear(2, 2), "my.net", backend=fail)
    with pytest.raises(TrainingError, match="--arch my.net.*leave --compile out") as raised:
        compiled(torch.ones(1, 2))
    assert "\n" not in str(raised.value)

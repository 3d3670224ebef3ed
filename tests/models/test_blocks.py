"""Gradient checkpointing: the same gradients from fewer kept numbers."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from models.blocks import blocks, recompute
from models.networks import adm, ncsnpp, residual_mlp, small
from models.networks.mlp import build as mlp

SIZES = (8, 1, 0, 0)
WIDE = {"model_channels": 32, "channel_mult": (1, 2), "num_blocks": 1, "dropout": 0.2}
BUILDS = {
    "small": lambda: small.build(*SIZES, **WIDE),
    "ncsnpp": lambda: ncsnpp.build(*SIZES, **WIDE, attn_resolutions=(8,)),
    "adm": lambda: adm.build(*SIZES, **WIDE, attn_resolutions=(8,)),
    "mlp": lambda: mlp(*SIZES, depth=7),
    "residual-mlp": lambda: residual_mlp.build(*SIZES),
}


@pytest.fixture(params=BUILDS)
def net(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = BUILDS[request.param]()
        # Last layers begin near 0, where gradients of the others would be too.
        for weight in net.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    return net.train()


def step(net):
    """Gradients, bytes kept for the backward pass, and the next number of the generator."""
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng():
        torch.manual_seed(2)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = net(x, torch.zeros(4), None, None).square().mean()
        loss.backward()
        drawn = torch.rand(()).item()
    return [weight.grad for weight in net.parameters()], sum(kept.values()), drawn


def test_recomputed_blocks_have_the_same_gradients_and_keep_less(net):
    other = deepcopy(net)
    assert recompute(other) > 1
    assert list(other.state_dict()) == list(net.state_dict())
    gradients, kept, drawn = step(net)
    again, less, drawn_again = step(other)
    assert drawn == drawn_again
    for one, two in zip(gradients, again, strict=True):
        assert torch.equal(one, two)
    assert less < kept / 1.5


def test_a_block_is_a_residual_block_or_a_layer():
    with torch.random.fork_rng():
        unet, points = BUILDS["small"](), BUILDS["mlp"]()
    assert len(blocks(unet)) == len(unet.enc) + len(unet.dec)
    # Activations have no weights.
    assert [type(layer).__name__ for layer in blocks(points)] == ["Linear"] * 8


def test_blocks_in_lists_of_lists_are_found():
    class Levels(nn.Module):
        def __init__(self):
            super().__init__()
            pair = [nn.Sequential(nn.Linear(2, 2), nn.SiLU()), nn.Linear(2, 2)]
            self.levels = nn.ModuleList(
                [nn.ModuleList(pair), nn.ModuleDict({"a": nn.Linear(2, 2)})]
            )

    net = Levels()
    first, second = net.levels
    assert blocks(net) == [*first, second["a"]]
    # A single layer keeps its input in any case.
    assert recompute(net) == 1


def test_composite_blocks_of_a_short_sequence_are_recomputed_one_by_one():
    net = nn.Module()
    block = nn.Sequential(nn.Linear(2, 2), nn.SiLU())
    net.trunk = nn.Sequential(block, nn.Linear(2, 2))
    assert recompute(net) == 1


def test_a_network_without_blocks_is_left_alone():
    net = nn.Bilinear(2, 2, 2)
    assert blocks(net) == []
    assert recompute(net) == 0

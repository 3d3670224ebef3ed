"""The perceptrons: their sizes, their formulas, and what their labels do."""

import pytest
import torch
from torch.nn import functional as F

from models.networks import mlp, residual_mlp

BUILDERS = {"mlp": mlp.build, "residual-mlp": residual_mlp.build}


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("label_dim", "count"), [(0, 396_034), (1, 396_290)])
def test_the_residual_network_has_the_published_number_of_parameters(label_dim, count):
    """About 396,000: three blocks, embeddings of x, t and the condition, and the last layer."""
    block = 128 * 512 + 512 + 512 * 128 + 128
    expected = 3 * block + (2 + 1) * 128 + 2 * 128 + (2 * 128 if label_dim else 0) + 128 * 2 + 2
    assert parameters(residual_mlp.build(1, 2, label_dim)) == expected == count


def test_three_layers_of_64_in_the_plane_have_8706_parameters():
    assert parameters(mlp.build(1, 2)) == 8_706


def test_the_mlp_is_its_layers_in_a_row(seeded):
    net = mlp.build(1, 2, 3, width=5, depth=2, activation="selu")
    x = torch.randn(4, 2, 1, 1, generator=seeded())
    t = torch.rand(4, generator=seeded(1))
    labels = torch.eye(3)[[0, 2, 1, 1]]
    hidden = torch.cat([t[:, None], x.flatten(1), labels], 1)
    first, second, last = [layer for layer in net.layers if hasattr(layer, "weight")]
    for layer in (first, second):
        hidden = F.selu(hidden @ layer.weight.T + layer.bias)
    expected = hidden @ last.weight.T + last.bias
    assert torch.allclose(net(x, t, labels).flatten(1), expected, atol=1e-6)


def test_the_residual_network_is_a_sum_of_embeddings_and_blocks(seeded):
    net = residual_mlp.build(1, 2, 1, width=6, depth=2, expansion=2)
    x = torch.randn(4, 2, 1, 1, generator=seeded())
    t = torch.rand(4, generator=seeded(1))
    condition = torch.randn(4, 1, generator=seeded(2))
    hidden = net.embed_image(x.flatten(1)) + net.embed_noise(t[:, None])
    hidden = hidden + net.embed_condition[0](condition)
    for inner, _, outer in net.blocks:
        hidden = hidden + outer(F.gelu(inner(hidden)))
    assert torch.allclose(net(x, t, condition).flatten(1), net.last(hidden), atol=1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_input_matters_and_absent_labels_are_zeros(name, seeded):
    net = BUILDERS[name](2, 3, 4, 9)
    x = torch.randn(2, 3, 2, 2, generator=seeded())
    t = torch.tensor([0.2, 0.7])
    labels = torch.eye(4)[:2]
    augment = torch.randn(2, 9, generator=seeded(1))
    base = net(x, t, labels, augment)
    assert base.shape == x.shape
    for other in (net(-x, t, labels, augment), net(x, t + 1, labels, augment)):
        assert not torch.allclose(base, other)
    for other in (net(x, t, None, augment), net(x, t, labels, None)):
        assert not torch.allclose(base, other)
    zeros = net(x, t, torch.zeros(2, 4), torch.zeros(2, 9))
    assert torch.equal(net(x, t), zeros)
    assert torch.equal(net(x, t, torch.zeros(1, 4)), zeros)


@pytest.mark.parametrize("name", BUILDERS)
def test_it_computes_in_the_dtype_of_its_input(name, seeded):
    net = BUILDERS[name](1, 2)
    x = torch.randn(8, 2, 1, 1, generator=seeded())
    t = torch.rand(8, generator=seeded(1))
    half = net(x.bfloat16(), t)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), net(x, t), atol=0.05)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 0}])
def test_networks_without_a_layer_are_refused(name, options):
    with pytest.raises(ValueError, match=f"{name}: width"):
        BUILDERS[name](1, 2, **options)

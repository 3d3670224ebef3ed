"""Blocks of a network: what is computed again, or gathered from other processes, one at a time."""

from __future__ import annotations

import math
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

LISTS = (nn.ModuleList, nn.ModuleDict)  # containers that cannot be called themselves


def containers(net: nn.Module) -> list[nn.Module]:
    """Find the outermost lists, dictionaries and sequences of layers in a network."""
    found: list[nn.Module] = []
    for child in net.children():
        if isinstance(child, (*LISTS, nn.Sequential)):
            found.append(child)
        else:
            found += containers(child)
    return found


def entries(container: nn.Module) -> list[nn.Module]:
    """List the layers of a container that can be called, also those of lists within it."""
    found: list[nn.Module] = []
    for child in container.children():
        found += entries(child) if isinstance(child, LISTS) else [child]
    return found


def blocks(net: nn.Module) -> list[nn.Module]:
    """List the blocks of a network that have weights, in their order.

    They are the entries of its outermost ``nn.ModuleList``, ``nn.ModuleDict`` and
    ``nn.Sequential``: residual blocks of the U-Nets, layers of a perceptron. A network of another
    build has none.
    """
    layers = []
    for container in containers(net):
        layers += entries(container)
    return [layer for layer in layers if list(layer.parameters())]


def recompute(net: nn.Module) -> int:
    """Have a network compute the inside of its blocks again in the backward pass.

    Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of each block only the input is
    kept. A sequence of n layers is cut into about sqrt(n) blocks, as in Section 4.1 there. Dropout
    draws the same numbers again, so the gradients are the same. Names of weights do not change.

    Returns:
        The number of blocks; 0 if the network has none, and nothing was changed.

    """
    count = 0
    for container in containers(net):
        parts = _recompute_parts(container) if isinstance(container, nn.Sequential) else 0
        # A sequence too short to cut may still hold large blocks.
        count += parts or _recompute_layers(container)
    return count


def _recompute_layers(container: nn.Module) -> int:
    """Have the composite layers of a container computed again, each on its own."""
    # A single layer keeps its input anyway: computing it again would save nothing.
    composite = [layer for layer in entries(container) if list(layer.children())]
    for layer in composite:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return len(composite)


def _recompute_parts(sequence: nn.Sequential) -> int:
    """Cut a sequence into parts, of which torch computes all but the last one again."""
    parts = math.isqrt(len(sequence))
    # One part is the last one too, and would change nothing.
    if parts < 2:
        return 0
    layers = list(sequence)
    # Not `self.forward`: the parts call the layers, so that their own hooks still run.
    sequence.forward = partial(  # type: ignore[method-assign]
        checkpoint_sequential, layers, parts, use_reentrant=False
    )
    return parts

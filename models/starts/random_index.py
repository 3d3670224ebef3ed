"""A start from targets drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.starts.contract import Map, Targets
from models.starts.truncated import Truncated
from models.streams import Streams, uniform_index


@dataclass(frozen=True, kw_only=True)
class RandomIndex(Truncated):
    """A noised target drawn at random: the control of `expressway`, without its transport map.

    Options, in addition to those of `truncated`:
        targets: images of the training or of the held-out split, or made by the model itself.
        noise: `frozen`, drawn once per target and part of it, or `fresh` for each sample.
    """

    targets: Literal["train", "test", "model"] = "train"
    noise: Literal["frozen", "fresh"] = "frozen"

    def place(self, targets: Targets) -> Map:
        return random_index(targets.images, targets.labels)

    @property
    def takes_whole_targets(self) -> bool:
        return True


def random_index(targets: Tensor, labels: Tensor | None = None) -> Map:
    """Make the map to a target ``[N, ...]`` drawn uniformly.

    With classes ``[N]``, it is drawn from the class that is asked for.
    """
    # On the CPU, as the generators of the samples are.
    everything = torch.arange(len(targets), device="cpu")
    members = {}
    if labels is not None:
        for label in labels.unique().tolist():
            # Members of each class once, not for every chunk of samples.
            members[label] = everything[labels.cpu() == label]

    def draw(noise: Tensor, streams: Streams, wanted: Tensor | None) -> Tensor:
        if labels is None:
            pools = [everything] * len(noise)
        else:
            pools = [members[label] for label in wanted.tolist()]
        places = uniform_index([len(pool) for pool in pools], streams).tolist()
        rows = [pool[place].item() for pool, place in zip(pools, places, strict=True)]
        return targets[torch.tensor(rows, dtype=torch.int64, device=targets.device)]

    return draw

"""A start from targets drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from models.starts.contract import Map
from models.starts.truncated import Truncated
from models.streams import Streams, uniform_index


@dataclass(frozen=True, kw_only=True)
class RandomIndex(Truncated):
    """A noised target drawn at random: what is left of the jumps below without their transport map.

    Options, besides those of `truncated`:
        targets: images of the training or of the held-out split, or made by the model itself.
        noise: `frozen`, drawn once for each target and part of it, or `fresh` for each sample.
    """

    name: ClassVar[str] = "random-index"

    targets: Literal["train", "test", "model"] = "train"
    noise: Literal["frozen", "fresh"] = "frozen"


def random_index(targets: Tensor, labels: Tensor | None = None) -> Map:
    """The map to a target ``[N, ...]`` drawn uniformly; with classes ``[N]``, from the class that
    is wanted.
    """
    everything = torch.arange(len(targets), device="cpu")
    members = (
        {}
        if labels is None
        else {c: everything[labels.cpu() == c] for c in labels.unique().tolist()}
    )

    def draw(noise: Tensor, streams: Streams, wanted: Tensor | None) -> Tensor:
        pools = (
            [everything] * len(noise) if labels is None else [members[c] for c in wanted.tolist()]
        )
        places = uniform_index([len(pool) for pool in pools], streams).tolist()
        rows = [pool[place].item() for pool, place in zip(pools, places, strict=True)]
        return targets[torch.tensor(rows, dtype=torch.int64, device=targets.device)]

    return draw

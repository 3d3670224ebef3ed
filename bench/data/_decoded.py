"""Images that are decoded from latents whenever they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data._stored import StoredImages


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Decoded latents, with those methods of a tensor that data sets need.

    Indexing decodes the rows asked for; ``images[:]`` decodes all of them.

    Attributes:
        latents: as the data set stores them, ``[n, ...]``.
        decode: from these to images ``[n, c, h, w]``, see ``Decoder``.
        image: shape of an image ``(c, h, w)``.

    """

    latents: Tensor | StoredImages
    decode: Callable[[Tensor], Tensor]
    image: tuple[int, int, int]
    dtype = torch.uint8  # pictures have 8 bits

    @property
    def shape(self) -> torch.Size:
        """``[n, c, h, w]``."""
        return torch.Size((len(self), *self.image))

    def __len__(self) -> int:
        return len(self.latents)

    def split(self, size: int) -> Iterator[DecodedImages]:
        """Parts of up to ``size`` images, still undecoded."""
        # Features of a part may be cached, and decoding takes longest.
        for latents in self.latents.split(size):
            yield DecodedImages(latents, self.decode, self.image)

    def __getitem__(self, key: int | slice | Tensor) -> Tensor:
        if isinstance(key, int):
            return self[key : key + 1 or None][0]
        return self.decode(self.latents[key])

"""Couplings: which noise sample goes with which image. In your own training loop, three lines:

    from couplings import get
    pairing = get("lapjv").pair(images, noise, generator=generator)  # [n, c, h, w] each, n >= 512
    paired = pairing.noise                            # images and labels stay where they are

Couple the augmented images with unit noise first, draw sigma (or t) afterwards. `names()` lists the
couplings, `pairing.report` holds what the pairing cost and gained, and a spec such as
`sinkhorn:epsilon=0.1` sets options.
"""

from couplings.contract import Coupling, CouplingError, Pairing, Pool
from couplings.dataset.contract import DatasetCoupling, Fitted
from couplings.registry import get, names

__all__ = [
    "Coupling",
    "CouplingError",
    "DatasetCoupling",
    "Fitted",
    "Pairing",
    "Pool",
    "get",
    "names",
]

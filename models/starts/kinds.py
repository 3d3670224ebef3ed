"""The starts by name."""

from __future__ import annotations

from models.starts.expressway import Expressway
from models.starts.gaussian import Gaussian
from models.starts.ot_prior import OTPrior
from models.starts.random_index import RandomIndex
from models.starts.truncated import Truncated

Plan = Gaussian | Truncated
KINDS: dict[str, type[Plan]] = {
    kind.name: kind for kind in (Gaussian, Truncated, RandomIndex, Expressway, OTPrior)
}

"""Names in words: data sets, and couplings whose options nobody needs to see."""

from __future__ import annotations

from collections.abc import Collection

from reports.tables.arms import arm_of, coupling_of, variant_of

# Here and not in ``bench.data``: reports read the data sets of published runs without torch.
_DATA = {
    "digits": "Digits 8×8",
    "fashion-mnist": "Fashion-MNIST",
    "fashion-mnist-16": "Fashion-MNIST 16×16",
    "cifar10": "CIFAR-10",
    "moons": "Two moons",
    "eight-gaussians": "Eight Gaussians",
    "image-folder": "Own images (image-folder)",
    "image-zip": "Own images (image-zip)",
}


def data_title(data: str) -> str:
    """``Fashion-MNIST 16×16`` for ``fashion-mnist-16``; a name of the user's own as it is."""
    return _DATA.get(data, data)


def short_names(arms: Collection[str]) -> dict[str, str]:
    """Arms to their names without the options of their couplings, where these are still unique:
    ``semidiscrete`` for ``semidiscrete:max_chi2=0.2``.
    """
    short = {arm: arm_of(coupling_of(arm).partition(":")[0], variant_of(arm)) for arm in arms}
    counted = [*short.values()]
    return {arm: name if counted.count(name) == 1 else arm for arm, name in short.items()}

"""The smoothed semi-discrete map: the gradient of a softmax in place of the best score alone.

u_tau(x) = tau log sum_j v_j exp((<x, y_j> + h_j) / tau) is within tau log N of the Brenier
potential, and its gradient is the mean of the images with softmax weights (arXiv 2410.13431, Eq.
20-21). The scores, and so tau, have the scale of the data and grow with its dimension: take tau in
units of `score_gap`.
"""

import torch
from torch import Tensor

from couplings.dataset.semidiscrete import SemiDiscreteMap
from couplings.errors import require


def score_gap(fitted: SemiDiscreteMap, noise: Tensor, labels: Tensor | None = None) -> float:
    """The median over noises `[n, ...]` of the best score less the second best.

    Raises:
        CouplingError: a class of one image has no second, or as for `SemiDiscreteMap.assign`.

    """
    gaps = []
    for part in fitted.scores(noise, labels):
        require(
            len(part.index) > 1, f"{fitted.coupling}: one distinct image has no second best score"
        )
        best = part.values.topk(2).values
        gaps.append(best[:, 0] - best[:, 1])
    return float(torch.cat(gaps).median())


def smooth_map(
    fitted: SemiDiscreteMap, images: Tensor, noise: Tensor, tau: float, labels: Tensor | None = None
) -> Tensor:
    """The mean of the images, softmax weighted by their scores over tau.

    Towards 0 it becomes the image of the best score, towards infinity the mean image.

    Args:
        fitted: the map.
        images: `[N, ...]`, what it was fitted on, on any device.
        noise: `[n, ...]`.
        tau: in units of the scores, above 0.
        labels: as for `SemiDiscreteMap.assign`.

    Returns:
        `[n, ...]` in the dtype and on the device of the images.

    Raises:
        CouplingError: tau is not above 0, or as for `SemiDiscreteMap.assign`.

    """
    require(
        tau > 0, f"tau must be above 0, got {tau}: the map of tau 0 is images[fitted.assign(noise)]"
    )
    mapped = images.new_empty(len(noise), *images.shape[1:])
    of_class: tuple[Tensor, Tensor] | None = None  # the index of a class and its images, flat
    for part in fitted.scores(noise, labels):
        if of_class is None or of_class[0] is not part.index:
            of_class = part.index, fitted.take(images, part.index).flatten(1)
        logit = part.values.double() / tau + part.weights.log()
        mean = logit.softmax(1).to(images) @ of_class[1]
        mapped[part.rows.to(images.device)] = mean.reshape(-1, *images.shape[1:])
    return mapped

"""The smoothed semi-discrete map: the gradient of a softmax instead of the best score only.

u_tau(x) = tau log sum_j v_j exp((<x, y_j> + h_j) / tau) is within tau log N of the Brenier
potential, and its gradient is the mean of the images with softmax weights (arXiv 2410.13431, Eq.
20-21). The scores, and so tau, have the scale of the data and grow with its dimension: take tau in
units of `score_gap`.
"""

import torch
from torch import Tensor

from couplings.dataset.semidiscrete import SCORES, SemiDiscreteMap
from couplings.errors import require


def score_gap(fitted: SemiDiscreteMap, noise: Tensor, labels: Tensor | None = None) -> float:
    """The median gap between the best and the second best score, over noise samples `[n, ...]`.

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
    fitted: SemiDiscreteMap,
    images: Tensor,
    noise: Tensor,
    tau: float,
    labels: Tensor | None = None,
    at_once: int = SCORES,
) -> Tensor:
    """The mean of the images, softmax weighted by their scores over tau.

    Towards 0 it becomes the image of the best score, towards infinity the mean image.

    Args:
        fitted: the map.
        images: `[N, ...]`, which it was fitted on, on any device.
        noise: `[n, ...]`.
        tau: in units of the scores, above 0.
        labels: as for `SemiDiscreteMap.assign`.
        at_once: scores in memory at a time.

    Returns:
        `[n, ...]` in the dtype and on the device of the images.

    Raises:
        CouplingError: tau is not above 0, or as for `SemiDiscreteMap.assign`.

    """
    require(
        tau > 0, f"tau must be above 0, got {tau}: the map of tau 0 is images[fitted.assign(noise)]"
    )
    shape = images.shape[1:]
    mapped = images.new_empty(len(noise), *shape)
    # Chunks of one class share their index, and gathering its images is slow.
    index = None
    for part in fitted.scores(noise, labels, at_once):
        if index is not part.index:
            index = part.index
            of_class = fitted.take(images, index).flatten(1)
        # In float64, because a small tau makes the differences of float32 scores huge.
        logit = part.values.double() / tau + part.weights.log()
        mean = logit.softmax(1).to(images) @ of_class
        mapped[part.rows.to(images.device)] = mean.reshape(-1, *shape)
    return mapped

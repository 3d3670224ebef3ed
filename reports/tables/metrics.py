"""What is known of metrics: sentences, families, the better side."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

METRICS = {
    "w2": (
        "Exact 2-Wasserstein distance to points of the data; it falls with n, so compare at one n"
        " only. Lower is better."
    ),
    "w2_floor": "The same distance between real points: what no arm can fall below but by chance.",
    "fid": (
        "Fréchet inception distance: in the features of Inception-v3, 50,000 images. Lower is"
        " better."
    ),
    "fd_inception": (
        "Fréchet distance in the features of Inception-v3; an FID only at 50,000 images. Lower is"
        " better."
    ),
    "fd_dinov2": "Fréchet distance in the features of DINOv2; not an FID. Lower is better.",
    "fd_classifier": (
        "Fréchet distance in the features of a classifier trained on this data set; not an FID. "
        "Lower is better."
    ),
    "truncation_error": (
        "Root mean square difference per pixel from where a dense solver ends, from the same noise."
        " Lower is better."
    ),
    "fd_pixels": "Fréchet distance on raw pixels; not an FID. Lower is better.",
    "curvature_fm": (
        "Mean squared departure of the velocity from the straight line, in flow-matching time; "
        "0 is straight. Lower is better."
    ),
    "path_excess_fm": (
        "Length of the path over its chord, less 1, in flow-matching coordinates; 0 is straight. "
        "Lower is better."
    ),
    "path_excess_sigma": (
        "The same in EDM's coordinates, x against sigma; small, for most of that length is noise. "
        "Lower is better."
    ),
    "turning_angle_fm": (
        "Radians that the velocity turns along the path, in flow-matching coordinates; 0 is"
        " straight. Lower is better."
    ),
    "turning_angle_sigma": "The same in EDM's coordinates, x against sigma. Lower is better.",
    "denoiser_drift_ln_sigma": (
        "How fast the denoiser's output changes along the path: root mean square per pixel and "
        "unit of ln sigma, for each sigma; 0 is straight. Lower is better."
    ),
    "local_error_euler": (
        "Root mean square per pixel that one Euler step of the 9-step schedule errs, from a point"
        " of the exact path at that sigma. Lower is better."
    ),
    "local_error_heun": "The same of one Heun step. Lower is better.",
    "target_variance": (
        "E Var(y | x, sigma) per pixel under independent noise, in closed form: what no denoiser"
        " can know. Lower is better."
    ),
    "target_variance_bound": (
        "Denoising loss per pixel on training images, paired as in training: an upper bound of "
        "the variance of the target, loose at a sigma where training hardly goes. Lower is better."
    ),
    "target_variance_from_noise": (
        "Variance of the image that belongs to a noise, per pixel, where sigma is large: 0 "
        "for an exact map, the variance of the data for random pairs. Lower is better."
    ),
    "validation_loss_own": (
        "Denoising loss for each sigma on held-out images, with noise paired as in training; each "
        "arm has its own task, so arms cannot be compared by it."
    ),
    "validation_loss_independent": (
        "Denoising loss for each sigma on held-out images with independent noise: the same "
        "task for all arms, but not the one that a coupled arm was trained for."
    ),
    "validation_loss_edm_own": (
        "The loss of training on held-out images, with noise paired as in training; each arm "
        "has its own task, so arms cannot be compared by it."
    ),
    "validation_loss_edm_independent": (
        "The same with independent noise: one task for all arms, but not the one that "
        "a coupled arm was trained for."
    ),
    "gradient_variance": (
        "Variance of the loss gradient of one pair at the final weights, for each sigma and over "
        "those of training. Lower is better."
    ),
    "gradient_signal": (
        "Squared norm of the mean gradient at the final weights; small near a minimum, so neither "
        "higher nor lower is better."
    ),
    "gradient_noise_scale": (
        "Variance over signal: images in a batch at which the gradient's noise equals its signal; "
        "noisy itself, and neither higher nor lower is better."
    ),
    "discriminator_passes": (
        "Passes of the discriminator for each image, forward and back, beside the denoiser's "
        "evaluations. Lower is better."
    ),
    "dg_auc": (
        "Chance that the discriminator ranks a held-out real image over a generated one, both"
        " noised: 0.5 where it cannot tell them apart, so neither higher nor lower is better."
    ),
    "dg_accuracy": (
        "Share of held-out noisy images that it sorts rightly into real and generated: 0.5 is"
        " guessing, and neither higher nor lower is better."
    ),
    "dg_calibration_error": (
        "How far its probabilities are from the shares that turn out real; guidance believes them. "
        "Lower is better."
    ),
    "prior_error": (
        "Squared W2 from where sampling begins to the targets that the start is meant to hit. Lower"
        " is better."
    ),
    "prior_error_fresh": (
        "Squared W2 from where sampling begins to freshly noised images; not below"
        " prior_error_floor but by chance. Lower is better."
    ),
    "prior_error_floor": (
        "The same between two sets of freshly noised images: what finite samples cost."
    ),
    "start_sigma": "Noise level where sampling begins.",
    "start_targets": "Images that the start can jump to.",
    "start_fit_seconds": (
        "Seconds to fit the start's transport map, once for all images ever sampled."
    ),
    "start_fit_noises": "Noises that the fit saw.",
    "start_chi2": (
        "How unequal the masses of the map's cells are, mean of (N mass - 1) squared over the"
        " targets; 0 for an exact map. Lower is better."
    ),
    "adaptive_nfe": "Evaluations that Dormand-Prince takes at its tolerance. Lower is better.",
    "transport_cost": "Mean cost of the pairs that were trained on. Lower means closer pairs.",
    "transport_cost_independent": "The same cost before pairing.",
    "coupling_ms": "Milliseconds to couple one pool.",
    "coupling_share": (
        "Time the solver worked, as a share of the training time: beside it, not added to it."
    ),
    "coupling_fit_seconds": (
        "Seconds to fit the coupling on the training set, once, before the training."
    ),
    "coupling_wait_share": (
        "Share of the training time that the trainer stood still for the coupling."
    ),
    "images_per_s": (
        "Training images a second; the fit of a coupling comes on top. Higher is better."
    ),
}
"""What each known metric says, in the order of the report; a metric that is not listed comes after
these.
"""
FAMILIES = {
    "grid_fd": (
        "First pass: Fréchet distance of few images at each rho and NFE, by which the best rho is"
        " chosen. Lower is better."
    ),
    "fd_infinity": (
        "Fréchet distance extrapolated to infinitely many samples; by chance it may fall below"
        " zero. Lower is better."
    ),
    "kid": (
        "Unbiased kernel distance (the formula of KID) in these features, not those of Inception;"
        " by chance it may fall below zero. Lower is better."
    ),
    "precision": "Share of samples that lie among real images: fidelity. Higher is better.",
    "recall": "Share of real images that lie among the samples: diversity. Higher is better.",
    "coverage": "Share of real images with a sample nearby. Higher is better.",
    "density": (
        "How densely real images lie around the samples. Equal distributions give 1; more can mean"
        " that samples crowd at the most common images, so neither higher nor lower is better."
    ),
    "copy_rate": (
        "Share of samples nearer to a training image than all but 5 % of the held-out images. As"
        " new as these is 0.05; more means copies, less means samples unlike any image, so neither"
        " higher nor lower is better."
    ),
    "copy_distance": (
        "Median distance to the nearest training image, over that of held-out images. 1 is as new"
        " as these; below means copies, above means samples unlike any image, so neither higher nor"
        " lower is better."
    ),
    "class_agreement": (
        "Share of samples that the classifier takes for the class asked for. Higher is better."
    ),
    "mode_mixture": (
        "Share of samples that the classifier places in two classes or more at once, each with at"
        " least the probability in the name: between modes. Read beside that of real images; far"
        " below it the samples lack what real ones have. Lower is better."
    ),
    "mode_mixture_real": (
        "The same share of held-out real images: what an exact sampler would have."
    ),
    "class_distance": (
        "Total variation between the classes that the classifier sees in the samples and in real"
        " images. Lower is better."
    ),
}
"""What metrics named ``<family>_<features>`` say, in the order of the report: they come in tables,
without figures.
"""
TRUNCATION = ("truncation_error", None)
PIXELS = "fd_pixels"
_STANDARD = ("fid", "fd_inception", "fd_dinov2", "fd_classifier", PIXELS)
_OWN = "Fréchet distance in features of your own; not an FID. Lower is better."


def family(metric: str) -> str | None:
    """The family of a metric, ``kid`` of ``kid_classifier``, the longest that fits; None for one
    that stands alone.
    """
    metric = re.sub(r"^(mode_mixture)_[\d.]+", r"\1", metric)  # the threshold is part of the name
    return max((name for name in FAMILIES if metric.startswith(f"{name}_")), key=len, default=None)


def about(metric: str) -> str:
    """What a metric says; empty for one that is not known."""
    return METRICS.get(metric) or (
        _OWN if _is_own(metric) else FAMILIES.get(family(metric) or "", "")
    )


def is_distance(metric: str) -> bool:
    """Whether a metric is a Frechet distance, or the Wasserstein distance of points in the plane."""
    return metric in ("w2", "fid") or (
        metric.startswith("fd_") and not metric.startswith("fd_infinity_")
    )


def _is_own(metric: str) -> bool:
    """Whether a metric is a Frechet distance in features that the user brought."""
    return is_distance(metric) and metric not in ("w2", *_STANDARD)


def to_judge(measured: Collection[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """The metrics, with their splits, that the summary speaks of, of those measured; lower is
    better in all of them.

    First the distances to the test split: of points in the plane, in the user's own features, in
    known networks. A distance in pixels says little of how images look, so it counts only where
    there is no other. Then the truncation error.
    """
    distances = sorted(
        {metric for metric, split in measured if split == "test" and is_distance(metric)},
        key=metric_rank,
    )
    better = [metric for metric in distances if metric != PIXELS]
    return [(metric, "test") for metric in better or distances] + [TRUNCATION] * (
        TRUNCATION in measured
    )


@cache  # asked of every cell of a page
def judged(metric: str, verdict: str) -> str:
    """``better`` or ``worse`` for a verdict ``lower`` or ``higher``; ``unclear`` where the metric
    has no good side.

    Read from what the metric says, so that words and colours cannot disagree.
    """
    good = next(
        (
            side
            for side in ("lower", "higher")
            if f"{side.capitalize()} is better." in about(metric)
        ),
        None,
    )
    if good is None or verdict not in ("lower", "higher"):
        return "unclear"
    return "better" if verdict == good else "worse"


def metric_rank(metric: str) -> tuple[float, str]:
    """Sort key of a metric; distances in the user's own features come just before those in known
    networks.
    """
    known = [*METRICS, *FAMILIES]
    if _is_own(metric):
        return (known.index(_STANDARD[0]) - 0.5, metric)
    name = metric if metric in METRICS else family(metric)
    return (known.index(name) if name else len(known), metric)

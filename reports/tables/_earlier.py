"""Descriptions of the metrics of runs without metrics.json."""

from __future__ import annotations

import re

from bench.record.infos import Info

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

PER_RUN = (
    "curvature_fm",
    "path_excess_fm",
    "path_excess_sigma",
    "turning_angle_fm",
    "turning_angle_sigma",
    "transport_cost",
    "transport_cost_independent",
    "coupling_ms",
    "coupling_share",
    "coupling_wait_share",
    "coupling_fit_seconds",
    "images_per_s",
    "train_seconds",
    "evaluate_seconds",
    "classifier_accuracy",
    "target_variance_from_noise",
    "validation_loss_edm_own",
    "validation_loss_edm_independent",
    "gradient_variance",
    "gradient_signal",
    "gradient_noise_scale",
)
KINDS = {
    "path": (
        "curvature_fm",
        "path_excess_fm",
        "path_excess_sigma",
        "turning_angle_fm",
        "turning_angle_sigma",
    ),
    "cost": (
        "coupling_ms",
        "coupling_share",
        "coupling_wait_share",
        "coupling_fit_seconds",
        "images_per_s",
        "train_seconds",
        "transport_cost",
        "transport_cost_independent",
        "evaluate_seconds",
    ),
    "guidance": ("dg_auc", "dg_accuracy", "dg_calibration_error"),
    "start": (
        "start_sigma",
        "start_targets",
        "prior_error",
        "prior_error_fresh",
        "prior_error_floor",
        "start_fit_seconds",
        "start_fit_noises",
        "start_chi2",
    ),
    "signal": PER_RUN,
}
NO_RATIO = (
    "classifier_accuracy",
    "coupling_fit_seconds",
    "coupling_ms",
    "coupling_share",
    "coupling_wait_share",
    "transport_cost_independent",
    "validation_loss_own",
)
BARS = ("curvature_fm", "coupling_ms")
_STANDARD = ("fid", "fd_inception", "fd_dinov2", "fd_classifier", "fd_pixels")
_OWN = "Fréchet distance in features of your own; not an FID. Lower is better."


def info(metric):
    name = re.sub(r"^(mode_mixture)_[\d.]+", r"\1", metric)
    family = max((f for f in FAMILIES if name.startswith(f"{f}_")), key=len, default="")
    about = METRICS.get(metric) or FAMILIES.get(family, "")
    rank = [*METRICS, *FAMILIES].index(metric if metric in METRICS else family) if about else 999
    if not about and metric.startswith("fd_"):
        about, rank = _OWN, list(METRICS).index("fid") - 0.5
    better = None
    for side in ("lower", "higher"):
        if f"{side.capitalize()} is better." in about:
            better = side
            about = (
                about.replace(f" {side.capitalize()} is better.", "")
                .replace(f"{side.capitalize()} is better.", "")
                .strip()
            )
    kind = next((k for k, names in KINDS.items() if metric in names), "quality")
    per = "run" if metric in PER_RUN or kind == "start" else "nfe"
    figure = metric in BARS if per == "run" else not family
    return rank, Info(
        metric,
        about,
        better,
        per,
        kind,
        metric not in NO_RATIO,
        figure,
        family,
        metric.endswith("_share") or metric == "classifier_accuracy",
        int(2 * rank),
    )


def infos(names):
    found = sorted((info(n) for n in names), key=lambda pair: (pair[0], pair[1].name))
    return [i for rank, i in found if rank != 999 or i.kind != "quality"]

"""Checks of ``--cfg`` and ``--label-dropout``: the network must know both denoisers."""

from __future__ import annotations

from bench.config import ConfigError, RunConfig


def check_classifier_free(config: RunConfig) -> tuple[float, ...]:
    """Refuse classifier-free guidance, and label dropout, that the network cannot have; the weights
    to sample with in addition to 1, each once.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    training = config.training
    dropout = training.label_dropout
    # At 1 the conditional denoiser would never be trained.
    if not 0 <= dropout < 1:
        raise ConfigError(f"--label-dropout {dropout:g}: it must be at least 0 and below 1")
    if dropout and not training.conditional:
        raise ConfigError(
            f"--label-dropout {dropout:g}: there are no labels to drop; add --conditional, or leave"
            " it out"
        )
    # Weight 1 is the denoiser as it is, which every evaluation measures.
    weights = tuple(dict.fromkeys(weight for weight in config.evaluation.cfg if weight != 1))
    if not weights:
        return ()
    # D + w (D_c - D) with w below 0 leads away from the label.
    if min(weights) < 0:
        raise ConfigError(
            f"--cfg {min(weights):g}: it must be at least 0; 1 is the conditional denoiser, and a"
            " paper's weight that starts at 0 is one less"
        )
    if config.checkpoint and not config.own_weights:
        raise ConfigError(
            f"--cfg {weights[0]:g}: released networks were trained without label dropout, so they"
            " have no unconditional denoiser; leave it out"
        )
    if not dropout:
        raise ConfigError(
            f"--cfg {weights[0]:g}: a network trained without label dropout has no unconditional"
            " denoiser; train it with --conditional --label-dropout 0.1 and a coupling within"
            " classes, such as lapjv:within_class=true, or pass --cfg 1"
        )
    return weights

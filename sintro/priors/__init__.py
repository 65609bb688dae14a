"""Priors over the latent space (docs/science.md, sections 1 to 3)."""

from sintro.priors.distributions import LOG_2PI, MixturePrior, StandardNormal, VampPrior, clip_log_vars
from sintro.priors.prior import NoiseMoments, Prior, TrainablePrior, frozen

__all__ = [
    "LOG_2PI",
    "MixturePrior",
    "NoiseMoments",
    "Prior",
    "StandardNormal",
    "TrainablePrior",
    "VampPrior",
    "clip_log_vars",
    "frozen",
]

"""Priors over the latent space (docs/science.md, sections 1 to 3).

The suite's own priors say of themselves, without torch, what they are in :mod:`sintro.priors.builtin`.
"""

from sintro.basics.lazy import reexport

__getattr__ = reexport(
    __name__,
    {
        "sintro.priors.distributions": ("LOG_2PI", "MixturePrior", "StandardNormal", "VampPrior", "clip_log_vars"),
        "sintro.priors.prior": ("NoiseMoments", "Prior", "TrainablePrior", "frozen"),
    },
)

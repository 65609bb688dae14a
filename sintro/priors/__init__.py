"""Priors over the latent space (docs/science.md, sections 1 to 3).

:mod:`sintro.priors.builtin` describes the suite's own priors without torch.
"""

from sintro.basics.lazy import reexport

__getattr__ = reexport(
    __name__,
    {
        "sintro.priors.distributions": ("MixturePrior", "StandardNormal", "VampPrior", "clip_log_vars"),
        "sintro.priors.prior": ("NoiseMoments", "Prior", "TrainablePrior", "frozen"),
        "sintro.priors.two_codes": ("TwoCodePrior", "both_codes"),
    },
)

"""The losses of the papers, one module each, and the KL in them (docs/science.md, section 2).

:mod:`sintro.objectives.builtin` describes the suite's own objectives without torch.
"""

from sintro.basics.lazy import reexport

__getattr__ = reexport(
    __name__,
    {
        "sintro.objectives.divergence": ("kl",),
        "sintro.objectives.group_vae": ("GroupVae",),
        "sintro.objectives.introvae": ("IntroVae",),
        "sintro.objectives.lord": ("Lord",),
        "sintro.objectives.objective": ("Game", "Objective"),
        "sintro.objectives.soft_introvae": (
            "SoftIntroVae",
            "SoftIntroVaeBootstrap",
            "SoftIntroVaeSwap",
            "decoder_loss",
            "encoder_loss",
            "per_datum",
        ),
        "sintro.objectives.vae": ("Step", "Vae", "Weight", "vae_loss"),
        "sintro.priors.mixture": ("responsibility_regularizer",),
    },
)

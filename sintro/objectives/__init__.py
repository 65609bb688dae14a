"""The losses of the papers, one module each, and the KL they are made of (docs/science.md, section 2)."""

from sintro.objectives.divergence import kl
from sintro.objectives.introvae import IntroVae
from sintro.objectives.objective import Game, Objective
from sintro.objectives.soft_introvae import (
    SoftIntroVae,
    SoftIntroVaeBootstrap,
    decoder_loss,
    encoder_loss,
    per_datum,
    responsibility_regularizer,
)
from sintro.objectives.vae import Step, Vae, Weight, vae_loss

__all__ = [
    "Game",
    "IntroVae",
    "Objective",
    "SoftIntroVae",
    "SoftIntroVaeBootstrap",
    "Step",
    "Vae",
    "Weight",
    "decoder_loss",
    "encoder_loss",
    "kl",
    "per_datum",
    "responsibility_regularizer",
    "vae_loss",
]

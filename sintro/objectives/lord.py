"""LORD: codes of classes and of images are learned first, then encoders that give them (docs/science.md, section 2).

Gabbay & Hoshen 2020, "Demystifying inter-class disentanglement". Reconstructions are compared by squared error here, as
in the other objectives of two codes; a study may ask for LORD's own comparison, by the features of a trained network.
"""

import torch
from torch.nn import functional

from sintro.basics.randomness import Generators, normal
from sintro.cells.components import Betas
from sintro.objectives.model import Model
from sintro.objectives.objective import Game, Objective
from sintro.objectives.vae import detached

CODE_WEIGHT = 10.0  # of the errors of the encoders' codes; LORD, released PyTorch code

Terms = dict[str, torch.Tensor]


def code_loss(
    model: Model, real: torch.Tensor, codes: tuple[torch.Tensor, torch.Tensor], betas: Betas, generator: Generators
) -> Terms:
    """beta_rec rec(x, g(c, t + n)) + beta_kl |t|^2, averaged over the batch, with n of N(0, I): the first phase.

    ``codes``: the class codes c [B, L_c] and the content codes t [B, L_t] of the real images. The noise and the
    penalty keep the content code from holding what the class code can. Up to constants, |t|^2 / 2 is
    KL(N(t, I) || N(0, I)).
    """
    c, t = codes
    z = torch.cat([c, t + normal(t.shape, generator, t.dtype)], -1)
    reconstruction = model.reconstruction_error(real, model.decoder(z)).mean()
    penalty = t.square().sum(-1).mean()
    loss = betas.rec * reconstruction + betas.kl * penalty
    return {"loss_encoder": loss, "loss_decoder": loss, "reconstruction": reconstruction}


def encoders_loss(model: Model, real: torch.Tensor, codes: tuple[torch.Tensor, torch.Tensor], betas: Betas) -> Terms:
    """beta_rec rec(x, g(e(x))) + 10 (mse(e_c(x), c) + mse(e_t(x), t)): the second phase, with the codes as they are.

    e(x) are the posterior means; the log-variances do not learn. mse is a mean over the batch and the code's entries.
    """
    found = model.encode(real).mean
    reconstruction = model.reconstruction_error(real, model.decoder(found)).mean()
    errors = [functional.mse_loss(own, code) for own, code in zip(model.codes(found), codes, strict=True)]
    loss = betas.rec * reconstruction + CODE_WEIGHT * sum(errors)
    return {"loss_encoder": loss, "loss_decoder": loss, "reconstruction": reconstruction}


class Lord(Objective):
    """LORD: decoder and codes learn in the first `warmup` iterations, encoders and decoder in the others."""

    graphable = False  # the codes of a batch depend on the iteration

    def step(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool) -> Terms:
        codes = game.embeddings(game.iteration)
        if game.iteration < game.shared.warmup:
            terms, players = code_loss(game.model, real, codes, game.betas, noise), ("decoder", "embeddings")
        else:
            terms, players = encoders_loss(game.model, real, codes, game.betas), ("encoder", "decoder")
        game.descend(terms["loss_decoder"], *players)
        return detached(terms, None)

"""The VAE, which is also the warm-up of every other objective (docs/science.md, section 2).

Shapes: ``...`` is empty for one cell and [F] for a fleet. Every loss is ``[...]``, one number per cell; summing them
before ``backward`` keeps the cells' gradients apart. Betas are floats, or tensors ``[...]`` where cells differ.
"""

from dataclasses import dataclass

import torch

from sintro.basics.randomness import Generators
from sintro.cells.components import Betas
from sintro.objectives.divergence import real_kl
from sintro.objectives.model import Model, Posterior
from sintro.objectives.objective import Game, Objective

Weight = float | torch.Tensor


@dataclass
class Step:
    """What one player's step computed: its loss, the terms of the history, and what the other player may take over."""

    loss: torch.Tensor  # [...]
    terms: dict[str, torch.Tensor]  # [...] each, detached
    posterior: Posterior  # of the real batch
    z: torch.Tensor  # [..., B, L], latents of the real batch
    prior_kl: torch.Tensor | None = None  # [...], batch mean of the KL, with gradients to a prior that learns alone
    z_fake: torch.Tensor | None = None  # [..., B, L], the fakes' latents; None in a warm-up


def vae_loss(
    model: Model, real: torch.Tensor, betas: Betas, generator: Generators, *, samples: int = 100, sampled: bool = False
) -> Step:
    """beta_rec rec(x, g(z)) + beta_kl KL(x), averaged over the batch: the VAE, and the warm-up of every other run.

    Encoder, decoder and a learnable prior all receive gradients. No factor s. ``samples`` and ``sampled`` are those of
    :func:`kl`.
    """
    posterior, z = model.infer(real, generator)
    reconstruction = model.reconstruction_error(real, model.decoder(z)).mean(-1)
    kl_real = real_kl(posterior, model.mixture(), samples, generator, True, sampled)
    loss = betas.rec * reconstruction + betas.kl * kl_real.for_both()
    terms = {"loss_encoder": loss, "loss_decoder": loss, "reconstruction": reconstruction}
    terms["kl_real"] = kl_real.per_datum.mean(-1)
    return Step(loss, detached(terms, kl_real.mean_responsibilities), posterior, z)


def detached(terms: dict[str, torch.Tensor], mean_responsibilities: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return what the history holds: the terms without their graphs, and the mean responsibilities, if any."""
    found = {name: value.detach() for name, value in terms.items()}
    if mean_responsibilities is not None:
        found["mean_responsibilities"] = mean_responsibilities.detach()
    return found


class Vae(Objective):
    """The VAE from the first iteration to the last. A variant overrides :meth:`loss`."""

    def loss(self, game: Game, real: torch.Tensor, noise: Generators) -> Step:
        """Compute the loss that encoder, decoder and prior minimise together, and the history's terms."""
        return vae_loss(game.model, real, game.betas, noise, samples=game.shared.samples, sampled=game.sampled)

    def step(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool):
        step = self.loss(game, real, noise)
        game.descend(step.loss, *game.optimisers)
        return step.terms

"""The losses of IntroVAE (Huang et al. 2018, arXiv 1807.06358; docs/science.md, section 2), the hinge baseline.

The prior is N(0, I), every KL has its closed form, and there is no factor s. A loss is ``[...]``, one number per cell,
where ``...`` is empty for one cell and [F] for a fleet. The hinge acts on each cell's batch mean.
"""

from functools import partial
from typing import NamedTuple

import torch

from sintro.basics.randomness import Generators
from sintro.cells.components import Betas
from sintro.objectives.divergence import kl, mean_kls
from sintro.objectives.model import Model
from sintro.objectives.objective import Game, Objective
from sintro.objectives.vae import Weight
from sintro.priors import frozen


class EncoderStep(NamedTuple):
    """What the encoder's step computed; the decoder's step goes on with the last three, which keep their graphs."""

    loss: torch.Tensor  # [...]
    terms: dict[str, torch.Tensor]  # of the history, [...] each, detached
    reconstruction: torch.Tensor  # [...], the batch mean of rec(x, g(z))
    reconstructed: torch.Tensor  # [..., B, *event]
    fake: torch.Tensor  # [..., B, *event]


def encoder_loss(model: Model, real: torch.Tensor, betas: Betas, margin: Weight, generator: Generators) -> EncoderStep:
    """L_E = w_rec rec(x, g(z)) + w_kl [KL(x) + 1/2 w_neg (relu(m - mean KL(x_r)) + relu(m - mean KL(x_f)))].

    x_r = g(z) and x_f = g(z_p), z_p ~ N(0, I), are constants as inputs of the encoder. The decoder is not frozen: the
    gradient that L_E gives it is that of w_rec rec, the term that both losses share.

    Args:
        betas: w_rec, w_kl, w_neg.
        margin: m, in nats.
    """
    posterior, z = model.infer(real, generator)
    z_fake = model.prior.sample(model.batch_size(real), generator)[0]
    reconstructed, fake = model.decode_each((z, z_fake))
    reconstruction = model.reconstruction_error(real, reconstructed).mean(-1)
    kl_real = kl(*posterior, model.prior, 0, None).mean(-1)
    constants = [reconstructed.detach(), fake.detach()]
    kl_reconstructed, kl_fake = _kls(model, constants, -0.5 * betas.neg * betas.kl)
    hinges = {"reconstructed": torch.relu(margin - kl_reconstructed), "fake": torch.relu(margin - kl_fake)}
    adversarial = 0.5 * betas.neg * (hinges["reconstructed"] + hinges["fake"])
    loss = betas.rec * reconstruction + betas.kl * (kl_real + adversarial)
    terms = {"loss_encoder": loss, "reconstruction": reconstruction, "kl_real": kl_real}
    terms |= {"kl_reconstructed": kl_reconstructed, "kl_fake": kl_fake}
    terms |= {f"hinge_{name}": hinge for name, hinge in hinges.items()}
    terms = {name: term.detach() for name, term in terms.items()}
    return EncoderStep(loss, terms, reconstruction, reconstructed, fake)


def decoder_loss(model: Model, step: EncoderStep, betas: Betas) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """1/2 w_kl (mean KL(x_r) + mean KL(x_f)): what L_D has beside w_rec rec(x, g(z)), and the terms of the history.

    x_r and x_f are those of the encoder's step; the encoder is frozen now. The backward pass of the encoder's loss has
    already given the decoder the gradient of w_rec rec, so the loss returned lacks that term; ``loss_decoder``, the
    term of the history, has both.
    """
    weight = 0.5 * betas.kl
    with frozen(model.encoder):
        kl_reconstructed, kl_fake = _kls(model, [step.reconstructed, step.fake], weight)
    adversarial = weight * (kl_reconstructed + kl_fake)
    return adversarial, {"loss_decoder": (betas.rec * step.reconstruction + adversarial).detach()}


def _kls(model: Model, batches: list[torch.Tensor], weight: Weight) -> list[torch.Tensor]:
    """Return the batch mean ``[...]`` of KL(q(z|x) || N(0, I)) of each batch; the loss multiplies it by ``weight``."""
    return mean_kls(model, batches, partial(kl, prior=model.prior, samples=0, generator=None), weight)[1]


class IntroVae(Objective):
    """IntroVAE, after a VAE's warm-up."""

    def step(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool):
        """Step the encoder, whose loss leaves the decoder the gradient of w_rec rec; then step the decoder."""
        first = encoder_loss(game.model, real, game.betas, game.margin, noise)
        first.loss.sum().backward(retain_graph=True)
        game.advance("encoder")
        loss, terms = decoder_loss(game.model, first, game.betas)
        # Towards the decoder only: through z the graph leads to the encoder's weights of before its step.
        loss.sum().backward(inputs=list(game.model.decoder.parameters()))
        game.advance("decoder")
        return first.terms | terms

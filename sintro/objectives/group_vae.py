"""The group VAE: images of one class share a class code (Bouchacourt et al. 2018, ML-VAE; docs/science.md, section 2).

It learns from labels. Here a group is a pair: the images 2 i and 2 i + 1 of a batch.
"""

import torch

from sintro.basics.randomness import Generators
from sintro.cells.components import Betas
from sintro.objectives.divergence import kl
from sintro.objectives.model import Model, Posterior
from sintro.objectives.objective import Game
from sintro.objectives.vae import Step, Vae, detached

GROUP = 2  # images


def product(posterior: Posterior) -> Posterior:
    """Return the normalised product of Gaussians N(mean_j, exp(log_var_j)), j along the last axis but one.

    1 / var = sum_j 1 / var_j and mean = var sum_j mean_j / var_j: ``[..., J, L]`` to ``[..., L]``.
    """
    log_precisions = -posterior.log_var
    log_var = -log_precisions.logsumexp(-2)
    shares = log_precisions.softmax(-2)  # var / var_j
    return Posterior((shares * posterior.mean).sum(-2), log_var)


def group_loss(
    model: Model, real: torch.Tensor, betas: Betas, generator: Generators, *, samples: int = 100, sampled: bool = False
) -> Step:
    """beta_rec rec(x, g(c, t)) + beta_kl (KL_t + KL_c / 2), averaged over a batch ``[B, C, H, W]`` of pairs.

    The class code c of a pair is drawn once, from the product of both posteriors, and has one KL; the content code t
    of an image is its own. KL_c / 2 is an image's share of its pair's bound.
    """
    posterior = model.encode(real)
    prior = model.mixture()
    parts = prior.parts or ((1.0, prior), (1.0, prior))  # N(0, I) without weights is N(0, I) of each code
    (class_weight, class_prior), (content_weight, content_prior) = parts
    c_mean, t_mean = model.codes(posterior.mean)
    c_log_var, t_log_var = model.codes(posterior.log_var)
    of_class = product(Posterior(c_mean.unflatten(0, (-1, GROUP)), c_log_var.unflatten(0, (-1, GROUP))))
    of_content = Posterior(t_mean, t_log_var)
    c = of_class.sample(generator).repeat_interleave(GROUP, 0)
    z = torch.cat([c, of_content.sample(generator)], -1)
    reconstruction = model.reconstruction_error(real, model.decoder(z)).mean()
    class_kl = kl(*of_class, class_prior, samples, generator, sampled).mean() / GROUP
    content_kl = kl(*of_content, content_prior, samples, generator, sampled).mean()
    divergence = class_weight * class_kl + content_weight * content_kl
    loss = betas.rec * reconstruction + betas.kl * divergence
    terms = {"loss_encoder": loss, "loss_decoder": loss, "reconstruction": reconstruction, "kl_real": divergence}
    return Step(loss, detached(terms, None), posterior, z)


class GroupVae(Vae):
    """The group VAE from the first iteration to the last."""

    def loss(self, game: Game, real: torch.Tensor, noise: Generators) -> Step:
        return group_loss(game.model, real, game.betas, noise, samples=game.shared.samples, sampled=game.sampled)

"""The losses of Soft-IntroVAE and S-IntroVAE, exactly as the papers' tables were made (docs/science.md, section 2).

Shapes: ``...`` is empty for one cell and [F] for a fleet. Every loss is ``[...]``, one number per cell; summing them
before ``backward`` keeps the cells' gradients apart. Betas are floats, or tensors ``[...]`` where cells differ.
"""

import math
from typing import Any

import torch

from sintro.basics.randomness import Generators
from sintro.cells.components import Betas
from sintro.objectives.divergence import joint_kl, kl, real_kl
from sintro.objectives.model import Model, Posterior
from sintro.objectives.objective import Game, Objective
from sintro.objectives.vae import Step, Weight, detached
from sintro.priors import frozen
from sintro.priors.mixture import regularizer_of_mean


def per_datum(weight: Weight) -> Weight:
    """A weight ready to multiply values per datum: ``[F]`` becomes ``[F, 1]``."""
    return weight.unsqueeze(-1) if isinstance(weight, torch.Tensor) else weight


def encoder_loss(
    model: Model,
    real: torch.Tensor,
    betas: Betas,
    generator: Generators,
    *,
    samples: int = 100,
    sampled: bool = False,
    scale: float | None = None,
    alpha: float = 2.0,
    responsibility_weight: Weight = 0.0,
    cooperation: str | None = "decoder",
    mean_responsibilities: bool = False,
) -> Step:
    """The encoder's loss L_E of Soft-IntroVAE (Daniel & Tamar 2021; docs/science.md, section 2).

    Args:
        model: the decoder is frozen here, and the prior too unless it learns and steps with the encoder
            (``cooperation="encoder"``): then it learns from KL(x), from R and through the fakes x_f, which are the
            target of their own reconstruction.
        real: a batch ``[..., B, *event]``.
        samples, sampled: of :func:`kl`.
        scale: s; 1 / D when None.
        alpha: of the soft exponential.
        responsibility_weight: r, the weight of the responsibility regulariser R.
        mean_responsibilities: put them into the terms even where r is 0 (for the history).
    """
    scale = scale or 1 / math.prod(real.shape[-model.event_dims :])
    prior = model.mixture()
    target = prior.detach()
    regularised = prior.has_modes and _nonzero(responsibility_weight)
    together = cooperation == "encoder" and prior.learns
    with frozen(model.decoder):
        with torch.set_grad_enabled(together):
            z_fake = prior.sample(real.shape[-model.event_dims - 1], generator)[0]
            fake = model.decoder(z_fake)
        posterior = model.encode(real)
        z = posterior.sample(generator)
        reconstructed = model.decoder(z)
        reconstruction = model.squared_error(real, reconstructed).mean(-1)
        estimate = joint_kl if together else real_kl
        kl_real = estimate(posterior, prior, samples, generator, mean_responsibilities or regularised, sampled)
        negatives = (reconstructed, fake)
        terms, penalty = _negatives(model, negatives, target, betas, generator, samples, sampled, alpha * scale)
    kl_mean = kl_real.per_datum.mean(-1)
    loss = scale * (betas.rec * reconstruction + betas.kl * kl_mean) + penalty / alpha
    if regularised:  # its gradient goes to whoever steps here
        loss = loss + scale * responsibility_weight * regularizer_of_mean(kl_real.mean_responsibilities)
    terms |= {"loss_encoder": loss, "reconstruction": reconstruction, "kl_real": kl_mean}
    terms = detached(terms, kl_real.mean_responsibilities)
    return Step(loss, terms, posterior.detach(), z.detach(), kl_real.for_prior, z_fake.detach())


def _negatives(model, batches, target, betas, generator, samples, sampled, rate):
    """Half the summed batch means of exp(-rate (beta_rec rec + beta_neg KL)) over reconstructions and fakes.

    Both are constants as the encoder's input, but not as the target of their own reconstruction: there the gradient of
    a reconstruction flows back to the encoder, and that of a fake to a prior that steps with it.
    """
    posteriors = model.encode_each([batch.detach() for batch in batches])
    latents = [posterior.sample(generator) for posterior in posteriors]
    decoded = model.decode_each(latents, model.target_decoder)
    terms, means = {}, []
    for name, batch, posterior, again in zip(("reconstructed", "fake"), batches, posteriors, decoded, strict=True):
        error = model.squared_error(batch, again)
        divergence = kl(*posterior, target, samples, generator, sampled)
        exponent = per_datum(betas.rec) * error + per_datum(betas.neg) * divergence
        means.append(torch.exp(-rate * exponent).mean(-1))
        terms |= {f"reconstruction_{name}": error.mean(-1), f"kl_{name}": divergence.mean(-1)}
        terms[f"exp_elbo_{name}"] = means[-1]
    return terms, 0.5 * (means[0] + means[1])


def decoder_loss(
    model: Model,
    real: torch.Tensor,
    betas: Betas,
    generator: Generators,
    *,
    posterior: Posterior | None = None,
    z: torch.Tensor | None = None,
    prior_kl: torch.Tensor | None = None,
    z_fake: torch.Tensor | None = None,
    samples: int = 100,
    sampled: bool = False,
    scale: float | None = None,
    gamma: float = 1.0,
    gamma_r: float = 1e-8,
    cooperation: str | None = "decoder",
) -> Step:
    """The decoder's and prior's loss L_D of Soft-IntroVAE (docs/science.md, section 2); the encoder is frozen.

    Args:
        posterior, z: q(z|x) and its latents from the encoder's step, taken as constants; computed when None.
        prior_kl: KL(q(z|x) || p) as a function of the prior from that step, whose pass over the mixture gives the
            prior's gradient almost for nothing; estimated with draws of its own when None.
        z_fake: the fakes' latents of that step, to be used again, with a prior that does not learn (Daniel & Tamar's
            own program); drawn anew when None.
        samples, sampled: of :func:`kl`.
        gamma_r: the weight of re-reconstructing. Terms so light that float32 cannot hold them beside the
            reconstruction (gamma_r under 6e-8, the published 1e-8 included) are left out: they cost a quarter
            of the step and would not change a bit of the loss (tests/test_objectives.py measures the gradient).
        cooperation: "decoder": a learnable prior learns here, from KL(q(z|x) || p) and through the fakes.
    """
    scale = scale or 1 / math.prod(real.shape[-model.event_dims :])
    density = model.mixture()
    target = density.detach()
    prior = density if cooperation == "decoder" else target
    with frozen(model.encoder):
        if posterior is None or z is None:
            posterior = model.encode(real).detach()
            z = posterior.sample(generator)
        posterior, z = posterior.detach(), z.detach()
        if z_fake is None:
            z_fake = prior.sample(real.shape[-model.event_dims - 1], generator)[0]
        reconstructed, fake = model.decode_each((z, z_fake))
        reconstruction = model.squared_error(real, reconstructed).mean(-1)
        of_reconstructed, of_fake = model.encode_each((reconstructed, fake))
        kl_reconstructed = kl(*of_reconstructed, target, samples, generator, sampled).mean(-1)
        kl_fake = kl(*of_fake, target, samples, generator, sampled).mean(-1)
        loss = betas.rec * reconstruction + gamma * betas.kl * 0.5 * (kl_reconstructed + kl_fake)
        if prior.learns:
            if prior_kl is None:
                prior_kl = real_kl(posterior, prior, samples, generator, False, sampled).for_prior
            loss = loss + betas.kl * prior_kl
        if gamma * gamma_r > torch.finfo(torch.float32).eps / 2:
            posteriors = (of_reconstructed.detach(), of_fake.detach())
            again = model.decode_each([each.sample(generator) for each in posteriors], model.target_decoder)
            # The decoder learns from its reconstructions; a target decoder's are constant: it learns as their target.
            fakes = (reconstructed, fake) if model.target_decoder else (reconstructed.detach(), fake.detach())
            errors = [model.squared_error(*pair).mean(-1) for pair in zip(fakes, again, strict=True)]
            loss = loss + gamma * gamma_r * betas.rec * 0.5 * (errors[0] + errors[1])
    loss = scale * loss
    terms = {"loss_decoder": loss}
    return Step(loss, detached(terms, None), posterior, z)


def _nonzero(weight: Weight) -> bool:
    """A tensor counts as one: a look at its content would make the processor wait for a GPU."""
    return isinstance(weight, torch.Tensor) or weight != 0


class SoftIntroVae(Objective):
    """Soft-IntroVAE, after a VAE's warm-up. Override a loss for a variant of it."""

    def encoder_loss(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool) -> Step:
        """The loss of the encoder's step, ``[...]``."""
        return encoder_loss(
            game.model,
            real,
            game.betas,
            noise,
            alpha=game.shared.alpha,
            responsibility_weight=game.responsibility_weight,
            mean_responsibilities=mean_responsibilities,
            **_common(game),
        )

    def decoder_loss(self, game: Game, real: torch.Tensor, noise: Generators, first: Step) -> Step:
        """The loss of the decoder's step, ``[...]``; ``first`` is what the encoder's step computed."""
        return decoder_loss(
            game.model,
            real,
            game.betas,
            noise,
            posterior=first.posterior,
            z=first.z,
            prior_kl=first.prior_kl,
            z_fake=first.z_fake if game.shared.fakes == "reused" else None,
            gamma=game.shared.gamma,
            gamma_r=game.shared.gamma_r,
            **_common(game),
        )

    def step(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool):
        third = {game.shared.cooperation: ["prior"]} if "prior" in game.optimisers else {}
        first = self.encoder_loss(game, real, noise, mean_responsibilities)
        game.descend(first.loss, "encoder", *third.get("encoder", []))
        second = self.decoder_loss(game, real, noise, first)
        game.descend(second.loss, "decoder", *third.get("decoder", []))
        return first.terms | second.terms


class SoftIntroVaeBootstrap(SoftIntroVae):
    """Soft-IntroVAE whose fakes are reconstructed by the decoder as it was when the epoch began."""

    target_decoder = True


def _common(game: Game) -> dict[str, Any]:
    """The arguments that both losses of a game have."""
    one = game.shared
    return {"samples": one.samples, "sampled": game.sampled, "scale": one.scale, "cooperation": one.cooperation}

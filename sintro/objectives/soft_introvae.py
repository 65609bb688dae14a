"""The losses of Soft-IntroVAE and S-IntroVAE, as the papers' tables were made with (docs/science.md, section 2).

Shapes: ``...`` is empty for one cell and [F] for a fleet. Every loss is ``[...]``, one number per cell; summing them
before ``backward`` keeps the cells' gradients apart. Betas are floats, or tensors ``[...]`` where cells differ.
"""

from functools import partial
from typing import Any

import torch

from sintro import SintroError
from sintro.basics.randomness import Generators, normal
from sintro.cells.components import Betas
from sintro.objectives.divergence import joint_kl, kl, mean_kls, real_kl
from sintro.objectives.gradients import differentiate_now, leaf_of
from sintro.objectives.model import Model, Posterior
from sintro.objectives.objective import Game, Objective
from sintro.objectives.vae import Step, Weight, detached
from sintro.priors import frozen
from sintro.priors.mixture import regularizer_of_mean

NEGATIVES = ("reconstructed", "fake", "swapped")  # what a term of the history calls each batch


def per_datum(weight: Weight) -> Weight:
    """Make a weight ready to multiply values per datum: ``[F]`` becomes ``[F, 1]``."""
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
    swap: bool = False,
) -> Step:
    """The encoder's loss L_E of Soft-IntroVAE (Daniel & Tamar 2021; docs/science.md, section 2).

    Args:
        model: its decoder is a constant here. Its prior is one too, unless it learns and steps with the encoder
            (``cooperation="encoder"``): then it learns from KL(x), from R and through the fakes x_f, which are the
            target of their own reconstruction.
        real: a batch ``[..., B, *event]``.
        samples, sampled: of :func:`kl`.
        scale: s; 1 / D when None.
        alpha: of the soft exponential.
        responsibility_weight: r, the weight of the responsibility regulariser R.
        mean_responsibilities: whether the terms hold the mean responsibilities even where r is 0.
        swap: whether translations are negatives too, :meth:`Model.swapped` latents of the real batch, decoded.
    """
    scale = scale or 1 / model.data_size(real)
    prior = model.mixture()
    target = prior.detach()
    regularised = prior.has_modes and _nonzero(responsibility_weight)
    together = cooperation == "encoder" and prior.learns
    with frozen(model.decoder):
        with torch.set_grad_enabled(together):
            z_fake = prior.sample(model.batch_size(real), generator)[0]
            fake = model.decoder(z_fake)
        posterior, z = model.infer(real, generator)
        reconstructed = model.decoder(z)
        reconstruction = model.reconstruction_error(real, reconstructed).mean(-1)
        estimate = joint_kl if together else real_kl
        kl_real = estimate(posterior, prior, samples, generator, mean_responsibilities or regularised, sampled)
        to_target = partial(kl, prior=target, samples=samples, generator=generator, sampled=sampled)
        batches = [reconstructed, fake]
        if swap:
            batches.append(model.decoder(model.swapped(z, generator)))
        noise = [normal(z.shape[-2:], generator, z.dtype) for _ in batches]
        terms, penalty = _negatives(model, batches, noise, to_target, betas, alpha * scale)
    kl_mean = kl_real.per_datum.mean(-1)
    loss = scale * (betas.rec * reconstruction + betas.kl * kl_mean) + penalty / alpha
    if regularised:  # the gradient of R reaches every player that steps here
        loss = loss + scale * responsibility_weight * regularizer_of_mean(kl_real.mean_responsibilities)
    terms |= {"loss_encoder": loss, "reconstruction": reconstruction, "kl_real": kl_mean}
    terms = detached(terms, kl_real.mean_responsibilities)
    return Step(loss, terms, posterior.detach(), z.detach(), kl_real.for_prior, z_fake.detach())


def _negatives(model: Model, batches, noise, to_target, betas: Betas, rate: Weight):
    """Return the history's terms, and half the sum of the batch means of exp(-rate (beta_rec rec + beta_neg KL)).

    ``batches`` are the reconstructions, the fakes and perhaps translations, ``noise`` ``[..., B, L]`` makes the latents
    of each; ``to_target`` is KL(q || p) of a mean and a log-variance. A batch is a constant as the encoder's input, but
    not as the target of its own reconstruction: there the gradient of a reconstruction flows back to the encoder, and
    that of a fake to a prior that steps with it. Batches that do not share a forward pass do not share the memory of
    one either: the gradient of each is taken before the next one is encoded.
    """
    named = list(zip(NEGATIVES[: len(batches)], batches, noise, strict=True))
    terms, means = {}, []
    for group in [named] if model.stackable else [[one] for one in named]:
        posteriors = model.encode_each([batch.detach() for _, batch, _ in group])
        latents = [posterior.at(draws) for posterior, (*_, draws) in zip(posteriors, group, strict=True)]
        decoded = model.decode_each(latents, model.target_decoder)
        for (name, batch, _), posterior, again in zip(group, posteriors, decoded, strict=True):
            target = batch if model.stackable else leaf_of(batch)
            error = model.reconstruction_error(target, again)
            divergence = to_target(*posterior)
            exponent = per_datum(betas.rec) * error + per_datum(betas.neg) * divergence
            mean = torch.exp(-rate * exponent).mean(-1)
            if not model.stackable:
                mean = differentiate_now(mean, [(target, batch), *((own, own) for own in model.encoder.parameters())])
            means.append(mean)
            terms |= {f"reconstruction_{name}": error.mean(-1), f"kl_{name}": divergence.mean(-1)}
            terms[f"exp_elbo_{name}"] = mean
    return terms, 0.5 * sum(means[1:], means[0])


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
    swap: bool = False,
) -> Step:
    """The decoder's and prior's loss L_D of Soft-IntroVAE (docs/science.md, section 2); the encoder is frozen.

    Args:
        posterior, z: q(z|x) and its latents from the encoder's step, taken as constants; computed when None.
        prior_kl: KL(q(z|x) || p) from the encoder's step, as a function of the prior; estimated anew when None.
        z_fake: the fakes' latents of the encoder's step, where the prior does not learn; drawn anew when None.
        samples, sampled, scale: as in :func:`encoder_loss`.
        gamma: the weight of the KL of reconstructions and fakes.
        gamma_r: the weight of reconstructing them again, times gamma. Under 6e-8, the published 1e-8 included, that
            term is left out: it costs a quarter of the step and changes no bit of the float32 loss.
        swap: whether translations are fakes too, as in :func:`encoder_loss`.
        cooperation: "decoder": a prior that learns does so here, from KL(q(z|x) || p) and through the fakes.
    """
    scale = scale or 1 / model.data_size(real)
    density = model.mixture()
    target = density.detach()
    prior = density if cooperation == "decoder" else target
    if posterior is None or z is None:
        posterior, z = model.infer(real, generator)
    posterior, z = posterior.detach(), z.detach()
    z_fake = prior.sample(model.batch_size(real), generator)[0] if z_fake is None else z_fake
    with frozen(model.encoder):
        latents = (z, z_fake, model.swapped(z, generator)) if swap else (z, z_fake)
        negatives = model.decode_each(latents)  # x_r = g(z), x_f = g(z_p) and perhaps translations
        reconstruction = model.reconstruction_error(real, negatives[0]).mean(-1)
        to_target = partial(kl, prior=target, samples=samples, generator=generator, sampled=sampled)
        weight = gamma * betas.kl * 0.5
        weight_again = gamma * gamma_r * betas.rec * 0.5
        errs_again = gamma * gamma_r > torch.finfo(torch.float32).eps / 2
        by_target = None
        if errs_again and model.target_decoder is not None:
            by_target = partial(_error_by_target, model, weight_again / weight, generator)
        posteriors, kls = mean_kls(model, negatives, to_target, scale * weight, by_target)
        loss = betas.rec * reconstruction + weight * sum(kls[1:], kls[0])
        if prior.learns:
            if prior_kl is None:
                prior_kl = real_kl(posterior, prior, samples, generator, False, sampled).for_prior
            loss = loss + betas.kl * prior_kl
        if errs_again and model.target_decoder is None:
            loss = loss + weight_again * _errors_again(model, negatives, posteriors, generator)
    loss = scale * loss
    return Step(loss, detached({"loss_decoder": loss}, None), posterior, z)


def _errors_again(model: Model, batches, posteriors, generator: Generators) -> torch.Tensor:
    """Return the sum, over all batches of fakes, of the batch mean of rec between a batch and its reconstruction.

    The decoder learns from the reconstructions alone: their latents and the batches are constants.
    """
    again = model.decode_each([each.detach().sample(generator) for each in posteriors])
    targets = [batch.detach() for batch in batches]
    first, *others = (model.reconstruction_error(*pair).mean(-1) for pair in zip(targets, again, strict=True))
    return sum(others, first)


def _error_by_target(
    model: Model, weight: Weight, generator: Generators, batch: torch.Tensor, posterior: Posterior
) -> torch.Tensor:
    """Return the weighted batch mean of rec between a batch of fakes and the target decoder's reconstruction of it.

    The decoder learns from the batch, on both sides of rec: as the target, and as what encoder and target decoder make
    the reconstruction from.
    """
    again = model.target_decoder(posterior.sample(generator))
    return weight * model.reconstruction_error(batch, again).mean(-1)


def _nonzero(weight: Weight) -> bool:
    """Whether a weight may differ from 0. A tensor counts as one that does: a GPU is not asked for its values."""
    return isinstance(weight, torch.Tensor) or weight != 0


class SoftIntroVae(Objective):
    """Soft-IntroVAE, after a VAE's warm-up. A variant overrides one of the losses.

    ``swap``: whether translations are negatives beside reconstructions and fakes.
    """

    swap = False

    def encoder_loss(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool) -> Step:
        """Compute the loss of the encoder's step, ``[...]``."""
        return encoder_loss(
            game.model,
            real,
            game.betas,
            noise,
            alpha=game.shared.alpha,
            responsibility_weight=game.responsibility_weight,
            mean_responsibilities=mean_responsibilities,
            swap=self.swap,
            **_common(game),
        )

    def decoder_loss(self, game: Game, real: torch.Tensor, noise: Generators, first: Step) -> Step:
        """Compute the loss of the decoder's step, ``[...]``; ``first`` is what the encoder's step computed."""
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
            swap=self.swap,
            **_common(game),
        )

    def step(self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool):
        """Step the encoder, then the decoder, and the prior with the one that it cooperates with."""
        third = {game.shared.cooperation: ["prior"]} if "prior" in game.optimisers else {}
        first = _step(self.encoder_loss(game, real, noise, mean_responsibilities), "encoder_loss", game)
        game.descend(first.loss, "encoder", *third.get("encoder", []))
        second = _step(self.decoder_loss(game, real, noise, first), "decoder_loss", game)
        game.descend(second.loss, "decoder", *third.get("decoder", []))
        return first.terms | second.terms


def _step(found: Any, name: str, game: Game) -> Step:
    """Return what a loss has found. Raises SintroError where a loss of one's own returned something else."""
    if isinstance(found, Step):
        return found
    raise SintroError(
        f"objective {game.shared.objective!r}: {name} returned a {type(found).__name__}; legal is a "
        "sintro.objectives.Step"
    )


class SoftIntroVaeBootstrap(SoftIntroVae):
    """Soft-IntroVAE in which the decoder as it was when the epoch began reconstructs the fakes."""

    target_decoder = True


class SoftIntroVaeSwap(SoftIntroVae):
    """Soft-IntroVAE of two codes in which translated images are what must look real."""

    swap = True


def _common(game: Game) -> dict[str, Any]:
    """Return the arguments that both losses have, from the game's settings."""
    one = game.shared
    return {"samples": one.samples, "sampled": game.sampled, "scale": one.scale, "cooperation": one.cooperation}

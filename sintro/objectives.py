"""The losses of the two papers, exactly as their tables were made (docs/science.md, section 2).

Shapes: ``...`` is empty for one cell and [F] for a fleet. Every loss is ``[...]``, one number per cell; summing them
before ``backward`` keeps the cells' gradients apart. Betas are floats, or tensors ``[...]`` where cells differ.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from sintro.cells import Betas
from sintro.model import Model, Posterior, frozen
from sintro.priors import LOG_2PI, MixturePrior, StandardNormal
from sintro.randomness import Generators, normal

Weight = float | torch.Tensor


@dataclass
class Step:
    """What one player's step computed: ``loss`` [...] to minimise, ``terms`` for the history (detached, [...]), and for
    the other player the real batch's posterior and latents, KL(q(z|x) || p) as a function of a prior that learns
    (batch mean, [...], with gradients to the prior alone; None where no prior learns with the decoder), and the fakes'
    latents [..., B, L] (None in a warm-up)."""

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    posterior: Posterior
    z: torch.Tensor
    prior_kl: torch.Tensor | None = None
    z_fake: torch.Tensor | None = None


def kl(
    mean: torch.Tensor,
    log_var: torch.Tensor,
    prior: StandardNormal | MixturePrior,
    samples: int,
    generator: Generators | None,
    sampled: bool = False,
) -> torch.Tensor:
    """KL(q || p) in nats per datum, ``[..., B]``, for q = N(mean, diag exp(log_var)), both ``[..., B, L]``.

    For mixtures it is the mean of log q(z) - log p(z) over ``samples`` reparameterised draws per datum, the estimator
    of Athanasiadis et al. 2025. For N(0, I) and for a single component it is in closed form, as Soft-IntroVAE's authors
    compute it; with ``sampled`` it is estimated there too, as Athanasiadis et al. do. Its noise matters: inside the
    soft exponential, less noise is another expectation.
    """
    if _is_single(prior):
        return _single_kl(mean, log_var, prior, _noise_moments(mean, samples, generator) if sampled else None)
    z, log_posterior = _draws(mean, log_var, samples, generator)
    return _sampled_kl(log_posterior, prior.log_prob(z))


def _is_single(prior: StandardNormal | MixturePrior) -> bool:
    """Whether the prior is one Gaussian, so that the KL has a closed form."""
    return isinstance(prior, StandardNormal) or prior.components == 1


class _NoiseMoments(NamedTuple):
    """The mean of eps and of eps^2 over S standard normal draws, each ``[..., B, L]``.

    Log q - log p of two Gaussians is quadratic in eps, so its mean over the draws depends on these alone: no graph of
    S latents is needed.
    """

    first: torch.Tensor
    second: torch.Tensor


def _noise_moments(mean: torch.Tensor, samples: int, generator: Generators) -> _NoiseMoments:
    """Moments of the noise that :func:`_draws` would draw for posteriors of this shape."""
    noise = normal((samples, *mean.shape[-2:]), generator, mean.dtype)  # [..., S, B, L]
    return _NoiseMoments(noise.mean(-3), noise.square().mean(-3))


def _single_kl(mean, log_var, prior, moments: _NoiseMoments | None):
    """KL [..., B] to a single Gaussian: sampled with noise of these moments, in closed form where there are none."""
    second = 1 if moments is None else moments.second
    negative_entropy = -0.5 * (log_var + second + LOG_2PI).sum(-1)
    if isinstance(prior, StandardNormal):
        return negative_entropy + 0.5 * (_expected_square(mean, log_var, moments) + LOG_2PI).sum(-1)
    squares = _expected_square(mean - prior.means, log_var, moments)
    target_log_var = prior.log_vars  # [..., 1, L]
    cross_entropy = 0.5 * (LOG_2PI + target_log_var + squares * torch.exp(-target_log_var)).sum(-1)
    return negative_entropy + cross_entropy


def _expected_square(offset, log_var, moments: _NoiseMoments | None):
    """The mean of (offset + exp(log_var / 2) eps)^2 over eps, [..., B, L]."""
    if moments is None:
        return offset.square() + log_var.exp()
    crossed = 2 * offset * torch.exp(0.5 * log_var) * moments.first
    return offset.square() + crossed + log_var.exp() * moments.second


def _draws(mean, log_var, samples, generator):
    """Reparameterised latents [..., S * B, L], sample s of datum b in row s B + b, and the mean log q of each datum."""
    noise = normal((samples, *mean.shape[-2:]), generator, mean.dtype)  # [..., S, B, L]
    deviation = torch.exp(0.5 * log_var).unsqueeze(-3)
    z = torch.addcmul(mean.unsqueeze(-3), deviation, noise).flatten(-3, -2)
    return z, -0.5 * (log_var + LOG_2PI + noise.square().mean(-3)).sum(-1)


def _sampled_kl(log_posterior, log_prob):
    """KL [..., B] from the mean log q of each datum [..., B] and log p of all draws [..., S * B]."""
    size = log_posterior.shape[-1]
    return log_posterior - log_prob.unflatten(-1, (-1, size)).mean(-2)


class _RealKL(NamedTuple):
    """KL(q(z|x) || p) of a real batch, for those who move q and for the prior."""

    per_datum: torch.Tensor  # [..., B]; the prior is a constant unless it steps with the encoder
    for_prior: torch.Tensor | None  # [...], the batch mean; q is a constant. None where no prior learns from it
    mean_responsibilities: torch.Tensor | None  # [..., K], where they were asked for or came along

    def for_both(self) -> torch.Tensor:
        """The batch mean, [...], with gradients to q and to the prior."""
        mean = self.per_datum.mean(-1)
        return mean if self.for_prior is None else mean + (self.for_prior - self.for_prior.detach())


def _real_kl(
    posterior: Posterior, prior, samples: int, generator, mean_responsibilities: bool, sampled: bool
) -> _RealKL:
    """As :func:`kl`, in one pass over a mixture for both players: the same draws serve the encoder and the prior."""
    learns, target = any(p.requires_grad for p in prior.parameters()), prior.detach()
    if _is_single(prior):
        found = _of_one_mode(prior) if mean_responsibilities else None
        moments = _noise_moments(posterior.mean, samples, generator) if sampled else None
        for_prior = _single_kl(*posterior.detach(), prior, moments).mean(-1) if learns else None
        return _RealKL(_single_kl(*posterior, target, moments), for_prior, found)
    if not learns:
        return _joint_kl(posterior, target, samples, generator, mean_responsibilities, sampled)
    z, log_posterior = _draws(*posterior, samples, generator)
    log_prob, found, mean = prior.shared_log_prob(z)
    return _RealKL(_sampled_kl(log_posterior, log_prob), log_posterior.detach().mean(-1) - mean, found)


def _joint_kl(
    posterior: Posterior, prior, samples: int, generator, mean_responsibilities: bool, sampled: bool
) -> _RealKL:
    """As :func:`_real_kl` for players who step together: KL and mean responsibilities carry gradients to both."""
    if _is_single(prior):
        found = _of_one_mode(prior) if mean_responsibilities else None
        return _RealKL(kl(*posterior, prior, samples, generator, sampled), None, found)
    z, log_posterior = _draws(*posterior, samples, generator)
    if mean_responsibilities:
        log_prob, found = prior.log_prob_and_mean_responsibilities(z)
    else:
        log_prob, found = prior.log_prob(z), None
    return _RealKL(_sampled_kl(log_posterior, log_prob), None, found)


def _of_one_mode(prior) -> torch.Tensor | None:
    """The mean responsibilities of a mixture of one mode, all ones; None of N(0, I), which has no modes."""
    return torch.ones_like(prior.logits.detach()) if isinstance(prior, MixturePrior) else None


def responsibility_regularizer(responsibilities: torch.Tensor) -> torch.Tensor:
    """R of docs/science.md, section 2: ``[..., N, K]`` to ``[...]``; between -1 (all modes equally used) and 0.

    sum_k a_k log(a_k + 1e-8) with a_k the mean responsibility of mode k, divided by log K only where log K > 1: so not
    for K = 2 (a published convention, audit A7).
    """
    return _regularizer_of_mean(responsibilities.mean(-2))


def _regularizer_of_mean(mean_responsibilities: torch.Tensor) -> torch.Tensor:
    """R from the mean responsibilities a, ``[..., K]`` to ``[...]``."""
    negative_entropy = (mean_responsibilities * torch.log(mean_responsibilities + 1e-8)).sum(-1)
    return negative_entropy / max(1.0, math.log(mean_responsibilities.shape[-1]))


def per_datum(weight: Weight) -> Weight:
    """A weight ready to multiply values per datum: ``[F]`` becomes ``[F, 1]``."""
    return weight.unsqueeze(-1) if isinstance(weight, torch.Tensor) else weight


def vae_loss(
    model: Model,
    real: torch.Tensor,
    betas: Betas,
    generator: Generators,
    *,
    samples: int = 100,
    sampled: bool = False,
) -> Step:
    """beta_rec rec(x, g(z)) + beta_kl KL(x), averaged over the batch: the VAE, and the warm-up of every other run.

    Encoder, decoder and a learnable prior all receive gradients. No factor s. ``samples`` and ``sampled`` are those of
    :func:`kl`.
    """
    posterior = model.encode(real)
    z = posterior.sample(generator)
    reconstruction = model.squared_error(real, model.decoder(z)).mean(-1)
    kl_real = _real_kl(posterior, model.mixture(), samples, generator, True, sampled)
    loss = betas.rec * reconstruction + betas.kl * kl_real.for_both()
    terms = {"loss_encoder": loss, "loss_decoder": loss, "reconstruction": reconstruction}
    terms["kl_real"] = kl_real.per_datum.mean(-1)
    return Step(loss, _detached(terms, kl_real.mean_responsibilities), posterior, z)


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
    prior, target = model.prior, model.prior.detach()
    regularised = isinstance(prior, MixturePrior) and _nonzero(responsibility_weight)
    together = cooperation == "encoder" and any(parameter.requires_grad for parameter in prior.parameters())
    with frozen(model.decoder):
        with torch.set_grad_enabled(together):
            z_fake = prior.sample(real.shape[-model.event_dims - 1], generator)[0]
            fake = model.decoder(z_fake)
        posterior = model.encode(real)
        z = posterior.sample(generator)
        reconstructed = model.decoder(z)
        reconstruction = model.squared_error(real, reconstructed).mean(-1)
        estimate = _joint_kl if together else _real_kl
        kl_real = estimate(posterior, prior, samples, generator, mean_responsibilities or regularised, sampled)
        negatives = (reconstructed, fake)
        terms, penalty = _negatives(model, negatives, target, betas, generator, samples, sampled, alpha * scale)
    kl_mean = kl_real.per_datum.mean(-1)
    loss = scale * (betas.rec * reconstruction + betas.kl * kl_mean) + penalty / alpha
    if regularised:  # its gradient goes to whoever steps here
        loss = loss + scale * responsibility_weight * _regularizer_of_mean(kl_real.mean_responsibilities)
    terms |= {"loss_encoder": loss, "reconstruction": reconstruction, "kl_real": kl_mean}
    terms = _detached(terms, kl_real.mean_responsibilities)
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
    target = model.prior.detach()
    prior = model.prior if cooperation == "decoder" else target
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
        if any(parameter.requires_grad for parameter in prior.parameters()):
            if prior_kl is None:
                prior_kl = _real_kl(posterior, prior, samples, generator, False, sampled).for_prior
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
    return Step(loss, _detached(terms, None), posterior, z)


def _nonzero(weight: Weight) -> bool:
    """A tensor counts as one: a look at its content would make the processor wait for a GPU."""
    return isinstance(weight, torch.Tensor) or weight != 0


def _detached(terms: dict[str, torch.Tensor], mean_responsibilities: torch.Tensor | None) -> dict[str, torch.Tensor]:
    detached = {name: value.detach() for name, value in terms.items()}
    if mean_responsibilities is not None:
        detached["mean_responsibilities"] = mean_responsibilities.detach()
    return detached

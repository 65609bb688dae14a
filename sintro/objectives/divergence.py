"""KL(q(z|x) || p) of every prior, for the objectives and the metrics (docs/science.md, section 2).

Shapes: ``...`` is empty for one cell and [F] for a fleet.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from sintro.basics.randomness import Generators, normal
from sintro.objectives.gradients import differentiate_now, leaf_of
from sintro.objectives.model import Model, Posterior
from sintro.priors import NoiseMoments, Prior
from sintro.priors.mixture import sampled_log_prob


def kl(
    mean: torch.Tensor,
    log_var: torch.Tensor,
    prior: Prior,
    samples: int,
    generator: Generators | None,
    sampled: bool = False,
) -> torch.Tensor:
    """KL(q || p) in nats per datum, ``[..., B]``, for q = N(mean, diag exp(log_var)), both ``[..., B, L]``.

    For N(0, I) and for a single component it has a closed form, which Daniel & Tamar 2021 use. For every other prior
    it is the mean of log q(z) - log p(z) over ``samples`` reparameterised draws per datum. Athanasiadis et al. 2025
    sample it for every prior; ``sampled`` does so too. The noise is part of the definition: the soft exponential of
    a noisy KL has another expectation than that of an exact one.
    """
    if prior.parts:
        codes = _codes(Posterior(mean, log_var), prior)
        return sum(weight * kl(*code, part, samples, generator, sampled) for weight, part, code in codes)
    if prior.has_closed_kl:
        return prior.closed_kl(mean, log_var, _noise_moments(mean, samples, generator) if sampled else None)
    z, log_posterior = _draws(mean, log_var, samples, generator)
    return _sampled_kl(log_posterior, prior.log_prob(z))


def _codes(posterior: Posterior, prior: Prior) -> list[tuple[float, Prior, Posterior]]:
    """Return of each code the weight of its KL, its prior and its posterior: KLs of independent codes add up."""
    means, log_vars = prior.split(posterior.mean), prior.split(posterior.log_var)
    halves = zip(prior.parts, means, log_vars, strict=True)
    return [(weight, part, Posterior(mean, log_var)) for (weight, part), mean, log_var in halves]


def _noise_moments(mean: torch.Tensor, samples: int, generator: Generators) -> NoiseMoments:
    """Draw the noise that :func:`_draws` would draw for posteriors of this shape, and return its moments."""
    noise = normal((samples, *mean.shape[-2:]), generator, mean.dtype)  # [..., S, B, L]
    return NoiseMoments(noise.mean(-3), noise.square().mean(-3))


def _draws(mean, log_var, samples, generator):
    """Return drawn latents [..., S * B, L], sample s of datum b in row s B + b, and the mean log q of each datum."""
    noise = normal((samples, *mean.shape[-2:]), generator, mean.dtype)  # [..., S, B, L]
    deviation = torch.exp(0.5 * log_var).unsqueeze(-3)
    z = torch.addcmul(mean.unsqueeze(-3), deviation, noise).flatten(-3, -2)
    return z, sampled_log_prob(log_var, noise.square().mean(-3))


def _sampled_kl(log_posterior, log_prob):
    """KL [..., B] from the mean log q of each datum [..., B] and log p of all draws [..., S * B]."""
    size = log_posterior.shape[-1]
    return log_posterior - log_prob.unflatten(-1, (-1, size)).mean(-2)


class RealKL(NamedTuple):
    """KL(q(z|x) || p) of a real batch, once with gradients for the encoder and once with gradients for the prior."""

    per_datum: torch.Tensor  # [..., B]; the prior is a constant unless it steps with the encoder
    for_prior: torch.Tensor | None  # [...], the batch mean; q is a constant. None where no prior learns from it
    mean_responsibilities: torch.Tensor | None  # [..., K], where they were asked for or came along

    def for_both(self) -> torch.Tensor:
        """Return the batch mean, [...], with gradients to q and to the prior."""
        mean = self.per_datum.mean(-1)
        return mean if self.for_prior is None else mean + (self.for_prior - self.for_prior.detach())


def real_kl(
    posterior: Posterior, prior: Prior, samples: int, generator, mean_responsibilities: bool, sampled: bool
) -> RealKL:
    """Compute :func:`kl` of a real batch; one pass over a mixture, with the same draws, serves encoder and prior."""
    learns, target = prior.learns, prior.detach()
    if prior.parts:
        return _together(real_kl, posterior, prior, samples, generator, mean_responsibilities, sampled)
    if prior.has_closed_kl:
        found = _of_one_mode(prior) if mean_responsibilities else None
        moments = _noise_moments(posterior.mean, samples, generator) if sampled else None
        for_prior = prior.closed_kl(*posterior.detach(), moments).mean(-1) if learns else None
        return RealKL(target.closed_kl(*posterior, moments), for_prior, found)
    if not learns:
        return joint_kl(posterior, target, samples, generator, mean_responsibilities, sampled)
    z, log_posterior = _draws(*posterior, samples, generator)
    log_prob, found, mean = prior.shared_log_prob(z)
    return RealKL(_sampled_kl(log_posterior, log_prob), log_posterior.detach().mean(-1) - mean, found)


def joint_kl(
    posterior: Posterior, prior: Prior, samples: int, generator, mean_responsibilities: bool, sampled: bool
) -> RealKL:
    """Compute :func:`real_kl` for an encoder and a prior that step together: the results carry gradients to both."""
    if prior.parts:
        return _together(joint_kl, posterior, prior, samples, generator, mean_responsibilities, sampled)
    if prior.has_closed_kl:
        found = _of_one_mode(prior) if mean_responsibilities else None
        return RealKL(kl(*posterior, prior, samples, generator, sampled), None, found)
    z, log_posterior = _draws(*posterior, samples, generator)
    if mean_responsibilities:
        log_prob, found = prior.log_prob_and_mean_responsibilities(z)
    else:
        log_prob, found = prior.log_prob(z), None
    return RealKL(_sampled_kl(log_posterior, log_prob), None, found)


def _together(estimate, posterior: Posterior, prior: Prior, *how) -> RealKL:
    """Compute a :class:`RealKL` of several codes: the weighted sum, and the responsibilities of the code with modes."""
    found = [(weight, estimate(code, part, *how)) for weight, part, code in _codes(posterior, prior)]
    per_datum = sum(weight * each.per_datum for weight, each in found)
    learned = [weight * each.for_prior for weight, each in found if each.for_prior is not None]
    shares = [each.mean_responsibilities for _, each in found if each.mean_responsibilities is not None]
    return RealKL(per_datum, sum(learned) if learned else None, shares[0] if shares else None)


def _of_one_mode(prior: Prior) -> torch.Tensor | None:
    """Return the mean responsibilities of a mixture of one mode, all ones; None for N(0, I), which has no modes."""
    return torch.ones_like(prior.weights.detach()) if prior.has_modes else None


def mean_kls(
    model: Model,
    batches: list[torch.Tensor],
    to_prior: Callable[..., torch.Tensor],
    weight: float,
    more: Callable[[torch.Tensor, Posterior], torch.Tensor] | None = None,
) -> tuple[list[Posterior], list[torch.Tensor]]:
    """Return q(z|x) of each batch, and the batch mean ``[...]`` of its KL, with gradients to the encoder and the batch.

    Batches that do not share a forward pass do not share the memory of one either: the gradient of each is taken
    before the next one is encoded, and then the graph of its q is gone.

    Args:
        to_prior: KL(q || p), ``[..., B]``, of a mean and a log-variance.
        weight: what the loss multiplies each mean by, as in :func:`differentiate_now`.
        more: what to add to a batch's mean, ``[...]`` of the batch and its q(z|x).
    """

    def mean(batch: torch.Tensor, posterior: Posterior) -> torch.Tensor:
        divergence = to_prior(*posterior).mean(-1)
        return divergence if more is None else divergence + more(batch, posterior)

    if model.stackable:
        posteriors = model.encode_each(batches)
        return posteriors, [mean(*pair) for pair in zip(batches, posteriors, strict=True)]
    posteriors, kls = [], []
    for batch in batches:
        end = leaf_of(batch)
        posteriors.append(model.encode(end))
        places = [(end, batch), *((own, own) for own in model.encoder.parameters())]
        kls.append(differentiate_now(mean(end, posteriors[-1]), places, weight))
    return posteriors, kls

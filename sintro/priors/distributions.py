"""Priors over the latent space: N(0, I), mixtures of Gaussians, VampPrior (docs/science.md, sections 1 to 3).

Everything broadcasts over leading axes, written ``...``: none for one cell, one of size F for a fleet.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import nn
from torch.nn import functional

from sintro.basics.randomness import Generators, normal, uniform
from sintro.priors.mixture import mixture_log_prob, shared_log_prob
from sintro.priors.prior import NoiseMoments, Prior
from sintro.priors.table import LOG_2PI


class StandardNormal(Prior):
    """N(0, I) in ``latent_size`` dimensions, imposed and never learned."""

    components = 1
    is_standard = True
    has_closed_kl = True

    def __init__(self, latent_size: int):
        self.latent_size = latent_size

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: ``[..., N, L]`` to ``[..., N]``."""
        return -0.5 * (z.square().sum(-1) + self.latent_size * LOG_2PI)

    def sample(self, n: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``n`` latents per cell, ``[..., n, L]``; return them and their component, always 0, ``[..., n]``."""
        z = normal((n, self.latent_size), generator)
        return z, torch.zeros(z.shape[:-1], dtype=torch.long, device=z.device)

    def components_to_draw(self) -> dict[str, torch.Tensor]:
        origin = torch.zeros(1, self.latent_size)
        return {"means": origin, "log_vars": origin, "weights": torch.ones(1)}

    def closed_kl(self, mean: torch.Tensor, log_var: torch.Tensor, moments: NoiseMoments | None) -> torch.Tensor:
        return gaussian_kl_to(mean, log_var, None, moments)


class MixturePrior(Prior):
    """p(z) = sum_k w_k N(z; m_k, diag exp(s_k)), with w = softmax(logits).

    Args:
        means: m, ``[..., K, L]``.
        log_vars: s, ``[..., K, L]``, log-variances (not standard deviations).
        logits: ``[..., K]``, unnormalised log weights.

    The tensors are kept as they are given, so gradients reach the caller's parameters.
    """

    has_modes = True

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, logits: torch.Tensor):
        if means.shape != log_vars.shape or means.shape[:-1] != logits.shape:
            raise ValueError(
                f"means {tuple(means.shape)} and log_vars {tuple(log_vars.shape)} must both be [..., K, L], "
                f"logits {tuple(logits.shape)} [..., K]"
            )
        self.means, self.raw_log_vars, self.logits = means, log_vars, logits

    @classmethod
    def free(cls, means: torch.Tensor, log_vars: torch.Tensor, logits: torch.Tensor, contributions: bool) -> Self:
        """Make a mixture with parameters of its own, at these values; its weights learn where ``contributions``."""
        parameters = [nn.Parameter(t.detach().clone().contiguous()) for t in (means, log_vars, logits)]
        parameters[2].requires_grad_(contributions)
        return cls(*parameters)

    @property
    def components(self) -> int:
        return self.means.shape[-2]

    @property
    def latent_size(self) -> int:
        return self.means.shape[-1]

    @property
    def log_vars(self) -> torch.Tensor:
        """s of the density, ``[..., K, L]``: clipped once :meth:`clip` was called."""
        if self.bounds is None:
            return self.raw_log_vars
        low, high = self.bounds
        return clip_log_vars(self.raw_log_vars, low.unsqueeze(-2), high.unsqueeze(-2))

    @property
    def weights(self) -> torch.Tensor:
        """w, ``[..., K]``, positive, sums to one."""
        return torch.softmax(self.logits, -1)

    def clip_to_modes(self) -> None:
        log_vars = self.raw_log_vars.detach()
        self.clip(log_vars.amin(-2), log_vars.amax(-2))

    def named_parameters(self) -> dict[str, torch.Tensor]:
        return {"means": self.means, "log_vars": self.raw_log_vars, "logits": self.logits}

    def components_to_draw(self) -> dict[str, torch.Tensor]:
        return {"means": self.means, "log_vars": self.log_vars, "weights": self.weights}

    @property
    def has_closed_kl(self) -> bool:
        """Whether it is one Gaussian."""
        return self.components == 1

    def closed_kl(self, mean: torch.Tensor, log_var: torch.Tensor, moments: NoiseMoments | None) -> torch.Tensor:
        return gaussian_kl_to(mean - self.means, log_var, self.log_vars, moments)

    def detach(self) -> "MixturePrior":
        """Return the same density with parameters that receive no gradients."""
        return MixturePrior(self.means.detach(), self.log_vars.detach(), self.logits.detach())

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: ``[..., N, L]`` to ``[..., N]``; see :mod:`sintro.priors.mixture` for the numerics."""
        log_weights = torch.log_softmax(self.logits, -1)
        return mixture_log_prob(z, self.means, self.log_vars, log_weights)[0]

    def log_prob_and_mean_responsibilities(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(z) ``[..., N]``, and the mean responsibility a_k of each mode over the N points ``[..., K]``."""
        log_weights = torch.log_softmax(self.logits, -1)
        return mixture_log_prob(z, self.means, self.log_vars, log_weights, mean_responsibilities=True)

    def shared_log_prob(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute in one pass what :meth:`Prior.shared_log_prob` promises."""
        return shared_log_prob(z, self.means, self.log_vars, torch.log_softmax(self.logits, -1))

    def responsibilities(self, z: torch.Tensor) -> torch.Tensor:
        """p(k | z): ``[..., N, L]`` to ``[..., N, K]``; sums to one over k.

        Written plainly, with whole arrays and autograd, so that it can check :mod:`sintro.priors.mixture`.
        """
        z64, means, log_vars = z.double(), self.means.double(), self.log_vars.double()
        offsets = z64.unsqueeze(-2) - means.unsqueeze(-3)  # [..., N, K, L]
        squared = offsets.square() * torch.exp(-log_vars).unsqueeze(-3)
        log_components = torch.log_softmax(self.logits.double(), -1) - 0.5 * log_vars.sum(-1)  # [..., K]
        return torch.softmax(log_components.unsqueeze(-2) - 0.5 * squared.sum(-1), -1).to(z.dtype)

    def sample(self, n: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``n`` latents per cell, ``[..., n, L]``; return them and the component of each, ``[..., n]``.

        Reparameterised: z = m_k + exp(s_k / 2) eps carries gradients to m and s; the drawn index k carries none.
        """
        cumulative = self.weights.detach().double().cumsum(-1)
        position = uniform((n,), generator, torch.float64) * cumulative[..., -1:]
        index = torch.searchsorted(cumulative, position, right=True).clamp_(max=self.components - 1)
        noise = normal((n, self.latent_size), generator, self.means.dtype)
        chosen = index.unsqueeze(-1).expand(*index.shape, self.latent_size)
        means = self.means.gather(-2, chosen)
        return means + torch.exp(0.5 * self.log_vars.gather(-2, chosen)) * noise, index


class VampPrior(Prior):
    """A mixture whose modes are the encoder's posteriors at K learned pseudo-inputs (Tomczak & Welling 2018).

    Args:
        pseudo_inputs: ``[..., K, *event]``, in data space.
        logits: ``[..., K]``; all equal and frozen, or learned (``-lc``).
        limits: pseudo-inputs pass a hard tanh between these limits (images: 0 and 1), which has no gradient where a
            pixel is at or beyond a limit; None where data are unbounded.
    """

    def __init__(self, pseudo_inputs: torch.Tensor, logits: torch.Tensor, limits: tuple[float, float] | None = None):
        self.pseudo_inputs, self.logits, self.limits = pseudo_inputs, logits, limits

    @classmethod
    def starting_at(
        cls, pseudo_inputs: torch.Tensor, event_dims: int, contributions: bool, limits: tuple[float, float] | None
    ) -> Self:
        """Make a prior that starts at these pseudo-inputs, ``[..., K, *event]``, all of equal weight."""
        logits = torch.zeros(pseudo_inputs.shape[:-event_dims], device=pseudo_inputs.device)
        return cls(nn.Parameter(pseudo_inputs), nn.Parameter(logits, contributions), limits)

    def as_density(self, encode: Callable) -> MixturePrior:
        """Return the mixture at this moment; gradients reach the pseudo-inputs and the encoder."""
        inputs = self.pseudo_inputs if self.limits is None else functional.hardtanh(self.pseudo_inputs, *self.limits)
        posterior = encode(inputs)
        return MixturePrior(posterior.mean, posterior.log_var, self.logits)

    @torch.no_grad()
    def converted(self, encode: Callable, logits: str | None) -> MixturePrior:
        """Return a free mixture at the encoder's present posteriors; its weights learn where they did before."""
        mixture = self.as_density(encode)
        first = torch.zeros_like(mixture.logits)
        if logits == "weights":  # published quirk (audit A6): the softmax flattens them
            first = mixture.weights
        elif logits == "log-weights":
            first = torch.log_softmax(mixture.logits, -1)
        return MixturePrior.free(mixture.means, mixture.log_vars, first, self.logits.requires_grad)

    def named_parameters(self) -> dict[str, torch.Tensor]:
        return {"pseudo_inputs": self.pseudo_inputs, "logits": self.logits}


def gaussian_kl_to(
    offset: torch.Tensor, log_var: torch.Tensor, prior_log_var: torch.Tensor | None, moments: NoiseMoments | None
) -> torch.Tensor:
    """KL(N(m + offset, diag exp(log_var)) || N(m, diag exp(prior_log_var))) in nats, ``[..., B]``.

    In closed form, or with ``moments`` the value that samples with such noise would give. ``prior_log_var`` None stands
    for unit variances.
    """
    second = 1 if moments is None else moments.second
    negative_entropy = -0.5 * (log_var + second + LOG_2PI).sum(-1)
    squares = _expected_square(offset, log_var, moments)
    if prior_log_var is None:
        return negative_entropy + 0.5 * (squares + LOG_2PI).sum(-1)
    return negative_entropy + 0.5 * (LOG_2PI + prior_log_var + squares * torch.exp(-prior_log_var)).sum(-1)


def _expected_square(offset, log_var, moments: NoiseMoments | None):
    """Return the mean of (offset + exp(log_var / 2) eps)^2 over eps, [..., B, L]."""
    if moments is None:
        return offset.square() + log_var.exp()
    crossed = 2 * offset * torch.exp(0.5 * log_var) * moments.first
    return offset.square() + crossed + log_var.exp() * moments.second


def clip_log_vars(log_vars: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Squeeze log-variances smoothly into [low, high]: adaptive variance clipping (docs/science.md, section 2).

    s - sp(s - high; b) + sp(low - s; b), with sp(u; b) = log(1 + exp(b u)) / b and b = 10 / (|high - low| + 1e-8);
    where high equals low the result is high. Written with log-add-exp in float64, so neither the value nor the
    gradient overflows however close the limits are (Athanasiadis et al. 2025).

    Args: log_vars ``[..., K, L]`` (any shape), low and high broadcastable to it. Returns: the shape of log_vars.
    """
    s, lo, hi = log_vars.double(), low.double(), high.double()
    sharpness = 10 / ((hi - lo).abs() + 1e-8)
    zero = torch.zeros((), dtype=s.dtype, device=s.device)
    over = torch.logaddexp(zero, sharpness * (s - hi)) / sharpness
    under = torch.logaddexp(zero, sharpness * (lo - s)) / sharpness
    return torch.where(hi == lo, hi.expand_as(s), s - over + under).to(log_vars.dtype)

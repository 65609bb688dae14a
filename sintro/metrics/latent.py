"""The state of the latent space (docs/science.md, section 7): the use of the prior's modes, and the drift of codes."""

from __future__ import annotations

import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import normal
from sintro.metrics import NotFinite
from sintro.priors import Prior
from sintro.priors.mixture import regularizer_of_mean


def responsibility_entropy(mean_responsibilities: Tensor) -> Tensor:
    """Return the normalised entropy -R = - sum_k a_k log(a_k + 1e-8), divided by log K when log K > 1.

    For K >= 3 it is 1 when all modes are used alike and 0 when one takes everything; for K = 1 and K = 2 it is in nats
    (published quirk A7). Higher is better.

    Args:
        mean_responsibilities: a_k, [..., K], over latent samples of the whole test set in the standard form, of one
            batch in :func:`published_responsibility_entropy`.

    Raises: SintroError where they are no distribution over the modes, NaN included.
    """
    _check(mean_responsibilities)
    return -regularizer_of_mean(mean_responsibilities)


def published_responsibility_entropy(
    mean: Tensor, log_var: Tensor, prior: Prior, batch_size: int, samples: int, generator: torch.Generator
) -> float:
    """Compute the normalised entropy of Athanasiadis et al. 2025: of every test *batch*, then averaged.

        mean over batches, weighted by their sizes, of :func:`responsibility_entropy` of a_k,
        a_k = mean responsibility of mode k over the batch's B x ``samples`` latents z ~ N(mean, diag exp(log_var))

    It depends on the batch size, unlike the form over the whole test set. A batch of 32 codes cannot use 100 modes
    alike, so a latent space that uses them alike scores about .73 at B = 32 and .91 at B = 128. Higher is better.

    Args:
        mean, log_var: [N, L], the posteriors of the test set in its order.
        prior: the mixture.
        batch_size: B, the training batch size; the last batch may be smaller.
        samples: latents drawn per datum; 100 as published.

    Raises:
        SintroError: unless mean and log_var are [N, L] with N >= 1, batch_size and samples are positive, the prior has
            modes and all responsibilities are finite.
    """
    if mean.dim() != 2 or mean.shape != log_var.shape or not len(mean):
        raise SintroError(f"normalised entropy: means {tuple(mean.shape)} and log-variances {tuple(log_var.shape)}")
    if batch_size < 1 or samples < 1:
        raise SintroError(f"normalised entropy: batch size {batch_size}, {samples} samples; both must be positive")
    if not prior.has_modes:
        raise SintroError("normalised entropy: this prior has no modes")
    total = 0.0
    for means, log_vars in zip(mean.split(batch_size), log_var.split(batch_size), strict=True):
        noise = normal((samples, *means.shape), generator, means.dtype)  # [S, B, L]
        latents = (means + torch.exp(0.5 * log_vars) * noise).flatten(0, 1)  # [S B, L]
        of_batch = prior.log_prob_and_mean_responsibilities(latents)[1].double()  # [K]
        total += len(means) * float(responsibility_entropy(of_batch))
    return total / len(mean)


def inactive_modes(mean_responsibilities: Tensor) -> Tensor:
    """Count the modes with a_k < 1 / K^2 among mean_responsibilities[..., K]; lower is better, 0 is best."""
    _check(mean_responsibilities)
    total = mean_responsibilities.sum(-1, keepdim=True)
    a = mean_responsibilities / total  # so that rounding never makes a single mode inactive
    return (a < 1 / a.shape[-1] ** 2).sum(-1)


def _check(mean_responsibilities: Tensor) -> None:
    if not mean_responsibilities.isfinite().all():
        raise NotFinite("responsibilities: the means over samples hold values that are not finite, and must sum to 1")
    total = mean_responsibilities.sum(-1)
    if not torch.allclose(total, torch.ones_like(total), atol=1e-3) or (mean_responsibilities < 0).any():
        raise SintroError("responsibilities: the means over samples must be non-negative and sum to 1")


class MeanResponsibilities:
    """The mean responsibility of each mode over samples that arrive in batches, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | float = 0.0

    def update(self, responsibilities: Tensor) -> None:
        """Add responsibilities[..., K]; every leading axis counts as samples."""
        rows = responsibilities.detach().to(torch.float64).reshape(-1, responsibilities.shape[-1])
        self._sum = self._sum + rows.sum(0)
        self.count += len(rows)

    @property
    def mean(self) -> Tensor:  # [K]
        if not self.count:
            raise SintroError("responsibilities: no samples were given")
        return self._sum / self.count


def gaussian_kl(mean1: Tensor, log_var1: Tensor, mean2: Tensor, log_var2: Tensor) -> Tensor:
    """Compute KL(N(mean1, exp log_var1) || N(mean2, exp log_var2)) of diagonal Gaussians, [..., L] -> [...], in nats.

    1/2 sum_l [exp(s1 - s2) + (m1 - m2)^2 exp(-s2) - 1 - (s1 - s2)]
    """
    log_ratio = log_var1 - log_var2
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + (mean1 - mean2).square() * (-log_var2).exp()).sum(-1)


def drift(reconstructed_mean: Tensor, reconstructed_log_var: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute the mean KL(q(z | g(mu(x))) || q(z | x)) over the test images, in nats; lower is better.

    It says how far a code moves when its image is reconstructed and encoded again.

    Args:
        reconstructed_mean, reconstructed_log_var: [N, L], the encoder at the reconstruction g(mu(x)).
        mean, log_var: [N, L], the encoder at the image x.
    """
    terms = (values.to(torch.float64) for values in (reconstructed_mean, reconstructed_log_var, mean, log_var))
    return gaussian_kl(*terms).mean()

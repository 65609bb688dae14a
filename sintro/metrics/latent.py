"""The state of the latent space: how many modes of the prior are used, and how far codes drift through the decoder.

docs/science.md, section 7.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sintro import SintroError

FLOOR = 1e-8  # added inside the logarithm, as published


def responsibility_entropy(shares: Tensor) -> Tensor:
    """Published entropy -R of the modes' shares: - sum_k a_k log(a_k + 1e-8), divided by log K when log K > 1.

    For K >= 3 it is 1 when all modes are used alike and 0 when one takes everything; for K = 1 and K = 2 it is in nats
    (published quirk A7). Higher is better.

    Args:
        shares: [..., K], a_k = responsibility of mode k, averaged over latent samples of the whole test set.
    """
    _check(shares)
    entropy = -(shares * (shares + FLOOR).log()).sum(-1)
    scale = math.log(shares.shape[-1])
    return entropy / scale if scale > 1 else entropy


def inactive_modes(shares: Tensor) -> Tensor:
    """Number of modes with a_k < 1 / K^2 among shares[..., K]; lower is better, 0 is best."""
    _check(shares)
    shares = shares / shares.sum(-1, keepdim=True)  # so that one single mode is never inactive by rounding
    return (shares < 1 / shares.shape[-1] ** 2).sum(-1)


def _check(shares: Tensor) -> None:
    total = shares.sum(-1)
    if not torch.allclose(total, torch.ones_like(total), atol=1e-3) or (shares < 0).any():
        raise SintroError("responsibilities: the modes' shares must be non-negative and sum to 1")


class Shares:
    """Mean responsibility of each mode over samples that arrive in batches, in float64."""

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
    """KL(N(mean1, exp log_var1) || N(mean2, exp log_var2)) of diagonal Gaussians, [..., L] -> [...], in nats.

    1/2 sum_l [exp(s1 - s2) + (m1 - m2)^2 exp(-s2) - 1 - (s1 - s2)]
    """
    log_ratio = log_var1 - log_var2
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + (mean1 - mean2).square() * (-log_var2).exp()).sum(-1)


def drift(reconstructed_mean: Tensor, reconstructed_log_var: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Mean KL(q(z | g(mu(x))) || q(z | x)) over the test images, in nats: how far a code moves when its image is
    reconstructed and encoded again. Lower is better.

    Args:
        reconstructed_mean, reconstructed_log_var: [N, L], the encoder at the reconstruction g(mu(x)).
        mean, log_var: [N, L], the encoder at the image x.
    """
    terms = (values.to(torch.float64) for values in (reconstructed_mean, reconstructed_log_var, mean, log_var))
    return gaussian_kl(*terms).mean()

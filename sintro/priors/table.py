r"""What either form of a mixture's table is asked for: the sums of exp(l_kn) over modes and over points.

The K x N table holds l_kn = log w_k + log N(z_n; m_k, diag exp(s_k)) of K modes at N points. Neither form stores it.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

LOG_2PI = math.log(2 * math.pi)


class Sums(NamedTuple):
    """What one pass over the table gives; None where it was not asked for."""

    log_prob: torch.Tensor  # log p(z), [F, N]
    slope: torch.Tensor | None  # d log p / dz, [F, N, L]
    gradients: torch.Tensor | None  # of the mean of log p: to means, log-variances, log weights, [F, K, 2L + 1]
    kept: tuple[torch.Tensor, ...]  # what the table's pull_back needs


class Cotangents(NamedTuple):
    """The gradients of a loss with respect to what a pass gave."""

    log_prob: torch.Tensor  # [F, N]
    mean_responsibilities: torch.Tensor | None  # [F, K]


class Table(ABC):
    """F mixtures of K modes: means and log_vars ``[F, K, L]``, normalised log_weights ``[F, K]``."""

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor):
        self.shape = means.shape  # F, K, L
        self.peaks = log_weights.double() - 0.5 * (log_vars.double() + LOG_2PI).sum(-1)  # log w_k N(m_k), [F, K]
        self.peak = self.peaks.amax(-1, keepdim=True)  # [F, 1]

    @abstractmethod
    def sums(self, z: torch.Tensor, slopes: bool, gradients: bool) -> Sums:
        """Compute log p at the points z ``[F, N, L]`` and, on request, its slopes and the mean's gradients.

        The last column of the gradients is the mean responsibilities.
        """

    @abstractmethod
    def pull_back(
        self, kept: tuple[torch.Tensor, ...], slope: torch.Tensor | None, cotangents: Cotangents, to_modes: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Compute a loss's gradient to the points, ``[F, N, L]``, and to the modes, ``[F, K, 2L + 1]``.

        ``kept`` and ``slope`` are of the forward pass. Without its slope no gradient goes to the points, and none to
        the modes unless ``to_modes``. Where log p alone has a cotangent and no mode wants one, the slope is enough, and
        nobody calls this.
        """

"""The Fréchet distance between two Gaussians, and their statistics from features that arrive in batches.

The same distance is called FID in Inception features (Heusel et al. 2017) and ``cfid`` in the features of a small
classifier (see :mod:`sintro.metrics.features`); the two are never the same number. docs/science.md, section 7.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from sintro import SintroError
from sintro.metrics import NotFinite

RELIABLE_COUNT = 2048
"""Fewest images for which a distance in Inception features is reported without a warning: its feature dimension."""

FLUSH_ROWS = 1024  # rows of one update of the scatter matrix: small updates are bound by memory
ASYMMETRY = 1e-6  # relative asymmetry, and relative negative eigenvalue, above which a matrix is no covariance


def frechet_distance(mean1, cov1, mean2, cov2) -> float:
    """Compute the squared Fréchet (2-Wasserstein) distance between N(mean1, cov1) and N(mean2, cov2), in float64.

        |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2

    With C = V diag(l) V' of both covariances the last trace is the sum of the singular values of
    diag(l1)^1/2 V1' V2 diag(l2)^1/2. That needs no root of a product: eigenvalues at rounding level (rank-deficient
    covariances, fewer samples than features) are dropped instead of being turned from 1e-16 into 1e-8 by a square root,
    and a covariance against itself gives 0 to about 1e-12 of its trace. Computed on the CPU by one thread: more threads
    save seconds on an idle machine and lose minutes where several processes share its cores.

    Args:
        mean1, mean2: [F] arrays or tensors.
        cov1, cov2: [F, F], symmetric and positive semi-definite.

    Raises:
        SintroError: shapes that do not fit, values that are not finite or overflow, a matrix that is no covariance.
    """
    return next(distances_to(mean2, cov2, [(mean1, cov1)]))


def distances_to(mean, cov, others: Iterable[tuple]) -> Iterator[float]:
    """Yield the Fréchet distance to N(mean, cov) of each other (mean, covariance); the root of ``cov`` is taken once.

    As :func:`frechet_distance`, whose second distribution N(mean, cov) is.
    """
    mean2, cov2 = _checked(mean, cov, "second")
    root2 = None
    for mean1, cov1 in others:
        mean1, cov1 = _checked(mean1, cov1, "first")
        if mean1.shape != mean2.shape:
            raise SintroError(f"Fréchet distance: the first has {len(mean1)} features, the second {len(mean2)}")
        with _one_thread():
            root1 = _root(cov1, "first")  # [F, R1], cov1 = root1 @ root1.T
            root2 = _root(cov2, "second") if root2 is None else root2  # [F, R2]
            overlap = torch.linalg.svdvals(root1.T @ root2).sum() if root1.shape[1] and root2.shape[1] else 0.0
        distance = float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap)
        if not math.isfinite(distance):
            raise NotFinite("Fréchet distance: the values are too large for float64, so it is undefined")
        yield max(distance, 0.0)  # the true value is never negative, so a negative one is rounding


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _checked(mean, cov, which: str) -> tuple[Tensor, Tensor]:
    mean = torch.atleast_1d(torch.as_tensor(mean)).detach().to("cpu", torch.float64)
    cov = torch.as_tensor(cov).detach().to("cpu", torch.float64)
    cov = cov.reshape(1, 1) if cov.numel() == 1 else cov
    if mean.dim() != 1 or cov.shape != (len(mean), len(mean)):
        raise SintroError(
            f"Fréchet distance: the {which} mean has shape {tuple(mean.shape)} and its covariance {tuple(cov.shape)}; "
            "expected [F] and [F, F]"
        )
    if not (mean.isfinite().all() and cov.isfinite().all()):
        raise NotFinite(f"Fréchet distance: the {which} mean or covariance holds values that are not finite")
    if (cov - cov.T).abs().max() > ASYMMETRY * cov.abs().max():
        raise SintroError(f"Fréchet distance: the {which} covariance is not symmetric")
    return mean, (cov + cov.T) / 2


def _root(cov: Tensor, which: str) -> Tensor:
    """Return the root [F, R] with root @ root.T = cov, R the numerical rank."""
    values, vectors = torch.linalg.eigh(cov)
    largest = values.abs().max()
    if values[0] < -ASYMMETRY * largest:
        raise SintroError(
            f"Fréchet distance: the {which} covariance has the negative eigenvalue {values[0].item():.3g}; "
            "a covariance is positive semi-definite"
        )
    kept = values > len(values) * torch.finfo(values.dtype).eps * largest
    return vectors[:, kept] * values[kept].sqrt()


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches, in float64.

    Each update centres its rows on their own mean and merges (count, mean, scatter) by the pairwise rule of Chan, Golub
    & LeVeque 1983, so that a large common offset costs no digits. Two halves merged equal the whole up to rounding.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu"):
        self.dimension, self.count = dimension, 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)  # [F]
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, features: Tensor) -> FeatureStatistics:
        """Compute the statistics of features[N, F] at once."""
        statistics = cls(features.shape[1], features.device)
        for rows in features.split(FLUSH_ROWS):
            statistics.update(rows)
        return statistics

    @classmethod
    def restored(cls, count: int, mean, covariance) -> FeatureStatistics:
        """Make the statistics from a stored count, mean and covariance."""
        mean = torch.as_tensor(mean, dtype=torch.float64)
        statistics = cls(len(mean))
        statistics.count, statistics.mean = int(count), mean
        statistics._scatter = torch.as_tensor(covariance, dtype=torch.float64) * (int(count) - 1)
        return statistics

    def update(self, features: Tensor) -> None:
        """Add features[B, F] of any float type."""
        if features.dim() != 2 or features.shape[1] != self.dimension:
            raise SintroError(f"feature statistics: expected [batch, {self.dimension}], got {tuple(features.shape)}")
        rows = features.detach().to(self.mean.device, torch.float64)  # [B, F]
        if not len(rows):
            return
        mean = rows.mean(0)
        centred = rows - mean
        total, shift = self.count + len(rows), mean - self.mean  # shift [F]
        self._scatter += centred.T @ centred
        self._scatter.addr_(shift, shift, alpha=self.count * len(rows) / total)
        self.mean = self.mean + shift * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """[F, F], divided by count - 1 as pytorch-fid does."""
        if self.count < 2:
            raise SintroError(f"feature statistics: a covariance needs at least 2 images, got {self.count}")
        return self._scatter / (self.count - 1)

    def distance(self, other: FeatureStatistics) -> float:
        """Return the Fréchet distance between the Gaussians of both statistics."""
        return frechet_distance(self.mean, self.covariance, other.mean, other.covariance)


def sample_warning(count: int, dimension: int) -> str | None:
    """Return the warning that a Fréchet distance from `count` images with `dimension` features needs, or None.

    The distance of a finite sample is biased upwards, roughly as dimension / count; below `dimension` images the
    covariance is not even of full rank.
    """
    if count <= dimension:
        return f"{count} images for {dimension} features: the covariance is rank-deficient, the distance biased upwards"
    if count < RELIABLE_COUNT:
        return f"{count} images (fewer than {RELIABLE_COUNT}): the distance is biased upwards"
    return None

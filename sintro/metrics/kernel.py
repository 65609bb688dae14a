"""The kernel distance of features, called KID in Inception features and ``ckid`` in a small classifier's.

Bińkowski et al. 2018: the squared maximum mean discrepancy under the kernel (x.y / F + 1)^3. Its estimate is unbiased:
it can be negative, and unlike a Fréchet distance it does not shrink with more images. docs/science.md, section 7.
"""

import math

import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.metrics import NotFinite

SUBSETS = 100
SUBSET = 1000  # images in a subset at most


def kernel_distance(real: Tensor, generated: Tensor, seed: int = 0, subsets: int = SUBSETS) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) of the kernel distance over ``subsets`` pairs of random subsets.

    A subset holds min(1,000, N / 2) of the N features of the smaller set, drawn without replacement. The deviation is
    that of a subset's value, not the error of the mean: subsets share images.

    Args:
        real, generated: [N, F] and [M, F] features on any device; the work is done on that of ``real``, in float64.
        seed: of the choice of the subsets.

    Raises:
        SintroError: shapes that do not fit, or fewer than 4 images on a side.
        NotFinite: features, or kernel values, that are not finite.
    """
    size = subset_size(len(real), len(generated))
    if real.dim() != 2 or generated.dim() != 2 or real.shape[1] != generated.shape[1] or size < 2 or subsets < 2:
        raise SintroError(
            f"kernel distance: real {tuple(real.shape)} and generated {tuple(generated.shape)} features in {subsets} "
            "subsets; expected [N, F] and [M, F], at least 4 of each, and at least 2 subsets"
        )
    draws = generator(seed, "kernel-subsets")
    values = []
    for _ in range(subsets):
        x, y = (
            features[torch.randperm(len(features), generator=draws)[:size].to(features.device)].to(real.device)
            for features in (real, generated)
        )
        values.append(unbiased_mmd(x.double(), y.double()))
    found = torch.tensor(values, dtype=torch.float64)
    if not found.isfinite().all():
        raise NotFinite("kernel distance: the features, or products of them, are not finite")
    return found.mean().item(), found.std().item()


def subset_size(real: int, generated: int) -> int:
    """Return the number of images in a subset, from the numbers of real and of generated images."""
    return min(SUBSET, real // 2, generated // 2)


def unbiased_mmd(x: Tensor, y: Tensor) -> float:
    """Compute the squared maximum mean discrepancy of x[N, F] and y[M, F] over distinct pairs; NaN if not finite."""
    within = sum(_sum_over_pairs(points) / (len(points) * (len(points) - 1)) for points in (x, y))
    found = within - 2 * _cubic(x, y).mean().item()
    return found if math.isfinite(found) else math.nan


def _sum_over_pairs(points: Tensor) -> float:
    kernel = _cubic(points, points)
    return (kernel.sum() - kernel.trace()).item()


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    """Compute (x.y / F + 1)^3, [N, M]."""
    return (x @ y.T / x.shape[1] + 1) ** 3

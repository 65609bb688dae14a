"""The Fréchet distance of infinitely many generated images, extrapolated (Chong & Forsyth 2020; science.md, section 7).

The distance of N generated images is biased upwards, about in proportion to 1 / N, and by how much depends on the
model. Here the samples are the evaluation's own: other points than the prior's would be another sampler.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.metrics.fid import FLUSH_ROWS, FeatureStatistics, distances_to

SIZES = 15
LEAST = 5000  # images of the smallest size
FEWEST = 2 * LEAST  # images, below which the line is no more than a guess


def infinite_distance(
    generated: Tensor, real: FeatureStatistics, seed: int = 0, least: int = LEAST
) -> tuple[float, float]:
    """Extrapolate the Fréchet distance to infinitely many generated images -> it and its standard error.

    The intercept of a least-squares line through the distances of 15 subsets, in 1 / size. The sizes go evenly from
    ``least`` to N, and each subset is drawn anew without replacement. It may be negative. The standard error is the
    line's: it has no part for the draw of the N images themselves, and none for the real side's own finite number.

    Args:
        generated: [N, F] features.
        real: statistics of the real features.
        seed: of the choice of the subsets.

    Raises: SintroError for fewer than 2 ``least`` images, and where :func:`frechet_distance` does.
    """
    if len(generated) < 2 * least:
        raise SintroError(f"extrapolated distance: {len(generated)} images; at least {2 * least} are needed")
    sizes = np.linspace(least, len(generated), SIZES).round().astype(int)
    draws = generator(seed, "infinite-distance")

    def statistics() -> Iterator[tuple[Tensor, Tensor]]:
        for size in sizes:
            found = FeatureStatistics(generated.shape[1])
            for rows in torch.randperm(len(generated), generator=draws)[:size].split(FLUSH_ROWS):
                found.update(generated[rows])
            yield found.mean, found.covariance

    return intercept(1 / sizes, np.array(list(distances_to(real.mean, real.covariance, statistics()))))


def intercept(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit y = a + b x by least squares -> a and its standard error, with n - 2 degrees of freedom."""
    slope, found = np.polyfit(x, y, 1)
    spread = x - x.mean()
    variance = ((y - found - slope * x) ** 2).sum() / (len(x) - 2)
    return float(found), float(np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / (spread**2).sum())))

"""Two-sample metrics of points in the plane, one for each kind of error (docs/science.md, section 7).

A histogram divergence mixes all errors. Here sliced Wasserstein and energy distance show wrong weights of the parts,
coverage and the nearest-neighbour test wrong shapes, density samples where no data are. None of them shows all.
"""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from sintro import SintroError
from sintro.metrics.density import Points, as_array
from sintro.metrics.manifold import COVERAGE_NEIGHBOURS, TIE

ANGLES = 500  # projections of the sliced distance, evenly spaced over half a turn
FARTHEST = 1e14  # of a coordinate; beyond, the terms of the energy distance cancel down to their rounding
_BLOCK = 100  # rows of a block of distances: 4 MB of float64 against 5,000 points, which stay near the processor

NAMES = ("sliced_w2", "energy_distance", "density", "coverage", "one_nna")


def two_sample_metrics(real: Points, generated: Points) -> dict[str, float]:
    """Compute all metrics of this module, by ``NAMES``, for real [N, 2] and equally many generated [N, 2] points.

    All are NaN where a generated point is not finite or farther than ``FARTHEST``. Raises SintroError for
    shapes that do not fit, real points that are not finite, or no more than ``COVERAGE_NEIGHBOURS`` points.
    """
    real, generated = as_array(real, "real"), as_array(generated, "generated")
    if len(real) != len(generated) or len(real) <= COVERAGE_NEIGHBOURS:
        raise SintroError(
            f"two-sample metrics: {len(real)} real and {len(generated)} generated points; "
            f"as many of both are needed, and more than {COVERAGE_NEIGHBOURS}"
        )
    if not np.isfinite(real).all():
        raise SintroError("real: points that are not finite, so they are no data")
    if not (np.abs(generated) < FARTHEST).all():  # NaN is not less either
        return dict.fromkeys(NAMES, np.nan)
    density, coverage = density_and_coverage(real, generated)
    return {
        "sliced_w2": sliced_w2(real, generated),
        "energy_distance": energy_distance(real, generated),
        "density": density,
        "coverage": coverage,
        "one_nna": one_nna(real, generated),
    }


def sliced_w2(real: np.ndarray, generated: np.ndarray) -> float:
    """Compute the sliced 2-Wasserstein distance, in data units; lower is better (Bonneel et al. 2015).

    It is the root of the mean over ``ANGLES`` directions of W2^2 of the projections. For equally many points of both,
    W2^2 is the mean squared difference of the sorted projections.
    """
    angles = np.arange(ANGLES) * (np.pi / ANGLES)
    directions = np.stack((np.cos(angles), np.sin(angles)), axis=1)  # [A, 2]
    ordered = [np.sort(directions @ points.T, axis=1) for points in (real, generated)]  # [A, N]
    return float(np.sqrt(np.mean((ordered[0] - ordered[1]) ** 2)))


def energy_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Compute 2 E|X - Y| - E|X - X'| - E|Y - Y'| over distinct pairs, in data units; lower is better.

    The estimate is unbiased: a perfect model's value is 0 on average and may be negative (Székely & Rizzo 2013). That
    takes independent points. Those of spirals come in mirrored pairs, as published, which takes 4e-4 off.
    """
    return 2 * _mean_distance(real, generated) - _mean_distance(real) - _mean_distance(generated)


def _mean_distance(points: np.ndarray, others: np.ndarray | None = None) -> float:
    """Return the mean distance of points to others, or, without others, over distinct pairs of the points."""
    total = 0.0
    for start in range(0, len(points), _BLOCK):
        block, later = points[start : start + _BLOCK], points[start + _BLOCK :]
        if others is None:
            total += cdist(block, block).sum() + 2 * cdist(block, later).sum()
        else:
            total += cdist(block, others).sum()
    pairs = len(points) * (len(points) - 1 if others is None else len(others))
    return float(total / pairs)


def density_and_coverage(real: np.ndarray, generated: np.ndarray, k: int = COVERAGE_NEIGHBOURS) -> tuple[float, float]:
    """Compute density and coverage (Naeem et al. 2020), with balls around the real points to their k-th real neighbour.

    Density is the mean number of balls around a generated point, divided by k: 1 for a perfect model, near 0 for
    samples where no data are. Coverage is the share of the balls that hold a generated point: 1 - 2^-k = .969 for
    a perfect model with equally many points, lower where data have no samples. A point at the distance of the k-th
    neighbour is inside, however the distance was rounded.
    """
    radii = cKDTree(real).query(real, k=[k + 1])[0][:, 0] * (1 + TIE)  # [N]; a point is its own nearest
    inside = cKDTree(generated).query_ball_point(real, radii, return_length=True)  # [N] generated points in each ball
    return float(inside.sum() / (k * len(generated))), float((inside > 0).mean())


def one_nna(real: np.ndarray, generated: np.ndarray) -> float:
    """Compute the leave-one-out accuracy of the nearest neighbour's label over both sets (Lopez-Paz & Oquab 2017).

    1/2 is best: the sets cannot be told apart. Near 1 they can be. Below 1/2 the samples are copies of the data, or too
    close to them.
    """
    points = np.concatenate((real, generated))
    labels = np.arange(len(points)) < len(real)
    found = cKDTree(points).query(points, k=2)[1]  # [2 N, 2]
    own = found[:, 0] == np.arange(len(points))  # of two equal points either may come first
    nearest = np.where(own, found[:, 1], found[:, 0])
    return float((labels[nearest] == labels).mean())

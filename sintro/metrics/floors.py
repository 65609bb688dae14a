"""The floor in the plane: a perfect model's scores, from fresh real data in the generated points' place.

The floor of the two-sample metrics takes seconds. So there is a table for the number of points that every study has; a
test computes it anew.
"""

import functools

from sintro.metrics import density as histograms
from sintro.metrics.plane import NAMES, two_sample_metrics

Floor = dict[str, tuple[float, float]]  # metric -> mean, standard deviation over the draws
DRAWS = 10
TABLED = 5000  # points

# The values of plane_floor(name, TABLED), in the order of plane.NAMES.
TABLE = {
    "8gaussians": (
        (0.0903174, 0.01833), (-0.000156114, 0.00041), (0.997924, 0.005087), (0.9665, 0.00394), (0.4994, 0.008443),
    ),
    "spirals": (
        (0.0367633, 0.01029), (-0.000476619, 0.0003328), (0.995728, 0.007958), (0.96842, 0.00589), (0.50033, 0.006218),
    ),
    "checkerboard": (
        (0.0650179, 0.01545), (-0.000275111, 0.0006304), (1.0039, 0.005334), (0.9682, 0.002496), (0.49759, 0.007542),
    ),
    "rings": (
        (0.0472977, 0.01047), (0.000132108, 0.0005647), (0.997412, 0.00737), (0.969, 0.003487), (0.49941, 0.00508),
    ),
}  # fmt: skip


def floor(name: str, points: int = TABLED, bins: int = 100) -> Floor:
    """Return the floors of a density's histogram metrics and two-sample metrics. SintroError for an unknown name."""
    known = dict(zip(NAMES, TABLE[name], strict=True)) if points == TABLED and name in TABLE else None
    return histograms.floor(name, points, bins) | (known or plane_floor(name, points))


@functools.cache
def plane_floor(name: str, points: int, draws: int = DRAWS) -> Floor:
    """Return mean and standard deviation of the metrics of ``plane`` over ``draws`` pairs of fresh real samples.

    The same on every call, and up to rounding on every machine; the samples are those of ``density.floor``.
    """
    found = histograms.of_a_perfect_model(
        name, points, draws, lambda _, real, generated: two_sample_metrics(real, generated)
    )
    return {metric: found[metric] for metric in NAMES}

"""Measurement noise: how far a number moves when an evaluation draws its samples again (docs/science.md, section 7).

It is the noise of measuring one model, not the spread over training seeds, and is never added to that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

NOISE = "measurement_noise"  # the key of metrics.json that holds it: metric -> standard deviation over the draws
SEED = 0  # the one seed of a row whose evaluation measures it
REDRAWS = 3  # beside the draw that the metrics themselves are of


def over_draws(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the standard deviation (over n - 1) of every number over the draws; NaN where a draw has no finite one."""
    found = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws], dtype=np.float64)
        found[name] = float(values.std(ddof=1)) if np.isfinite(values).all() else math.nan
    return found


def is_within(difference: float | None, deviation: float | None) -> bool:
    """Tell whether a difference is smaller than the measurement noise, and so says nothing; False where either lacks.

    ``deviation``: the pooled standard deviation, which is the line "measurement noise" of a table.
    """
    return difference is not None and deviation is not None and abs(difference) < deviation


def pooled(deviations: Iterable[float | None]) -> float | None:
    """Return the root mean square of the finite standard deviations, which have equally many draws; None without."""
    squares = [each**2 for each in deviations if each is not None and math.isfinite(each)]
    return math.sqrt(sum(squares) / len(squares)) if squares else None

"""The difference of two means: tested against zero, and against a margin within which two runs count as equivalent.

The paired t-test is Student's; the unpaired one is Welch's (Welch 1947, degrees of freedom by Satterthwaite). The
equivalence test is two one-sided t-tests, TOST (Schuirmann 1987): both are below 0.05 exactly where the 90% interval of
the difference lies inside the margin. Shares are compared by Fisher's exact test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

PAIRED = "paired t"
WELCH = "Welch's t"
FISHER = "Fisher's exact"

ROUNDING = 1e-12  # of the values' size: what does not exceed it is the arithmetic's, not chance's
SMALLEST = 1e-300


@dataclass(frozen=True)
class Estimate:
    """The mean of B minus the mean of A, its standard error, and the error's degrees of freedom."""

    method: str
    difference: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference."""
        t = abs(self.difference) / self.error
        return 2 * _share_above(t, self.freedom)

    def interval(self, level: float) -> tuple[float, float]:
        """Find the interval that covers the true difference with this probability."""
        quantile = float(special.stdtrit(self.freedom, (1 + level) / 2))
        half = quantile * self.error
        return self.difference - half, self.difference + half

    def p_equivalent(self, margin: float) -> float:
        """Find the p-value of TOST: the larger one of the tests against a difference of -margin and of margin."""
        above = _share_above((margin + self.difference) / self.error, self.freedom)
        below = _share_above((margin - self.difference) / self.error, self.freedom)
        return max(above, below)


def _share_above(t: float, freedom: float) -> float:
    """Find the probability that Student's t is larger; SciPy's distribution object takes fifty times as long."""
    return float(special.stdtr(freedom, -t))


def paired(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """Estimate the mean of B minus A over pairs; ``a`` and ``b`` are finite and of one length n.

    None with fewer than two pairs, and where equal differences leave nothing to measure chance by.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n = len(first)
    if n < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        differences = second - first
        error = differences.std(ddof=1) / math.sqrt(n)
        return _estimate(PAIRED, differences.mean(), error, n - 1, first, second)


def welch(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """Estimate the mean of B minus that of A from two independent samples of finite values.

    None where a sample has fewer than two values, and where two constant samples leave nothing to measure chance by.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    sizes = np.array([len(first), len(second)])
    if sizes.min() < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        variances = np.array([first.var(ddof=1), second.var(ddof=1)]) / sizes  # of the means
        total = variances.sum()
        freedom = float(sizes.sum() - 2)
        if 0 < total < math.inf:
            shares = variances / total
            freedom = float(1 / (shares**2 / (sizes - 1)).sum())
        return _estimate(WELCH, second.mean() - first.mean(), math.sqrt(total), freedom, first, second)


def _estimate(
    method: str, difference: float, error: float, freedom: float, first: np.ndarray, second: np.ndarray
) -> Estimate | None:
    """Make the estimate, unless the values have no spread, or are too large to compute with.

    Without spread there is no t statistic. Differences that are nothing but rounding are kept: their error is rounding.
    """
    if not (math.isfinite(difference) and math.isfinite(error)):
        return None
    largest = max(np.abs(first).max(), np.abs(second).max())
    rounding = max(ROUNDING * float(largest), SMALLEST)
    if error > rounding:
        return Estimate(method, float(difference), float(error), freedom)
    if abs(difference) > rounding:
        return None
    return Estimate(method, float(difference), rounding, freedom)


def fisher(count_a: int, n_a: int, count_b: int, n_b: int) -> float:
    """Find the two-sided p-value that ``count_a`` of ``n_a`` and ``count_b`` of ``n_b`` have one probability."""
    table = [[count_a, n_a - count_a], [count_b, n_b - count_b]]
    return float(stats.fisher_exact(table).pvalue)

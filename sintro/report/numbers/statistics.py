"""Means, their spreads, and paired comparisons over common seeds; honest about how little a few seeds can say.

Spreads (docs/science.md, section 7): ``published`` is the population standard deviation over sqrt(n) (ddof 0), the form
of Athanasiadis et al. 2025; ``t95`` is the half-width of the 95% confidence interval of the mean by Student's t;
``range`` is from the smallest to the largest value. Tests come from SciPy; Holm's step-down correction is Holm 1979.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

LEVEL = 0.05
# The signed-rank test's smallest two-sided p-value is 2 / 2^n: with fewer than six pairs it is never below 0.05.
LEAST_FOR_WILCOXON = 6
LEAST_FOR_T = 3


@dataclass(frozen=True)
class Summary:
    """Values of one quantity over seeds. ``published`` needs one value; ``t95`` two (None below); n may be 0."""

    n: int
    mean: float
    published: float | None
    t95: float | None
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Mean and the three spreads of the values; a NaN among them makes all of them NaN, it is not left out."""
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n == 0:
        return Summary(0, math.nan, None, None, math.nan, math.nan)
    if not np.isfinite(x).all():
        return Summary(n, math.nan, math.nan, math.nan if n > 1 else None, math.nan, math.nan)
    t95 = float(stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Summary(n, float(x.mean()), float(x.std(ddof=0) / math.sqrt(n)), t95, float(x.min()), float(x.max()))


@dataclass(frozen=True)
class Comparison:
    """A minus B over n common seeds. What n does not allow is None.

    ``p`` is the two-sided p-value of the paired t-test, ``p_above`` and ``p_below`` those of the one-sided tests that
    the mean difference is above and below zero; ``low, high`` its 95% interval; ``effect`` is Cohen's d of the
    differences (mean over sd) with its 95% interval; ``p_wilcoxon`` the signed-rank test's, from six pairs on.
    """

    n: int
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_above: float | None = None
    p_below: float | None = None
    p_wilcoxon: float | None = None
    effect: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None


def effect_interval(t: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact confidence interval of a standardised mean difference from its t statistic: the noncentral t, inverted."""

    def noncentrality(probability: float) -> float:
        def miss(nc: float) -> float:
            return float(stats.nct.cdf(t, n - 1, nc)) - probability

        reach = 5.0 + 2.0 * abs(t)
        return float(optimize.brentq(miss, t - reach, t + reach, xtol=1e-6))

    tail = (1 - level) / 2
    try:
        return noncentrality(1 - tail) / math.sqrt(n), noncentrality(tail) / math.sqrt(n)
    except ValueError:  # |t| so large that the distribution function is 0 or 1 over the whole bracket
        return math.nan, math.nan


def compare_differences(differences: Sequence[float]) -> Comparison:
    """Test paired differences against zero. Not finite ones must have been left out, and counted, by the caller."""
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    if n == 0:
        return Comparison(0, math.nan)
    mean = float(d.mean())
    spread = float(d.std(ddof=1)) if n > 1 else math.nan
    # Equal differences say nothing about chance: without spread there is no t statistic, and rounding is no spread.
    if n < LEAST_FOR_T or spread <= 1e-12 * max(float(np.abs(d).max()), 1e-300):
        return Comparison(n, mean)
    error = spread / math.sqrt(n)
    t = mean / error
    half = float(stats.t.ppf(0.975, n - 1)) * error
    above, below = float(stats.t.sf(t, n - 1)), float(stats.t.cdf(t, n - 1))
    wilcoxon = None
    nonzero = d[d != 0]
    if len(nonzero) >= LEAST_FOR_WILCOXON:
        ties = len(np.unique(np.abs(nonzero))) < len(nonzero)
        wilcoxon = float(stats.wilcoxon(nonzero, method="approx" if ties else "auto").pvalue)
    low, high = effect_interval(t, n)
    p = min(1.0, 2 * min(above, below))
    return Comparison(n, mean, mean - half, mean + half, p, above, below, wilcoxon, mean / spread, low, high)


def compare(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Paired comparison of A minus B over the seeds both have as finite numbers."""
    common = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    return compare_differences([a[seed] - b[seed] for seed in sorted(common)])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values, in the order given; None (no test) stays None and does not count as a test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def stouffer(p_values: Sequence[float]) -> float:
    """One p-value from independent one-sided ones, by the sum of their normal scores (Stouffer)."""
    clipped = np.clip(np.asarray(p_values, dtype=np.float64), 1e-300, 1 - 1e-16)
    return float(stats.norm.sf(stats.norm.isf(clipped).sum() / math.sqrt(len(clipped))))


def best_and_equals(columns: Mapping[str, Mapping[int, float]], lower_is_better: bool) -> tuple[str | None, set[str]]:
    """The best row of a column and the rows that are not significantly worse than it, itself included.

    ``columns`` maps row -> {seed: value}. Rows are compared with the best one by paired t-tests over common seeds, with
    Holm's correction over the rows; a row that no test can tell apart (fewer than three common seeds) is not called
    equal, since nothing supports it. Rows with a value that is not finite take no part.
    """
    means = {row: float(np.mean(list(v.values()))) for row, v in columns.items() if v}
    means = {row: mean for row, mean in means.items() if math.isfinite(mean)}
    if not means:
        return None, set()
    best = (min if lower_is_better else max)(means, key=means.get)
    others = [row for row in means if row != best]
    compared = [compare(columns[row], columns[best]) for row in others]
    adjusted = holm([c.p_above if lower_is_better else c.p_below for c in compared])
    same = {row for row, p in zip(others, adjusted, strict=True) if p is not None and p > LEVEL}
    ties = {row for row in others if means[row] == means[best]}
    return best, {best} | same | ties

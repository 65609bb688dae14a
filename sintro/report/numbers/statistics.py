"""Means, their spreads, and paired comparisons over common seeds; honest about how little a few seeds can say.

Spreads (docs/science.md, section 7): ``published`` is the population standard deviation over sqrt(n) (ddof 0), the form
of Athanasiadis et al. 2025; ``t95`` is the half-width of the 95% confidence interval of the mean by Student's t;
``range`` is from the smallest to the largest value. Tests come from SciPy; Holm's step-down correction is Holm 1979.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.05
# The signed-rank test's smallest two-sided p-value is 2 / 2^n: with fewer than six pairs it is never below 0.05.
LEAST_FOR_WILCOXON = 6
LEAST_FOR_T = 3
SMOOTH_FROM = 4.0  # the t from which the noncentral t is a mean over a normal variable


def is_known(value: float | None) -> bool:
    """Tell whether there is a number, and it is finite."""
    return value is not None and math.isfinite(value)


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
    """Find mean and the three spreads of the values; a NaN among them makes all of them NaN, it is not left out."""
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n == 0:
        return Summary(0, math.nan, None, None, math.nan, math.nan)
    if not np.isfinite(x).all():
        t95 = math.nan if n > 1 else None
        return Summary(n, math.nan, math.nan, t95, math.nan, math.nan)
    mean = float(x.mean())
    published = float(x.std(ddof=0) / math.sqrt(n))
    t95 = None
    if n > 1:
        t95 = float(t_quantile(n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Summary(n, mean, published, t95, float(x.min()), float(x.max()))


# A report compares tens of thousands of pairs of rows: SciPy's special functions are what its distributions compute
# with, at a tenth of the time.


@lru_cache(maxsize=256)
def t_quantile(freedom: int) -> float:
    """Find where Student's t with so many degrees of freedom has 97.5% of its mass below."""
    return float(special.stdtrit(freedom, 0.975))


@dataclass(frozen=True)
class Comparison:
    """A minus B over n common seeds. What n does not allow is None.

    ``p`` is the two-sided p-value of the paired t-test, ``p_above`` and ``p_below`` those of the one-sided tests that
    the mean difference is above and below zero; ``low, high`` its 95% interval; ``effect`` is Cohen's d of the
    differences (mean over sd); ``p_wilcoxon`` the signed-rank test's, from six pairs on.
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

    @cached_property
    def effect_interval(self) -> tuple[float, float] | None:
        """The effect's 95% interval, computed where it is asked for: it costs more than all the rest."""
        return None if self.effect is None else effect_interval(self.effect * math.sqrt(self.n), self.n)


def effect_interval(t: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Invert the noncentral t: the exact interval of a standardised mean difference, from its t statistic."""
    if t < 0:
        low, high = effect_interval(-t, n, level)
        return -high, -low

    def noncentrality(probability: float) -> float:
        """Find the parameter with which a t as small as this one has the given probability."""

        def miss(nc: float) -> float:
            return noncentral_t(t, n - 1, nc) - probability

        return float(optimize.brentq(miss, -10, 10 + 3 * t, xtol=1e-6))

    tail = (1 - level) / 2
    return noncentrality(1 - tail) / math.sqrt(n), noncentrality(tail) / math.sqrt(n)


@lru_cache(maxsize=1)
def _normal_weights() -> tuple[np.ndarray, np.ndarray]:
    """Return points of a grid, and how much of N(0, 1) each stands for."""
    z = np.linspace(-9, 9, 601)
    weights = np.exp(-0.5 * z**2)
    return z, weights / weights.sum()


def noncentral_t(t: float, freedom: int, nc: float) -> float:
    """Compute P(T <= t), t >= 0, for T = (Z + nc) / s, Z of N(0, 1) and freedom s^2 of chi-squared.

    SciPy's function fails for a large t. There P(s >= (z + nc) / t) is smooth in z, so the result is its mean over
    N(0, 1), summed on a grid.
    """
    if t < SMOOTH_FROM:
        return float(special.nctdtr(freedom, nc, t))
    z, weights = _normal_weights()
    return float(weights @ special.chdtrc(freedom, freedom * (np.maximum(z + nc, 0) / t) ** 2))


def compare_differences(differences: Sequence[float]) -> Comparison:
    """Test paired differences against zero. Not finite ones must have been left out, and counted, by the caller."""
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    if n == 0:
        return Comparison(0, math.nan)
    mean = float(d.mean())
    spread = float(d.std(ddof=1)) if n > 1 else math.nan
    # Equal differences say nothing about chance: without spread there is no t statistic, and rounding is no spread.
    largest = max(float(np.abs(d).max()), 1e-300)
    if n < LEAST_FOR_T or spread <= 1e-12 * largest:
        return Comparison(n, mean)
    error = spread / math.sqrt(n)
    t = mean / error
    half = t_quantile(n - 1) * error
    above = float(special.stdtr(n - 1, -t))
    below = float(special.stdtr(n - 1, t))
    return Comparison(
        n,
        mean,
        low=mean - half,
        high=mean + half,
        p=min(1.0, 2 * min(above, below)),
        p_above=above,
        p_below=below,
        p_wilcoxon=_wilcoxon(d),
        effect=mean / spread,
    )


def _wilcoxon(differences: np.ndarray) -> float | None:
    """Find the signed-rank test's p-value; None of so few differences that it could never be below 0.05."""
    nonzero = differences[differences != 0]
    if len(nonzero) < LEAST_FOR_WILCOXON:
        return None
    has_ties = len(np.unique(np.abs(nonzero))) < len(nonzero)
    return float(stats.wilcoxon(nonzero, method="approx" if has_ties else "auto").pvalue)


def compare(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Compare A minus B over the seeds that both have as finite numbers."""
    common = sorted(set(a) & set(b))
    differences = [a[seed] - b[seed] for seed in common]
    return compare_differences(list(filter(math.isfinite, differences)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values by Holm, in the order given; None (no test) stays None and does not count as a test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        corrected = min(1.0, (len(tested) - rank) * p)
        largest = max(largest, corrected)
        adjusted[i] = largest
    return adjusted


def stouffer(p_values: Sequence[float]) -> float:
    """Combine independent one-sided p-values by the sum of their normal scores (Stouffer)."""
    clipped = np.clip(np.asarray(p_values, dtype=np.float64), 1e-300, 1 - 1e-16)
    scores = stats.norm.isf(clipped)
    combined = scores.sum() / math.sqrt(len(scores))
    return float(stats.norm.sf(combined))


def best_of(means: Mapping[Any, float], lower_is_better: bool) -> Any:
    """Name the best mean; the first of equal ones."""
    choose = min if lower_is_better else max
    return choose(means, key=means.get)


def best_and_equals(columns: Mapping[str, Mapping[int, float]], lower_is_better: bool) -> tuple[str | None, set[str]]:
    """Find the best row of a column and the rows that are not significantly worse than it, itself included.

    ``columns`` maps row -> {seed: value}. Rows are compared with the best one by two-sided paired t-tests over common
    seeds, with Holm's correction over the rows. A row without a test (fewer than three common seeds, or differences
    that are all the same) is called equal only where its mean is, since nothing else supports it. Rows with a value
    that is not finite take no part.
    """
    means = {}
    for row, values in columns.items():
        mean = np.mean(list(values.values())) if values else math.nan
        if math.isfinite(mean):
            means[row] = float(mean)
    if not means:
        return None, set()
    best = best_of(means, lower_is_better)
    others = [row for row in means if row != best]
    adjusted = holm([compare(columns[row], columns[best]).p for row in others])
    equals = {best}
    for row, p in zip(others, adjusted, strict=True):
        is_tie = means[row] == means[best]
        is_same = p is not None and p > LEVEL
        if is_tie or is_same:
            equals.add(row)
    return best, equals

"""Aggregates of runs over data sets: interquartile mean and probability of improvement (Agarwal et al. 2021).

A stratum holds the scores of one data set over the seeds, lower is better; a run without a finite number scores +inf.
Intervals are percentiles of a stratified bootstrap, which draws the seeds of each data set again. With few seeds they
are too narrow; below ``LEAST`` there is none.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST = 3  # seeds of every data set for an interval
REPLICATES = 4000
TRIMMED = 0.25  # share of the scores that the interquartile mean leaves out at either end
LEVEL = 95  # percent

Strata = Sequence[np.ndarray]  # [n_d] for each data set d


class Estimate(NamedTuple):
    """A number and its 95% interval; None where there are too few seeds."""

    value: float
    low: float | None = None
    high: float | None = None


def interquartile_mean(strata: Strata, replicates: int = REPLICATES) -> Estimate:
    """Average the middle half of all scores; +inf where more than a quarter of them are."""
    value = float(stats.trim_mean(np.concatenate(strata), TRIMMED))
    if not _have_intervals(strata):
        return Estimate(value)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([_again(stratum, replicates, rng) for stratum in strata], axis=1)  # [R, sum of n_d]
    return _with_interval(value, stats.trim_mean(drawn, TRIMMED, axis=1))


def probability_of_improvement(a: Strata, b: Strata) -> Estimate:
    """Estimate the probability that a run of A scores better than one of B on the same data set; a tie counts half.

    It is the mean over the data sets; 1/2 where neither is better.
    """
    value = float(np.mean([_shares(x[None], y[None]) for x, y in zip(a, b, strict=True)]))
    if not _have_intervals([*a, *b]):
        return Estimate(value)
    rng = np.random.default_rng(0)
    drawn = [_shares(_again(x, REPLICATES, rng), _again(y, REPLICATES, rng)) for x, y in zip(a, b, strict=True)]
    return _with_interval(value, np.mean(drawn, axis=0))


def _have_intervals(strata: Strata) -> bool:
    return min(map(len, strata)) >= LEAST


def _again(stratum: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the seeds of a stratum again, with replacement -> [R, n]."""
    return stratum[rng.integers(len(stratum), size=(replicates, len(stratum)))]


def _shares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Count the pairs of a [R, n] and b [R, m] in which a is better -> shares [R]."""
    first, second = a[:, :, None], b[:, None, :]
    return ((first < second) + 0.5 * (first == second)).mean(axis=(1, 2))


def _with_interval(value: float, drawn: np.ndarray) -> Estimate:
    """Take the percentiles of the replicates [R], outwards: nothing is interpolated between a number and +inf."""
    tail = (100 - LEVEL) / 2
    low = np.percentile(drawn, tail, method="lower")
    high = np.percentile(drawn, 100 - tail, method="higher")
    return Estimate(value, float(low), float(high))

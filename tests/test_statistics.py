"""Spreads and comparisons: against SciPy and textbook values, and by simulation where a rate is promised."""

import math

import numpy as np
import pytest
from scipy import stats

from sintro.report.numbers.statistics import (
    best_and_equals,
    compare,
    compare_differences,
    effect_interval,
    holm,
    stouffer,
    summarise,
)


def test_summary_has_the_three_spreads():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    summary = summarise(values)
    assert summary.mean == pytest.approx(2.8)
    assert summary.published == pytest.approx(np.std(values, ddof=0) / math.sqrt(5))
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert summary.t95 == pytest.approx((high - low) / 2)
    assert (summary.low, summary.high, summary.n) == (1.0, 5.0, 5)


def test_summary_of_one_and_of_none():
    assert summarise([2.0]).t95 is None
    assert summarise([2.0]).published == 0.0
    assert summarise([]).n == 0
    assert summarise([]).published is None


def test_a_nan_is_not_left_out_of_a_mean():
    assert math.isnan(summarise([1.0, math.nan, 2.0]).mean)


def test_paired_comparison_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 12)
    found = compare(dict(enumerate(a)), dict(enumerate(b)))
    test = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert found.p_above == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue)
    assert found.p_below == pytest.approx(1 - found.p_above)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(a - b).pvalue)
    assert found.effect == pytest.approx(np.mean(a - b) / np.std(a - b, ddof=1))


def test_pairs_are_the_common_seeds_with_finite_values():
    found = compare({0: 1.0, 1: 2.0, 2: 3.5, 3: math.nan, 7: 9.0}, {0: 0.0, 1: 1.5, 2: 2.0, 3: 1.0, 8: 1.0})
    assert found.n == 3
    assert found.difference == pytest.approx(1.0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_pairs_give_no_test(n):
    found = compare_differences([1.0, 1.5][:n])
    assert found.n == n
    assert found.p is found.effect is found.low is None


def test_five_pairs_give_no_wilcoxon():
    assert compare_differences([1.0, 2.0, 3.0, 4.0, 5.5]).p_wilcoxon is None
    assert compare_differences([1.0, 2.0, 3.0, 4.0, 5.5, 6.5]).p_wilcoxon == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("differences", [[0.0] * 5, [0.5] * 5, [0.1 + 0.2 - 0.3 + 0.7] * 4 + [0.7]])
def test_equal_differences_give_no_test(differences):
    assert compare_differences(differences).p is None


def test_effect_interval_inverts_the_noncentral_t():
    low, high = effect_interval(2.5, 10)
    assert stats.nct.cdf(2.5, 9, low * math.sqrt(10)) == pytest.approx(0.975, abs=1e-4)
    assert stats.nct.cdf(2.5, 9, high * math.sqrt(10)) == pytest.approx(0.025, abs=1e-4)


def test_effect_interval_covers():
    rng = np.random.default_rng(1)
    intervals = [compare_differences(rng.normal(0.8, 1, 6)).effect_interval for _ in range(400)]
    covered = np.mean([low <= 0.8 <= high for low, high in intervals])
    assert 0.92 <= covered <= 0.98


def test_holm_against_a_worked_example():
    # 0.01, 0.02, 0.03, 0.04 x (4, 3, 2, 1), made monotone
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_stouffer_agrees_with_scipy():
    p = [0.01, 0.2, 0.5, 0.03]
    assert stouffer(p) == pytest.approx(stats.combine_pvalues(p, method="stouffer").pvalue)


def test_best_row_stands_with_those_that_are_not_worse():
    rng = np.random.default_rng(2)
    base = rng.normal(0, 1, 8)
    rows = {
        "best": dict(enumerate(base)),
        "same": dict(enumerate(base + 0.05 + rng.normal(0, 1, 8))),
        "worse": dict(enumerate(base + 3 + rng.normal(0, 0.1, 8))),
    }
    assert best_and_equals(rows, lower_is_better=True) == ("best", {"best", "same"})
    assert best_and_equals(rows, lower_is_better=False) == ("worse", {"worse"})


def test_no_row_is_called_equal_without_a_test():
    assert best_and_equals({"a": {0: 1.0}, "b": {0: 1.01}}, lower_is_better=True) == ("a", {"a"})
    assert best_and_equals({"a": {}, "b": {0: math.nan}}, lower_is_better=True) == (None, set())


def test_equal_rows_are_rarely_called_worse():
    """Holm keeps the rate at which any of several equal rows is called worse than the best near 5% or below.

    The best of equals is picked after the fact, which favours calling the others worse: hence the generous bound.
    """
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(300):
        rows = {str(k): dict(enumerate(rng.normal(0, 1, 5))) for k in range(4)}
        called += len(best_and_equals(rows, lower_is_better=True)[1]) < 4
    assert called / 300 < 0.15

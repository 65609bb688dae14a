"""Spreads and comparisons: against SciPy and textbook values, and by simulation where a rate is promised."""

import math

import numpy as np
import pytest
from scipy import special, stats

from sintro.report.numbers.aggregates import interquartile_mean, probability_of_improvement
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


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("t", [0.0, 3.9, 4.1, 7.0, 20.0, 100.0, 1e5])
def test_the_interval_of_an_effect_of_any_size_is_that_of_the_integral(t, n):
    """P(T <= t) as a mean over s, spelt out, in place of the mean over Z that is used."""
    low, high = effect_interval(t, n)
    assert effect_interval(-t, n) == (-high, -low)
    s = np.sqrt(stats.chi2.ppf((np.arange(2e5) + 0.5) / 2e5, n - 1) / (n - 1))
    for effect, probability in ((low, 0.975), (high, 0.025)):
        assert special.ndtr(t * s - effect * math.sqrt(n)).mean() == pytest.approx(probability, abs=2e-5)


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


def test_the_rows_called_equal_are_those_whose_printed_p_value_is_above_5_percent():
    rng = np.random.default_rng(6)
    seen = set()
    for _ in range(100):
        rows = {str(k): dict(enumerate(rng.normal(0.8 * k, 1, 5))) for k in range(3)}
        best, equals = best_and_equals(rows, lower_is_better=True)
        others = [row for row in rows if row != best]
        printed = holm([compare(rows[row], rows[best]).p for row in others])
        assert equals == {best, *(row for row, p in zip(others, printed, strict=True) if p > 0.05)}
        seen.add(len(equals))
    assert seen == {1, 2, 3}


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


# --- aggregates over data sets

# Scores of 5 runs on 4 data sets, and what rliable 1.2.0 says of them: aggregate_iqm with the percentile interval of
# its stratified bootstrap (3,000 replicates), and probability_of_improvement.
A = ((0.831, 2.044, 0.979, 0.318, 0.647), (1.366, 0.71, 0.905, 0.694, 0.617), (3.606, 1.943, 1.587, 0.495, 1.974),
     (1.05, 1.561, 2.253, 1.618, 3.68))  # fmt: skip
B = ((0.246, 4.215, 9.347, 2.499, 4.045), (0.794, 3.656, 3.917, 3.358, 0.711), (2.241, 1.657, 1.3, 1.921, 4.228),
     (1.798, 5.621, 5.315, 2.344, 0.911))  # fmt: skip


def strata(scores):
    return [np.array(each, dtype=float) for each in scores]


@pytest.mark.parametrize(("scores", "iqm", "low", "high"), [(A, 1.255, 0.960, 1.610), (B, 2.7436, 1.746, 3.630)])
def test_the_interquartile_mean_is_rliables(scores, iqm, low, high):
    found = interquartile_mean(strata(scores))
    assert found.value == pytest.approx(iqm)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06)


def test_the_probability_of_improvement_is_rliables_and_the_mean_of_mann_whitneys():
    found = probability_of_improvement(strata(A), strata(B))
    assert found.value == pytest.approx(0.72)  # rliable, where higher is better, of (B, A)
    shares = [stats.mannwhitneyu(b, a).statistic / 25 for a, b in zip(A, B, strict=True)]
    assert found.value == pytest.approx(np.mean(shares))
    assert found.low < found.value < found.high
    back = probability_of_improvement(strata(B), strata(A))
    assert back.value == pytest.approx(1 - found.value)
    equal = probability_of_improvement(strata(A), strata(A))
    assert equal.value == 0.5


def test_too_few_seeds_give_no_interval():
    few = [np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0])]
    assert interquartile_mean(few).low is probability_of_improvement(few, few).high is None
    assert interquartile_mean([few[1], few[1]]).low is not None


def test_undefined_runs_are_the_worst_there_is():
    """A quarter of them only trims; more of them make the mean infinite. Against each other they tie."""
    lost = [np.array([1.0, 1.0, 2.0, np.inf])]
    assert interquartile_mean(lost).value == 1.5
    assert interquartile_mean(lost).high == np.inf
    assert interquartile_mean([np.array([1.0, np.inf, np.inf])]).value == np.inf
    all_lost = [np.full(4, np.inf)]
    assert probability_of_improvement(lost, all_lost).value == pytest.approx(0.75 + 0.125)
    assert probability_of_improvement(all_lost, [np.ones(4)]).value == 0


def test_the_bootstrap_interval_covers_the_interquartile_mean():
    """In 95% of the cases and somewhat fewer, since it is a percentile bootstrap."""
    rng = np.random.default_rng(3)
    truth = stats.trim_mean(rng.gamma(2.0, size=400_000), 0.25)
    hits = 0
    for _ in range(150):
        found = interquartile_mean(list(rng.gamma(2.0, size=(4, 10))), replicates=400)
        hits += found.low <= truth <= found.high
    assert 0.86 < hits / 150 <= 1

"""The papers' claims as tests: contrasts between cells (`claim_files`) and their verdicts.

A contrast compares cells A with cells B on every data set (a stratum), paired over common seeds by a t-test, or cells A
with a constant, such as what chance scores: then the test is the one-sample t-test over the seeds of A. Its strata
are combined by Stouffer's sum of normal scores, its two directions tested at 5% together, and the contrasts of a claim
corrected by Holm. A stratum whose differences are all the same has no t-test and takes no part. So a claim about a
difference that does not exist gets a verdict other than inconclusive in at most 5% of the cases.

A pair is lost where an ended cell has no number: it diverged, is unreadable, or its metric is undefined. The pairs that
are left flatter the side whose cell has none. So no contrast comes out in favour of a side that lost a pair alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from sintro.metrics import METRICS, noise
from sintro.metrics.collapse import collapsed
from sintro.report.numbers.claim_files import DIVERGED, FINAL, UNSTABLE, Claim, Contrast, Side
from sintro.report.numbers.results import Result, history_of
from sintro.report.numbers.statistics import (
    LEAST_FOR_T,
    LEVEL,
    Comparison,
    compare_differences,
    holm,
    is_known,
    stouffer,
)
from sintro.runs.results import FINISHED

ENDED = (*FINISHED, "unreadable")  # such a cell without a number loses its pair; others are still to come

Seeds = dict[int, list[Result]]  # seed -> the cells of a side with it
Place = tuple[str, tuple[str, ...]]  # data set, and what the stars stand for


@dataclass(frozen=True)
class Stratum:
    """One data set and one reading of the stars: the pairs over seeds, positive differences as the claim says."""

    label: str
    pairs: tuple[tuple[float, float], ...]  # (A, B)
    lost: tuple[tuple[bool, bool], ...]  # of each pair without a number: whether an ended cell of A, of B lacks it
    as_claimed: Comparison
    beyond_margin: Comparison
    noise: float | None = None  # measurement noise of the metric, pooled over the cells of both sides

    @property
    def is_noise(self) -> bool:
        """Whether the mean difference is smaller than the measurement noise."""
        return bool(self.pairs) and noise.is_within(self.as_claimed.difference, self.noise)

    @property
    def percent(self) -> float:
        """One percent of B's mean; NaN where there is none: of numbers of both signs a mean is no scale."""
        mean = _mean_of_b(self.pairs)
        is_scale = math.isfinite(mean) and all(value * mean >= 0 for pair in self.pairs for value in pair)
        return abs(mean) / 100 if mean and is_scale else math.nan

    @property
    def relative(self) -> tuple[float, float | None, float | None]:
        """Difference as the claim says, and its interval, in percent of B's mean."""
        percent = self.percent
        if not math.isfinite(percent):
            return math.nan, None, None
        found = self.as_claimed
        low = None if found.low is None else found.low / percent
        high = None if found.high is None else found.high / percent
        return found.difference / percent, low, high


def _mean_of_b(pairs: Sequence[tuple[float, float]]) -> float:
    """Average side B of the pairs; 0 where there are none."""
    values = [b for _, b in pairs]
    return float(np.mean(values)) if values else 0.0


@dataclass
class Outcome:
    """The outcome of a contrast.

    ``state``: as claimed, against, undecided (also where it favours a side that lost pairs alone), no spread (seeds
    enough, but all alike, of which there is no test), too few seeds, no number (the cells ran, but all pairs are lost),
    not run.
    """

    contrast: Contrast
    strata: list[Stratum]
    p_for: float | None = None
    p_against: float | None = None
    adjusted: float | None = None
    state: str = "not run"

    @property
    def pairs(self) -> int:
        """The number of pairs that it rests on."""
        return sum(len(stratum.pairs) for stratum in self.strata)

    @property
    def is_noise(self) -> bool:
        """Whether the difference is smaller than the measurement noise wherever it is known."""
        known = [stratum for stratum in self.strata if stratum.pairs]
        return bool(known) and all(stratum.is_noise for stratum in known)

    @property
    def lost(self) -> int:
        """The number of pairs of which an ended cell has no number."""
        return sum(len(stratum.lost) for stratum in self.strata)

    @property
    def lost_alone(self) -> tuple[int, int]:
        """The number of pairs that A alone lost, and that B alone lost."""
        lost = [pair for stratum in self.strata for pair in stratum.lost]
        return lost.count((True, False)), lost.count((False, True))

    @property
    def p_value(self) -> float | None:
        """The p-value that decides: of both directions together, but of one where only "not worse" is claimed."""
        if self.contrast.allowance is None or self.p_for is None:
            return self.p_two_sided
        return min(self.p_for, self.p_against)

    @property
    def p_two_sided(self) -> float | None:
        """The p-value of both directions together; None where there was no test."""
        if self.p_for is None:
            return None
        return min(1.0, 2 * min(self.p_for, self.p_against))


@dataclass
class Verdict:
    """A claim's verdict on one study."""

    claim: Claim
    verdict: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The number of contrasts in each state that occurs."""
        states = [outcome.state for outcome in self.outcomes]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most pairs of any data set and reading of the stars: (0, 0) where nothing ran."""
        counts = []
        for outcome in self.outcomes:
            counts += [len(stratum.pairs) for stratum in outcome.strata if stratum.pairs]
        return min(counts, default=0), max(counts, default=0)


# --- the number of a cell


def value_of(result: Result, metric: str) -> float | None:
    """Find the number that a contrast compares; None when the cell has none."""
    if metric == DIVERGED:
        return {"done": 0.0, "diverged": 1.0}.get(result.state)
    if metric == UNSTABLE:
        return _unstable(result)
    if metric.startswith(FINAL):
        return _final(result, metric.removeprefix(FINAL))
    return result.value(metric)


def _unstable(result: Result) -> float | None:
    """Give 1 for a run that diverged or collapsed, 0 for one that did not; None where nobody knows."""
    covered = result.value("modes_covered")
    if covered is not None:
        return float(collapsed(result.cell.dataset, covered))
    return 1.0 if result.state == "diverged" else None


def _final(result: Result, column: str) -> float | None:
    """Read the last finite value of a column of the history; None where the run did not end well or has none."""
    if result.state != "done":
        return None
    values = history_of(result, {column}).get(column, np.zeros(0))
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else None


# --- strata


def _strata(contrast: Contrast, results: Iterable[Result]) -> list[Stratum]:
    """Collect the pairs of every data set and reading of the stars that has cells on both sides."""
    a: dict[Place, Seeds] = {}
    b: dict[Place, Seeds] = {}
    for result in results:
        if _is_defined(contrast, result):
            _place(contrast, result, contrast.a, a)
            _place(contrast, result, contrast.b, b)
    if contrast.constant is not None:
        b = a
    strata = [_stratum(contrast, place, a[place], b[place]) for place in a if place in b]
    return [stratum for stratum in strata if stratum is not None]


def _is_defined(contrast: Contrast, result: Result) -> bool:
    """Tell whether the contrast is about the cell's data set, and its metric is defined there."""
    if contrast.datasets and result.cell.dataset not in contrast.datasets:
        return False
    if contrast.metric == UNSTABLE:
        return result.kind == "2d"
    return contrast.metric not in METRICS or result.kind in METRICS[contrast.metric].datasets


def _place(contrast: Contrast, result: Result, side: Side | None, found: dict[Place, Seeds]) -> None:
    """Add the result to the cells of a side, if it is one of them."""
    captures = side.captures(result.row) if side else None
    if captures is None:
        return
    place = (result.cell.dataset, () if contrast.pool else captures)
    found.setdefault(place, {}).setdefault(result.cell.seed, []).append(result)


def _pooled(contrast: Contrast, cells: Sequence[Result]) -> float | None:
    """Find the one number of a side's cells with a seed: the only cell's own, or over all cells their mean or spread.

    Diverged cells have no metric to pool; None where another cell has no finite number, since a part is not the grid.
    The spread is the interquartile range.
    """
    values = [value_of(result, contrast.metric) for result in cells]
    if contrast.pool is None:
        return values[0]
    if any(result.state != "diverged" and not is_known(value) for result, value in zip(cells, values, strict=True)):
        return None
    finite = list(filter(is_known, values))
    if not finite:
        return None
    if contrast.pool == "mean":
        return float(np.mean(finite))
    low, high = np.quantile(finite, [0.25, 0.75])
    return float(high - low)


def _stratum(
    contrast: Contrast, place: Place, a: Mapping[int, list[Result]], b: Mapping[int, list[Result]]
) -> Stratum | None:
    """Pair both sides over their common seeds -> a Stratum, or None where no seed has come to its end."""
    pairs, lost = [], []
    for seed in sorted(set(a) & set(b)):
        x = _pooled(contrast, a[seed])
        y = _pooled(contrast, b[seed]) if contrast.constant is None else contrast.constant
        if is_known(x) and is_known(y):
            pairs.append((x, y))
            continue
        lost_by = (not is_known(x) and _ended(a[seed]), not is_known(y) and _ended(b[seed]))
        if any(lost_by):
            lost.append(lost_by)
    if not pairs and not lost:
        return None
    sign = 1.0 if contrast.expect == "higher" else -1.0
    differences = [sign * (x - y) for x, y in pairs]
    as_claimed = compare_differences(differences)
    beyond = as_claimed
    needed = contrast.margin * abs(_mean_of_b(pairs)) - (contrast.allowance or 0.0)
    if needed:
        beyond = compare_differences([difference - needed for difference in differences])
    dataset, captures = place
    label = " ".join([dataset, *filter(None, captures)])
    return Stratum(label, tuple(pairs), tuple(lost), as_claimed, beyond, _noise(contrast, (a, b)))


def _noise(contrast: Contrast, sides: Iterable[Mapping[int, list[Result]]]) -> float | None:
    """Pool the measurement noise of the metric over the cells; None of a mean or a spread over a grid of cells."""
    if contrast.pool is not None:
        return None
    cells = {result.folder: result for side in sides for found in side.values() for result in found}
    return noise.pooled(result.noise(contrast.metric) for result in cells.values())


def _ended(cells: Sequence[Result]) -> bool:
    """Tell whether every cell of a side with a seed has come to its end, good or bad."""
    return all(result.state in ENDED for result in cells)


# --- tests and verdicts


def _test(contrast: Contrast, strata: Sequence[Stratum]) -> tuple[float | None, float | None]:
    """Find the one-sided p-values of the whole contrast: that it is as claimed, and that it is against."""
    if contrast.metric == DIVERGED and contrast.pool is None:
        return _mcnemar(contrast, strata)
    tested = [s for s in strata if s.as_claimed.p is not None and s.beyond_margin.p is not None]
    if not tested:
        return None, None
    above = stouffer([stratum.beyond_margin.p_above for stratum in tested])
    against = [stratum.beyond_margin if contrast.allowance else stratum.as_claimed for stratum in tested]
    below = stouffer([comparison.p_below for comparison in against])
    return above, below


def _mcnemar(contrast: Contrast, strata: Sequence[Stratum]) -> tuple[float | None, float | None]:
    """Test exactly: of the pairs in which one side diverged and the other did not, how many favour A?"""
    a_only = b_only = 0  # pairs in which this side alone diverged
    for stratum in strata:
        a_only += sum(a > b for a, b in stratum.pairs)
        b_only += sum(b > a for a, b in stratum.pairs)
    differing = a_only + b_only
    if not differing:
        return None, None
    favour = b_only if contrast.expect == "lower" else a_only
    above = stats.binomtest(favour, differing, alternative="greater")
    below = stats.binomtest(favour, differing, alternative="less")
    return float(above.pvalue), float(below.pvalue)


def examine(contrast: Contrast, results: Iterable[Result]) -> Outcome:
    """Evaluate one contrast; its adjusted p-value and state are the claim's to give."""
    outcome = Outcome(contrast, _strata(contrast, results))
    if not outcome.pairs:
        outcome.state = "no number" if outcome.lost else "not run"
        return outcome
    outcome.p_for, outcome.p_against = _test(contrast, outcome.strata)
    # Without a test on divergence, both sides did alike in every pair.
    is_tested = outcome.p_for is not None or contrast.metric == DIVERGED
    has_enough = any(len(stratum.pairs) >= LEAST_FOR_T for stratum in outcome.strata)
    outcome.state = "undecided" if is_tested else "no spread" if has_enough else "too few seeds"
    return outcome


def judge(claim: Claim, results: Sequence[Result]) -> Verdict:
    """Judge a claim on the results of one study.

    supported: at least half of the contrasts that ran came out as claimed, none against; contradicted: the reverse.
    Of a claim that holds only where every contrast does, each is tested by itself, at 5%: no correction is needed where
    all must hold together (Berger 1982).
    """
    outcomes = [examine(contrast, results) for contrast in claim.contrasts]
    p_values = [outcome.p_value for outcome in outcomes]
    corrected = p_values if claim.every else holm(p_values)
    for outcome, adjusted in zip(outcomes, corrected, strict=True):
        outcome.adjusted = adjusted
        if adjusted is not None and adjusted < LEVEL:
            by_a, by_b = outcome.lost_alone
            favours_a = outcome.p_for < outcome.p_against
            if not (by_a if favours_a else by_b):
                outcome.state = "as claimed" if favours_a else "against"
    return Verdict(claim, _verdict_of_every(outcomes) if claim.every else _verdict(outcomes), outcomes)


def _verdict_of_every(outcomes: Sequence[Outcome]) -> str:
    """Sum up the states of contrasts that must all come out as claimed; one against contradicts the claim."""
    states = [outcome.state for outcome in outcomes]
    if not any(outcome.pairs for outcome in outcomes):
        return _without_pairs(states)
    if "against" in states:
        return "contradicted"
    return "supported" if set(states) == {"as claimed"} else "inconclusive"


def _without_pairs(states: Sequence[str]) -> str:
    """Name the verdict of a claim that no pair speaks of."""
    return "no number" if "no number" in states else "not run"


def _verdict(outcomes: Sequence[Outcome]) -> str:
    """Sum up the states of a claim's contrasts."""
    states = [outcome.state for outcome in outcomes if outcome.pairs]
    favour, against = states.count("as claimed"), states.count("against")
    if not states:
        return _without_pairs([outcome.state for outcome in outcomes])
    if favour and not against and 2 * favour >= len(states):
        return "supported"
    if against and not favour and 2 * against >= len(states):
        return "contradicted"
    return "inconclusive"

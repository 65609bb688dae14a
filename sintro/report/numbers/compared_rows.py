"""Rows of a comparison: two samples over seeds, tested, and the verdict on each: differs, equivalent or undecided.

What is undefined or diverged counts against the side on which it is so: it has a row of its own, and the values that
are left are never called equal or equivalent.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sintro.metrics import noise
from sintro.report.numbers.differences import FISHER, Estimate, fisher, paired, welch
from sintro.report.numbers.results import Group
from sintro.report.numbers.statistics import LEVEL, holm

DIFFERS, UNDECIDED, EQUIVALENT, EQUAL = VERDICTS = ("differs", "undecided", "equivalent", "equal")
VALUE, UNDEFINED, DIVERGED = "mean", "share undefined", "share diverged"

Sample = Mapping[int, float]  # seed -> value


@dataclass(frozen=True)
class Row:
    """What is compared, and how it came out. What could not be computed is None.

    ``what``: the mean of the metric's values, or the share of seeds on which it is undefined, or that diverged (then
    ``metric`` is empty). ``seeds_a``, ``seeds_b``: how many seeds were compared, of pairs the same ones. ``low, high``:
    the 95% interval of B minus A. ``p``: that there is no difference, ``adjusted`` by Holm over all rows.
    ``margin``, ``p_equivalent``: of the equivalence test. ``lost_a``, ``lost_b``: seeds without a value.
    ``noise``: the metric's measurement noise, pooled over the cells of both sides.
    """

    group: Group
    metric: str
    what: str
    is_paired: bool
    seeds_a: int
    seeds_b: int
    lost_a: int = 0
    lost_b: int = 0
    mean_a: float | None = None
    mean_b: float | None = None
    method: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    margin: float | None = None
    p_equivalent: float | None = None
    is_equal: bool = False
    verdict: str = UNDECIDED
    noise: float | None = None

    @property
    def is_noise(self) -> bool:
        """Whether the difference is smaller than the measurement noise; equal numbers need no such word."""
        return not self.is_equal and noise.is_within(self.difference, self.noise)


def choose_seeds(a: Collection[int], b: Collection[int]) -> tuple[list[int], list[int], bool]:
    """Choose which seeds of either side are compared, and whether they are pairs.

    Seeds that both have are pairs, and only these are compared; without at least two of them all seeds are compared
    unpaired. A side's only seed is a pair where the other side has it.
    """
    common = sorted(set(a) & set(b))
    is_only = len(common) == min(len(a), len(b)) == 1
    if len(common) > 1 or is_only:
        return common, common, True
    return sorted(a), sorted(b), False


def lost_seeds(values: Sample) -> dict[int, float]:
    """Map seed -> 1 where its value is not finite, else 0."""
    return {seed: float(not math.isfinite(value)) for seed, value in values.items()}


def undefined_rows(group: Group, metric: str, values_a: Sample, values_b: Sample) -> list[Row]:
    """Make the row of how often the metric is undefined; none where it never is."""
    lost_a, lost_b = lost_seeds(values_a), lost_seeds(values_b)
    if not any((*lost_a.values(), *lost_b.values())):
        return []
    seeds_a, seeds_b, is_paired = choose_seeds(lost_a, lost_b)
    a, b = {seed: lost_a[seed] for seed in seeds_a}, {seed: lost_b[seed] for seed in seeds_b}
    return [share_row(Row(group, metric, UNDEFINED, is_paired, len(a), len(b)), a, b)]


def share_row(row: Row, a: Sample, b: Sample) -> Row:
    """Compare how many of either side's seeds were lost: ``a`` and ``b`` hold 1 for each that was, else 0."""
    row = replace(row, mean_a=_mean(a), mean_b=_mean(b))
    if not (a and b):
        return row
    row = replace(row, difference=row.mean_b - row.mean_a)
    if are_equal(a, b, row.is_paired):
        return replace(row, is_equal=True)
    p = fisher(int(sum(a.values())), len(a), int(sum(b.values())), len(b))
    return replace(row, method=FISHER, p=p)


def mean_rows(
    group: Group,
    metric: str,
    values: tuple[Sample, Sample],
    lost: tuple[Sample, Sample],
    is_paired: bool,
    margin: float | None,
    deviation: float | None = None,
) -> list[Row]:
    """Make the row that compares the metric's means over the seeds with a value; none where neither side has one.

    ``deviation``: the measurement noise of both sides.
    """
    (a, b), (lost_a, lost_b) = (finite(values[0]), finite(values[1])), lost
    is_lopsided = any((*lost_a.values(), *lost_b.values()))
    if is_paired:
        on_one_side = [seed for seed in lost_a if lost_a[seed] != lost_b.get(seed, lost_a[seed])]
        is_lopsided = bool(on_one_side)
        pairs = [seed for seed in a if seed in b]
        a, b = {seed: a[seed] for seed in pairs}, {seed: b[seed] for seed in pairs}
    if not (a or b or is_lopsided):
        return []
    row = Row(
        group, metric, VALUE, is_paired, len(a), len(b), int(sum(lost_a.values())), int(sum(lost_b.values())),
        mean_a=_mean(a), mean_b=_mean(b), margin=margin, noise=deviation,
    )  # fmt: skip
    if a and b:
        row = replace(row, difference=row.mean_b - row.mean_a)
    if are_equal(a, b, is_paired) and not is_lopsided:
        return [replace(row, is_equal=True)]
    return [_tested(row, a, b, may_be_equivalent=not is_lopsided)]


def _tested(row: Row, a: Sample, b: Sample, may_be_equivalent: bool) -> Row:
    """Test the difference of means by the strongest test that the values allow."""
    first, second = list(a.values()), list(b.values())
    estimate = (paired(first, second) if row.is_paired else None) or welch(first, second)
    if estimate is not None:
        return _estimated(row, estimate, may_be_equivalent)
    constants = {*first}, {*second}
    is_constant = all(len(found) == 1 for found in constants) and min(len(first), len(second)) > 1
    if not is_constant:
        return row
    # Two constants: all that chance can have done is to deal the two values to the sides, which Fisher's test counts.
    differ = constants[0] != constants[1]
    p = fisher(len(first), len(first), 0, len(second)) if differ else 1.0
    return replace(row, method=FISHER, p=p)


def _estimated(row: Row, estimate: Estimate, may_be_equivalent: bool) -> Row:
    """Fill in what an estimate of the difference says."""
    low, high = estimate.interval(0.95)
    p_equivalent = None
    if may_be_equivalent and row.margin:
        p_equivalent = estimate.p_equivalent(row.margin)
    return replace(
        row,
        method=estimate.method,
        difference=estimate.difference,
        low=low,
        high=high,
        p=estimate.p,
        p_equivalent=p_equivalent,
    )


def are_equal(a: Sample, b: Sample, is_paired: bool) -> bool:
    """Tell whether the values are the same: in every pair, or the same single value wherever the seeds differ."""
    if is_paired:
        return bool(a) and a == b
    return bool(a) and bool(b) and len({*a.values(), *b.values()}) == 1


def finite(values: Sample) -> dict[int, float]:
    """Keep the values that are finite."""
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def _mean(values: Sample) -> float | None:
    """Find the mean; None of no values."""
    return sum(value / len(values) for value in values.values()) if values else None


# --- the verdicts


def decide(rows: Sequence[Row]) -> list[Row]:
    """Adjust the p-values by Holm over all rows, and give every row its verdict.

    Differs: the adjusted p-value is at most 0.05. Equivalent: TOST's is, row by row. Equal: nothing was left to test.
    """
    adjusted = holm([row.p for row in rows])
    return [replace(row, adjusted=p, verdict=_verdict(row, p)) for row, p in zip(rows, adjusted, strict=True)]


def _verdict(row: Row, adjusted: float | None) -> str:
    if row.is_equal:
        return EQUAL
    if adjusted is not None and adjusted <= LEVEL:
        return DIFFERS
    if row.p_equivalent is not None and row.p_equivalent <= LEVEL:
        return EQUIVALENT
    return UNDECIDED

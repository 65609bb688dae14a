"""Two results folders compared, row by row: which rows differ, which are equivalent, and of which nobody can tell.

A row is a group of seeds (study, data set, objective, prior, regularizers) and a metric. What is undefined or diverged
counts against the side on which it is so: it has a row of its own, and the values that are left are never equivalent.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from sintro import SintroError
from sintro.report.numbers.differences import FISHER, Estimate, fisher, paired, welch
from sintro.report.numbers.results import Result
from sintro.report.numbers.statistics import LEVEL, holm
from sintro.report.numbers.tables import TABLE1, image_measures
from sintro.report.numbers.trees import Tree

DIFFERS, UNDECIDED, EQUIVALENT, EQUAL = VERDICTS = ("differs", "undecided", "equivalent", "equal")
FACTOR = 2.0  # with five seeds a side, an interval is wider than a margin of one standard deviation
VALUE, UNDEFINED, DIVERGED = "mean", "share undefined", "share diverged"

Group = tuple[str, str, str, str, str]  # study, data set, objective, prior, regularizers
Sample = Mapping[int, float]  # seed -> value


@dataclass(frozen=True)
class Row:
    """What is compared, and how it came out. What could not be computed is None.

    ``what``: the mean of the metric's values, or the share of seeds on which it is undefined, or that diverged (then
    ``metric`` is empty). ``seeds_a``, ``seeds_b``: how many seeds were compared, of pairs the same ones. ``low, high``:
    the 95% interval of B minus A. ``p``: that there is no difference, ``adjusted`` by Holm over all rows.
    ``margin``, ``p_equivalent``: of the equivalence test. ``lost_a``, ``lost_b``: seeds without a value.
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


@dataclass(eq=False)
class Comparison:
    """Two results folders and all rows that both have. ``one_sided``: metrics of a group that only one side has."""

    a: Tree
    b: Tree
    factor: float
    rows: list[Row] = field(default_factory=list)
    one_sided: list[tuple[Group, str, str, str]] = field(default_factory=list)  # group, metric, the side, why

    @property
    def differs(self) -> bool:
        """Whether any row differs significantly."""
        return any(row.verdict == DIFFERS for row in self.rows)

    def of(self, verdict: str) -> list[Row]:
        """List the rows with this verdict."""
        return [row for row in self.rows if row.verdict == verdict]


def compare_trees(a: Tree, b: Tree, factor: float = FACTOR) -> Comparison:
    """Compare every group of seeds that both folders have results of.

    ``factor``: the margin of equivalence, in typical standard deviations over A's seeds (see ``Spreads``). Raises
    SintroError for a factor that is not positive and finite, and where the folders have no group in common.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise SintroError(f"margin {factor:g} is not legal: a positive number of standard deviations")
    groups_a, groups_b = _groups(a), _groups(b)
    common = [group for group in groups_a if group in groups_b]
    if not common:
        raise SintroError(f"{a.given!r} and {b.given!r} have no finished cells in common: no row has results in both")
    spreads = Spreads(groups_a)
    found = Comparison(a, b, factor)
    rows = []
    for group in common:
        rows += _compare_group(group, groups_a[group], groups_b[group], spreads, factor)
        found.one_sided += _one_sided(group, groups_a[group], groups_b[group])
    found.rows = decide(rows)
    return found


def _groups(tree: Tree) -> dict[Group, dict[int, Result]]:
    """Group the finished cells over seeds, in the order of their paths -> the results by seed."""
    groups: dict[Group, dict[int, Result]] = {}
    for _, result in sorted(tree.finished.items()):
        groups.setdefault(result.group, {})[result.cell.seed] = result
    return {group: dict(sorted(found.items())) for group, found in groups.items()}


# --- what is compared


def headline(results: Sequence[Result]) -> list[str]:
    """Name the metrics that the papers' tables have for this kind of data, in the published form."""
    measures = TABLE1 if results[0].kind == "2d" else image_measures(results)
    return [measure.published for measure in measures]


def _of_either(a: Mapping[int, Result], b: Mapping[int, Result]) -> list[str]:
    """Name the headline metrics that any result of the group has, current definition or not."""
    # What both sides have decides between the Fréchet distances: a side without Inception weights has only the one.
    names_a, names_b = _names(a), _names(b)
    kept = (names_a & names_b) or (names_a | names_b)
    shared = [replace(result, metrics=dict.fromkeys(kept, 0.0)) for result in (*a.values(), *b.values())]
    return [name for name in headline(shared) if name in names_a | names_b]


def _names(found: Mapping[int, Result]) -> set[str]:
    return {name for result in found.values() for name in (*result.metrics, *result.outdated)}


def _one_sided(group: Group, a: Mapping[int, Result], b: Mapping[int, Result]) -> list[tuple[Group, str, str, str]]:
    """List the group's metrics of which a side has no value of the current definition, though it has finished cells."""
    listed = []
    for metric in _of_either(a, b):
        for side, found in (("A", a), ("B", b)):
            done = [result for result in found.values() if result.state == "done"]
            if not done or any(metric in result.metrics for result in done):
                continue
            is_old = any(metric in result.outdated for result in done)
            why = "an older definition computed it: evaluate again" if is_old else "not measured"
            listed.append((group, metric, side, why))
    return listed


class Spreads:
    """The typical spread over seeds of each metric on each data set of each study: what margins are made of.

    It is the median of the rows' standard deviations (over n - 1), of the rows with two finite values at least: one
    unstable row widens no other row's margin.
    """

    def __init__(self, groups: Mapping[Group, Mapping[int, Result]]) -> None:
        self.rows: dict[tuple[str, str], list[Mapping[int, Result]]] = {}
        self.found: dict[tuple[str, str, str], float | None] = {}
        for (study, dataset, *_), seeds in groups.items():
            self.rows.setdefault((study, dataset), []).append(seeds)

    def of(self, study: str, dataset: str, metric: str) -> float | None:
        """Find the spread; None where no row has two finite values."""
        place = (study, dataset, metric)
        if place not in self.found:
            values = [list(_finite(_values(seeds, metric)).values()) for seeds in self.rows.get(place[:2], ())]
            with np.errstate(over="ignore", invalid="ignore"):
                spreads = [float(np.std(row, ddof=1)) for row in values if len(row) > 1]
            known = list(filter(math.isfinite, spreads))
            self.found[place] = median(known) if known else None
        return self.found[place]


def _values(found: Mapping[int, Result], metric: str) -> dict[int, float]:
    """Map seed -> value of the cells that are done and have one; a NaN is one."""
    of_all = {seed: result.value(metric) for seed, result in found.items() if result.state == "done"}
    return {seed: value for seed, value in of_all.items() if value is not None}


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


def _compare_group(
    group: Group, a: Mapping[int, Result], b: Mapping[int, Result], spreads: Spreads, factor: float
) -> list[Row]:
    """Compare one group of seeds: how many diverged, and each metric."""
    seeds_a, seeds_b, is_paired = choose_seeds(a, b)
    a, b = {seed: a[seed] for seed in seeds_a}, {seed: b[seed] for seed in seeds_b}
    rows = []
    diverged_a, diverged_b = _diverged(a), _diverged(b)
    if any((*diverged_a.values(), *diverged_b.values())):
        rows.append(_shares(Row(group, "", DIVERGED, is_paired, len(a), len(b)), diverged_a, diverged_b))
    for metric in _of_either(a, b):
        values_a, values_b = _values(a, metric), _values(b, metric)
        is_one_sided = bool(values_a) != bool(values_b)
        if is_one_sided and _has_done(a) and _has_done(b):  # it is listed as one side's
            continue
        rows += _undefined(group, metric, values_a, values_b)
        lost_a, lost_b = diverged_a | _lost(values_a), diverged_b | _lost(values_b)
        spread = spreads.of(*group[:2], metric)
        margin = None if spread is None else factor * spread
        rows += _means(group, metric, (values_a, values_b), (lost_a, lost_b), is_paired, margin)
    return rows


def _has_done(found: Mapping[int, Result]) -> bool:
    return any(result.state == "done" for result in found.values())


def _diverged(found: Mapping[int, Result]) -> dict[int, float]:
    return {seed: float(result.state == "diverged") for seed, result in found.items()}


def _lost(values: Sample) -> dict[int, float]:
    return {seed: float(not math.isfinite(value)) for seed, value in values.items()}


# --- the rows


def _undefined(group: Group, metric: str, values_a: Sample, values_b: Sample) -> list[Row]:
    """Make the row of how often the metric is undefined; none where it never is."""
    lost_a, lost_b = _lost(values_a), _lost(values_b)
    if not any((*lost_a.values(), *lost_b.values())):
        return []
    seeds_a, seeds_b, is_paired = choose_seeds(lost_a, lost_b)
    a, b = {seed: lost_a[seed] for seed in seeds_a}, {seed: lost_b[seed] for seed in seeds_b}
    return [_shares(Row(group, metric, UNDEFINED, is_paired, len(a), len(b)), a, b)]


def _shares(row: Row, a: Sample, b: Sample) -> Row:
    """Compare how many of either side's seeds were lost: ``a`` and ``b`` hold 1 for each that was, else 0."""
    row = replace(row, mean_a=_mean(a), mean_b=_mean(b))
    if not (a and b):
        return row
    row = replace(row, difference=row.mean_b - row.mean_a)
    if are_equal(a, b, row.is_paired):
        return replace(row, is_equal=True)
    p = fisher(int(sum(a.values())), len(a), int(sum(b.values())), len(b))
    return replace(row, method=FISHER, p=p)


def _means(
    group: Group,
    metric: str,
    values: tuple[Sample, Sample],
    lost: tuple[Sample, Sample],
    is_paired: bool,
    margin: float | None,
) -> list[Row]:
    """Make the row that compares the metric's means over the seeds with a value; none where neither side has one."""
    (a, b), (lost_a, lost_b) = (_finite(values[0]), _finite(values[1])), lost
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
        mean_a=_mean(a), mean_b=_mean(b), margin=margin,
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


def _finite(values: Sample) -> dict[int, float]:
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

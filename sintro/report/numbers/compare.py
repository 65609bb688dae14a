"""Two results folders compared, row by row: which rows differ, which are equivalent, and of which nobody can tell.

A row is a group of seeds (study, data set, objective, prior, regularizers) and a metric of the papers' tables.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from sintro import SintroError
from sintro.metrics import noise
from sintro.report.numbers.compared_rows import (
    DIFFERS,
    DIVERGED,
    Group,
    Row,
    choose_seeds,
    decide,
    finite,
    lost_seeds,
    mean_rows,
    share_row,
    undefined_rows,
)
from sintro.report.numbers.results import Result
from sintro.report.numbers.tables import TABLE1, image_measures
from sintro.report.numbers.trees import Seeds, Tree


@dataclass(eq=False)
class Comparison:
    """Two results folders and all rows that both have.

    ``copies``: cells whose result is of one and the same run on both sides, beside others of their row that are not;
    they are in no row. ``one_sided``: metrics of a group that only one side has.
    """

    a: Tree
    b: Tree
    factor: float
    rows: list[Row] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    one_sided: list[tuple[Group, str, str, str]] = field(default_factory=list)  # group, metric, the side, why

    @property
    def differs(self) -> bool:
        """Whether any row differs significantly."""
        return any(row.verdict == DIFFERS for row in self.rows)

    def of(self, verdict: str) -> list[Row]:
        """List the rows with this verdict."""
        return [row for row in self.rows if row.verdict == verdict]


def compare_trees(a: Tree, b: Tree, factor: float) -> Comparison:
    """Compare every group of seeds that both folders have results of.

    ``factor``: the margin of equivalence, in typical standard deviations over A's seeds (see ``Spreads``). Raises
    SintroError for a factor that is not positive and finite, and where the folders have no group in common.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise SintroError(f"margin {factor:g} is not legal: a positive number of standard deviations")
    groups_a, groups_b = a.groups(), b.groups()
    common = [group for group in groups_a if group in groups_b]
    if not common:
        raise SintroError(f"{a.given!r} and {b.given!r} have no finished cells in common: no row has results in both")
    spreads = Spreads(groups_a)
    found = Comparison(a, b, factor)
    rows = []
    for group in common:
        of_a, of_b = groups_a[group], groups_b[group]
        shared = of_a.keys() & of_b.keys()
        copies = {seed for seed in shared if _are_of_one_run(of_a[seed], of_b[seed])}
        if copies != shared:  # a copy tells nothing of the other side's machine or code
            found.copies += [of_a[seed].cell.path for seed in sorted(copies)]
            of_a, of_b = ({seed: side[seed] for seed in side if seed not in copies} for side in (of_a, of_b))
        seeds_a, seeds_b, is_paired = choose_seeds(of_a, of_b)
        chosen_a, chosen_b = {seed: of_a[seed] for seed in seeds_a}, {seed: of_b[seed] for seed in seeds_b}
        rows += _compare_group(group, chosen_a, chosen_b, is_paired, spreads, factor)
        found.one_sided += _one_sided(group, chosen_a, chosen_b)
    found.rows = decide(rows)
    return found


def _are_of_one_run(a: Result, b: Result) -> bool:
    """Tell whether two results are of one training: the same model, finished at the same moment."""
    known = [(one.provenance.get("model_sha256"), one.provenance.get("finished")) for one in (a, b)]
    return known[0] == known[1] and all(known[0])


# --- what is compared


def headline(results: Sequence[Result]) -> list[str]:
    """Name the metrics that the papers' tables have for this kind of data, in the published form."""
    measures = TABLE1 if results[0].kind == "2d" else image_measures(results)
    return [measure.published for measure in measures]


def _of_either(a: Seeds, b: Seeds) -> list[str]:
    """Name the headline metrics that any result of the group has, current definition or not."""
    # What both sides have decides between the Fréchet distances: a side without Inception weights has only the one.
    names_a, names_b = _names(a), _names(b)
    kept = (names_a & names_b) or (names_a | names_b)
    shared = [replace(result, metrics=dict.fromkeys(kept, 0.0)) for result in (*a.values(), *b.values())]
    return [name for name in headline(shared) if name in names_a | names_b]


def _names(found: Seeds) -> set[str]:
    names: set[str] = set()
    for result in found.values():
        names.update(result.metrics)
        names.update(result.outdated)
    return names


def _one_sided(group: Group, a: Seeds, b: Seeds) -> list[tuple[Group, str, str, str]]:
    """List the group's metrics of which a side has no value of the current definition, though it has finished cells."""
    listed = []
    for metric in _of_either(a, b):
        for side, found in (("A", a), ("B", b)):
            done = [result for result in found.values() if result.state == "done"]
            if not done or any(metric in result.metrics for result in done):
                continue
            if any(metric in result.outdated for result in done):
                why = "an older definition computed it: evaluate again"
            elif any(metric in result.absent for result in done):
                why = "an older evaluation did not measure it: evaluate again"
            else:
                why = "not measured"
            listed.append((group, metric, side, why))
    return listed


class Spreads:
    """The typical spread over seeds of each metric on each data set of each study: what margins are made of.

    It is the median of the rows' standard deviations (over n - 1), of the rows with two finite values at least: one
    unstable row widens no other row's margin.
    """

    def __init__(self, groups: Mapping[Group, Seeds]) -> None:
        self.rows: dict[tuple[str, str], list[Seeds]] = {}
        self.found: dict[tuple[str, str, str], float | None] = {}
        for (study, dataset, *_), seeds in groups.items():
            self.rows.setdefault((study, dataset), []).append(seeds)

    def of(self, study: str, dataset: str, metric: str) -> float | None:
        """Find the spread; None where no row has two finite values."""
        place = (study, dataset, metric)
        if place not in self.found:
            values = [list(finite(_values(seeds, metric)).values()) for seeds in self.rows.get(place[:2], ())]
            with np.errstate(over="ignore", invalid="ignore"):
                spreads = [float(np.std(row, ddof=1)) for row in values if len(row) > 1]
            known = list(filter(math.isfinite, spreads))
            self.found[place] = median(known) if known else None
        return self.found[place]


def _values(found: Seeds, metric: str) -> dict[int, float]:
    """Map seed -> value of the cells that are done and have one; a NaN is one."""
    values = {}
    for seed, result in found.items():
        value = result.value(metric)
        if value is not None:  # None too where the cell is not done
            values[seed] = value
    return values


def _compare_group(group: Group, a: Seeds, b: Seeds, is_paired: bool, spreads: Spreads, factor: float) -> list[Row]:
    """Compare one group of seeds: how many diverged, and each metric."""
    rows = []
    diverged_a, diverged_b = _diverged(a), _diverged(b)
    if any((*diverged_a.values(), *diverged_b.values())):
        rows.append(share_row(Row(group, "", DIVERGED, is_paired, len(a), len(b)), diverged_a, diverged_b))
    for metric in _of_either(a, b):
        values_a, values_b = _values(a, metric), _values(b, metric)
        is_one_sided = bool(values_a) != bool(values_b)
        if is_one_sided and _has_done(a) and _has_done(b):  # it is listed as one side's
            continue
        rows += undefined_rows(group, metric, values_a, values_b)
        lost_a, lost_b = diverged_a | lost_seeds(values_a), diverged_b | lost_seeds(values_b)
        spread = spreads.of(*group[:2], metric)
        margin = None if spread is None else factor * spread
        deviation = noise.pooled(result.noise(metric) for result in (*a.values(), *b.values()))
        rows += mean_rows(group, metric, (values_a, values_b), (lost_a, lost_b), is_paired, margin, deviation)
    return rows


def _has_done(found: Seeds) -> bool:
    return any(result.state == "done" for result in found.values())


def _diverged(found: Seeds) -> dict[int, float]:
    return {seed: float(result.state == "diverged") for seed, result in found.items()}

"""How the rows of a table do over all of its data sets: normalised scores, their aggregates, and who improves on whom.

A run's score is (value - floor) / (VAE - floor), with the mean of the VAE with N(0, I) on the same data set: 0 is a
perfect model, 1 as good as that VAE, and lower is better whatever the metric's direction. A run that diverged, or whose
value is not finite, scores +inf. Beside rows that saw no labels, those that did take no part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from sintro.metrics import Metric
from sintro.report.numbers.aggregates import Estimate, Strata, interquartile_mean, probability_of_improvement
from sintro.report.numbers.errors import SELECTION
from sintro.report.numbers.exports import as_csv
from sintro.report.numbers.tables import Entry, Key, Measure, Table
from sintro.runs.results import FINISHED

VAE: Key = ("vae", "normal", "none")
FORM = "published"  # of every metric
CLEARLY = 2  # standard deviations of the floor by which the VAE must be worse for a scale to be made of the two


@dataclass(frozen=True)
class Line:
    """A row over the data sets. ``lost``: runs that diverged or are undefined; ``lacks``: data sets with no number."""

    row: Key
    runs: int
    fewest: int  # seeds of a data set
    lost: int
    lacks: tuple[str, ...]
    iqm: Estimate | None = None
    over_vae: Estimate | None = None  # the probability that a run of this row is better than one of the VAE
    over_best: Estimate | None = None  # than one of the row with the best interquartile mean


@dataclass(frozen=True)
class Overall:
    """All rows by one measure. ``left_out``: by data set, why it has no scale."""

    table: str
    label: str  # the metric's name, its form where the other differs, and which table where there are two
    measure: Measure
    datasets: tuple[str, ...]
    left_out: Mapping[str, str]
    lines: tuple[Line, ...]


def overall(tables: Sequence[Table]) -> list[Overall]:
    """Aggregate every measure that has a floor and a scale, in its published form; those of the papers first.

    The table on the selection of a checkpoint repeats a distance of the papers' tables, so it takes no part.
    """
    tables = [table for table in tables if table.name != SELECTION]
    found = [_of_measure(table, measure) for table in tables for measure in table.measures]
    return [one for one in found if one is not None]


def _of_measure(table: Table, measure: Measure) -> Overall | None:
    """Aggregate one measure; None where no data set has a scale, or there is one row."""
    scales, left_out = {}, {}
    for dataset in table.datasets:
        scale = _scale(table, dataset, measure)
        if isinstance(scale, str):
            left_out[dataset] = scale
        else:
            scales[dataset] = scale
    peers = {row for dataset in table.datasets for row in table.peers(dataset)}
    rows = [row for row in table.rows if row in peers]
    if not scales or len(rows) < 2:
        return None
    scores = {row: _scores(table, row, measure, scales) for row in rows}
    whole = {row: [found[name] for name in scales] for row, found in scores.items() if set(found) == set(scales)}
    means = {row: interquartile_mean(strata) for row, strata in whole.items()}
    best = min(means, key=lambda row: means[row].value, default=None)
    lines = []
    for row, found in scores.items():
        counts = [len(stratum) for stratum in found.values()]
        line = Line(
            row, sum(counts), min(counts, default=0), sum(int(np.isinf(stratum).sum()) for stratum in found.values()),
            tuple(name for name in scales if name not in found), means.get(row),
            _better(whole, row, VAE), _better(whole, row, best),
        )  # fmt: skip
        lines.append(line)
    return Overall(table.name, table.named(measure), measure, tuple(scales), left_out, tuple(lines))


def _better(whole: Mapping[Key, Strata], row: Key, other: Key | None) -> Estimate | None:
    """Compare a row with another one, where both have all data sets."""
    if row == other or row not in whole or other not in whole:
        return None
    return probability_of_improvement(whole[row], whole[other])


def _scale(table: Table, dataset: str, measure: Measure) -> tuple[float, float] | str:
    """Find floor and VAE minus floor, by what values are ranked by; or say why there is no such scale."""
    metric, entry = measure.metric(FORM), table.entries.get((VAE, dataset))
    floor = table.floors.get(dataset, {}).get(metric.name)
    if metric.lower_is_better is None or floor is None:
        return "no floor"
    values = list(entry.ranked(metric).values()) if entry else []
    if not values:
        return "no finished VAE with N(0, I)"
    zero, vae = _zero(metric, *floor), float(np.mean(values))
    if not math.isfinite(vae):
        return "the VAE diverged or is undefined"
    worse = vae - zero if metric.lower_is_better else zero - vae
    if worse <= CLEARLY * (floor[1] or 0.0):
        return "the VAE is no worse than the floor"
    return zero, vae - zero


def _zero(metric: Metric, mean: float, deviation: float | None) -> float:
    """Find what a perfect model's values are ranked by on average; where 1/2 is best, that is not their mean's rank."""
    distance = metric.ranked(mean)
    if metric.direction != "half" or not deviation:
        return distance
    return float(stats.foldnorm.mean(distance / deviation, scale=deviation))


def _scores(
    table: Table, row: Key, measure: Measure, scales: Mapping[str, tuple[float, float]]
) -> dict[str, np.ndarray]:
    """Score the ended runs of a row -> by data set [n]; data sets without any are left out."""
    found = {}
    for dataset, (zero, unit) in scales.items():
        entry = table.entries.get((row, dataset))
        scores = _of_entry(entry, measure, zero, unit) if entry else []
        if scores:
            found[dataset] = np.array(scores)
    return found


def _of_entry(entry: Entry, measure: Measure, zero: float, unit: float) -> list[float]:
    metric, scores = measure.metric(FORM), []
    for result in entry.results:
        value = math.nan if result.state == "diverged" else result.value(metric.name)
        if result.state in FINISHED and value is not None:
            scores.append((metric.ranked(value) - zero) / unit if math.isfinite(value) else math.inf)
    return scores


COLUMNS = (
    "table", "metric", "form", "datasets", "objective", "prior", "regularizers", "runs", "fewest_seeds", "lost",
    "lacks", "iqm", "iqm_low", "iqm_high", "p_over_vae", "p_over_vae_low", "p_over_vae_high",
    "p_over_best", "p_over_best_low", "p_over_best_high",
)  # fmt: skip


def to_csv(found: Sequence[Overall]) -> str:
    """Write every aggregate with all digits; a number that does not exist is an empty field."""
    lines = []
    for one in found:
        metric = one.measure.metric(FORM)
        for line in one.lines:
            about = (one.table, metric.name, metric.form, " ".join(one.datasets), *line.row)
            counts = (line.runs, line.fewest, line.lost, " ".join(line.lacks))
            estimates = [each or (None,) * 3 for each in (line.iqm, line.over_vae, line.over_best)]
            lines.append((*about, *counts, *(number for each in estimates for number in each)))
    return as_csv(pd.DataFrame(lines, columns=COLUMNS, dtype=object))

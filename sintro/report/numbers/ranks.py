"""Ranks of rows by a metric's mean, and the responsibility weight r with the best mean."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sintro.metrics import METRICS
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.statistics import best_of
from sintro.report.numbers.tables import Entry, Key, Table, family
from sintro.report.numbers.words import dataset_name, row_label


def rank(means: Mapping[Any, float], lower_is_better: bool) -> dict[Any, float]:
    """Rank what has a finite mean, 1 for the best; equal means share the mean of their ranks."""
    names = [name for name, mean in means.items() if math.isfinite(mean)]
    values = pd.Series([means[name] for name in names], dtype=float)
    places = values.rank(ascending=lower_is_better)
    return dict(zip(names, places.tolist(), strict=True))


def ranks_of(table: Table, metric: str) -> dict[str, dict[str, float]]:
    """Rank a table's rows by the mean of a published metric -> row -> data set -> rank, for the peers that have one.

    A row of which a seed diverged has none, and neither has one that is alone on a data set.
    """
    measure = next(m for m in table.measures if m.published == metric)
    form = measure.metric("published")
    found: dict[str, dict[str, float]] = {}
    for dataset in table.datasets:
        means = {row: entry.ranked_mean(form) for row, entry in table.peers(dataset).items()}
        ranked = rank(means, form.lower_is_better)
        for row, place in ranked.items() if len(ranked) > 1 else ():
            places = found.setdefault(row_label(row), {})
            places[dataset_name(dataset)] = place
    return found


# --- the weight r


def by_weight(results: Iterable[Result]) -> dict[tuple[Key, str], dict[float, list[Result]]]:
    """Group results by (row without r, data set) and in each by the responsibility weight r."""
    families = grouped(results, lambda result: (family(result), result.cell.dataset))
    return {
        place: grouped(members, lambda result: result.cell.regularizer_spec.responsibility)
        for place, members in families.items()
    }


def mean_by_weight(weights: Mapping[float, Sequence[Result]], metric: str) -> dict[float, float]:
    """Average a metric over the results of each weight r.

    A weight of which a run diverged, or without a finite mean, is left out.
    """
    means = {}
    for weight, members in weights.items():
        mean = Entry(list(members)).ranked_mean(METRICS[metric])
        if math.isfinite(mean):
            means[weight] = mean
    return means


def select_weight(results: Sequence[Result], metric: str, lower_is_better: bool) -> tuple[list[Result], dict]:
    """Keep, per row and data set, the responsibility weight r with the best mean metric, as Table 2 does (audit A4).

    -> the results kept, and a note per (row without r, data set) that names the r; where no r has a number, the first.
    """
    kept, notes = [], {}
    for place, weights in by_weight(results).items():
        means = mean_by_weight(weights, metric)
        chosen = best_of(means, lower_is_better) if means else next(iter(weights))
        kept += weights[chosen]
        notes[place] = f"r = {chosen:g}" if len(weights) > 1 else ""
    return kept, notes

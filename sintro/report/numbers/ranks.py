"""Pictures over seeds, over r and over data sets, for the pages of groups and studies."""

import math

from sintro.report.numbers.tables import Table
from sintro.report.numbers.words import DATASET_NAMES, row_label


def ranks_of(table: Table, metric: str) -> dict[str, dict[str, float]]:
    """Row -> data set -> rank by the mean of a published metric, 1 for the best; rows without a number have none."""
    measure = next(m for m in table.measures if m.published == metric)
    lower = measure.lower_is_better("published")
    found: dict[str, dict[str, float]] = {}
    for dataset in table.datasets:
        means = {
            row: entry.summaries[metric, "published"].mean
            for row in table.rows
            if (entry := table.entries.get((row, dataset)))
        }
        means = {row: mean if lower else -mean for row, mean in means.items() if math.isfinite(mean)}
        for place, row in enumerate(sorted(means, key=means.get), start=1):
            found.setdefault(row_label(row), {})[DATASET_NAMES[dataset]] = float(place)
    return found

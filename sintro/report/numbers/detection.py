"""The tables of out-of-distribution detection: one per kind of outlier."""

import math
from collections.abc import Sequence

from sintro.metrics import OOD_KINDS, OOD_SCORES, ood_metric
from sintro.report.numbers.results import Result
from sintro.report.numbers.tables import Measure, Table, make_table
from sintro.report.numbers.words import dataset_name, row_label, show_number

PREFIX = "ood-"  # of the tables' names


def tables_of(results: Sequence[Result]) -> list[Table]:
    """Make a table of detection by every score, for each kind of outlier that any of the results has."""
    made = []
    for kind, (_, described, _) in OOD_KINDS.items():
        aurocs = [ood_metric(kind, score, "auroc") for score in OOD_SCORES]
        datasets = {r.cell.dataset for r in results if any(name in r.metrics for name in aurocs)}
        if not datasets:
            continue
        others = [ood_metric(kind, "elbo", measure) for measure in ("aupr", "fpr95")]
        measures = [Measure(name, name) for name in (*aurocs, *others)]
        beside = [r for r in results if r.cell.dataset in datasets]  # cells without a score are counted
        title = f"Own data against {described}"
        made.append(make_table(f"{PREFIX}{kind}", title, beside, measures))
    return made


def summary(table: Table) -> str:
    """Say in one line, per data set, which row and score detect best: the highest mean AUROC, where 0.5 is chance."""
    best = []
    for dataset in table.datasets:
        means = {}
        for row, entry in table.peers(dataset).items():
            for measure in table.measures:
                mean = entry.summaries[measure.published, "published"].mean
                if measure.published.endswith("_auroc") and math.isfinite(mean):
                    means[row, measure] = mean
        if means:
            row, measure = max(means, key=means.get)
            score = measure.label("published").removeprefix("AUROC ").strip("()").partition(",")[0]
            value = show_number(means[row, measure], 3)
            best.append(f"{dataset_name(dataset)}: {value} by {score} of {row_label(row)}")
    return "; ".join(best)

"""Out-of-distribution detection in the report: the score histograms of a cell and the tables of a study."""

from collections.abc import Sequence

from sintro.metrics import OOD_KINDS, OOD_SCORES, ood_metric
from sintro.report.numbers.results import Result
from sintro.report.numbers.tables import Measure, Table, make_table


def tables_of(results: Sequence[Result]) -> list[Table]:
    """Detection by each score on every data set, a table per kind of outlier that any of the results has."""
    made = []
    for kind, (_, described, _) in OOD_KINDS.items():
        held = [r for r in results if any(ood_metric(kind, score, "auroc") in r.metrics for score in OOD_SCORES)]
        if not held:
            continue
        datasets = {r.cell.dataset for r in held}
        names = [ood_metric(kind, score, "auroc") for score in OOD_SCORES]
        names += [ood_metric(kind, "elbo", measure) for measure in ("aupr", "fpr95")]
        title = f"Out-of-distribution detection: own data against {described}"
        beside = [r for r in results if r.cell.dataset in datasets]  # those without a number are counted
        made.append(make_table(f"ood-{kind}", title, beside, [Measure(name, name) for name in names]))
    return made

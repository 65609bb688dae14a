"""The tables of image translation: rows that learned from labels stand apart, and rows without a model below."""

from collections.abc import Mapping, Sequence
from typing import Any

from sintro.cells import components
from sintro.metrics import METRICS
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.tables import Measure, Table, make_table
from sintro.report.numbers.words import dataset_name, show_number

UNSEEN = (
    "transfer_mse",
    "transfer_lpips",
    "transfer_relative",
    "retrieval_class",
    "retrieval_trait",
    "retrieval_content",
    "kept_class",
    "kept_content",
)
LEAKAGE = (
    "leakage_class",
    "leakage_content",
    "leakage_class_linear",
    "leakage_content_linear",
    "control_class",
    "control_content",
    "kl_class",
    "kl_content",
)
TITLES = {
    "translation": ("Translations of unseen classes", UNSEEN),
    "translation-seen": ("Translations of seen classes", tuple(f"{name}_seen" for name in UNSEEN)),
    "translation-codes": ("What classifiers read off the codes, and how much each code is used", LEAKAGE),
}
REFERENCES = "translation_references"
MOST_DIGITS = 4


def tables_of(results: Sequence[Result]) -> list[Table]:
    """Make the tables of the cells whose images have a class and a content, those that saw labels apart."""
    measured = [result for result in results if result.kind == "images" and _has_two_codes(result)]
    tables = []
    for name, (title, metrics) in TITLES.items():
        for suffix, sees, words in (("", False, "without labels"), ("-labels", True, "that learned from class labels")):
            members = [result for result in measured if result.saw_labels == sees]
            stored = {metric for result in members for metric in result.metrics}
            present = [metric for metric in metrics if metric in stored]
            if present:
                measures = [Measure(metric, metric, ours=True) for metric in present]
                tables.append(make_table(f"{name}{suffix}", f"{title}, rows {words}", members, measures))
    return tables


def _has_two_codes(result: Result) -> bool:
    return any(name in result.metrics for name in ("retrieval_class", "leakage_class")) or result.cell.data.has_factors


def references_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Lay out, per data set, what is scored without a model: copies of either image, and the mean image."""
    views = []
    for dataset, members in grouped(results, lambda result: result.cell.dataset).items():
        stored = next((found for found in map(_stored_references, members) if found), None)
        if stored is None:
            continue
        metrics = [name for name in UNSEEN if any(name in scores for scores in stored.values())]
        rows = [("the true image", {name: float(name.startswith("retrieval")) for name in metrics})]
        rows += [(row, scores) for row, scores in stored.items() if not row.endswith("_seen")]
        lines = []
        for row, scores in rows:
            texts = [show_number(scores.get(name), MOST_DIGITS) for name in metrics]
            lines.append({"row": row, "texts": texts})
        heads = [METRICS[name].label for name in metrics]
        views.append({"label": dataset_name(dataset), "heads": heads, "lines": lines, "chance": _chance(dataset)})
    return views


def _stored_references(result: Result) -> Mapping[str, Mapping[str, float]] | None:
    stored = result.extra.get(REFERENCES)
    return stored if isinstance(stored, Mapping) and all(isinstance(row, Mapping) for row in stored.values()) else None


def _chance(dataset: str) -> str:
    """Say what a classifier that knows nothing would score."""
    one = components.dataset(dataset)
    if not one.has_factors:
        return ""
    seen = one.classes - len(one.unseen)
    of_content = f", {1 / one.contents:.3f} for the content" if one.contents else "; the contents have no labels"
    return f"{1 / seen:.3f} for the class{of_content}"

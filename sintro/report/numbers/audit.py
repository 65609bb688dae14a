"""The audit: published conventions that a reader must be able to switch (docs/science.md, section 8), and their effect.

For every item: what is published, what is standard, and what the switch does to the runs that are there: both forms
side by side, and the rows whose rank flips.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import ValidationError
from scipy import stats

from sintro.metrics import definition
from sintro.presets import Settings, in_words
from sintro.report.numbers.results import OTHER, Result
from sintro.report.numbers.statistics import summarise
from sintro.report.numbers.tables import Key, Table, family
from sintro.report.numbers.words import DATASET_NAMES, plural, row_label, show_number

MOST_ROWS = 40


@dataclass(frozen=True)
class AuditItem:
    """One published convention. ``pairs`` are metrics in the published and the other form, compared rank by rank."""

    name: str
    title: str
    published: str
    standard: str
    pairs: tuple[tuple[str, str], ...] = ()


AUDIT_ITEMS = (
    AuditItem("A1", "Mode of the feature network", "in train mode: batch-norm statistics of each evaluation batch",
           "in eval mode; the generator stays in train mode here, so this switch alone is seen",
           (("fid_published", "fid_eval_train"), ("cfid_published", "cfid_eval_train"))),
    AuditItem("A2", "Mode of the generator", "in train mode too",
           "in eval mode, after its statistics were refreshed; the feature network stays in train mode here",
           (("fid_published", "fid_train_eval"), ("cfid_published", "cfid_train_eval"))),
    AuditItem("A3", "Which checkpoint", "the one with the lowest published FID of six", "the last",
           (("fid_published", "fid_last_published"), ("cfid_published", "cfid_last_published"))),
    AuditItem("A4", "Which weight r", "the r with the best value of the reported metric", "an r fixed before"),
    AuditItem("A5", "Form of KL and JSD", "sums scaled by the bins, JSD in the reverse direction, floor 1e-14",
           "nats of the histograms, the textbook direction", (("kl_published", "kl"), ("jsd_published", "jsd"),
           ("gnelbo_published", "gnelbo"))),
    AuditItem("A6", "Logits at the conversion", "set to the weights, so the softmax flattens them",
           "set to the weights' logarithms, so the weights are kept"),
    AuditItem("A7", "Normalising the responsibility entropy", "divided by log K only when log K > 1",
           "divided by log K always; differs for K = 2 only, which no table has"),
    AuditItem("A8", "Neighbours", "the point itself counts as its own neighbour: k = 4 for precision, 5 for recall, "
           "so 3 and 4 other points", "it does not, k = 3 for both",
           (("precision_published", "precision"), ("recall_published", "recall"))),
    AuditItem("A9", "What stands behind ±", "population sd / √n (ddof 0)", "95% t interval of the mean"),
    AuditItem("A10", "What the probes see", "z sampled once per image, linear SVM",
           "the posterior mean, logistic regression run to its optimum",
           (("svc_many", "linear_probe"),)),
    AuditItem("A11", "β_neg on MNIST", "128 in the released configuration", "256 in the paper's text"),
    AuditItem("A12", "Choosing hyper-parameters", "on the reported metric and a reported seed",
           "on data and seeds that are not reported"),
    AuditItem("A22", "Adam's state when the introspective phase begins", "carried over from the warm-up, whose losses "
           "lack the factor s = 1/D: its second moments are 1/s² too large and hold the steps down until they decay",
           "restarted, as the conversion of a VampPrior does anyway a little before"),
)  # fmt: skip


def both_forms(table: Table, published: str, standard: str) -> dict[str, Any] | None:
    """Per data set: every row's mean and rank in both forms, and the pairs of rows whose order flips."""
    if len(table.rows) > MOST_ROWS:
        return None
    blocks = []
    for dataset in table.datasets:
        means: dict[Key, tuple[float, float]] = {}
        for row in table.rows:
            entry = table.entries.get((row, dataset))
            if entry is None:
                continue
            both = [summarise(list(entry.values(metric).values())).mean for metric in (published, standard)]
            if all(map(math.isfinite, both)):
                means[row] = (both[0], both[1])
        if len(means) > 1:
            blocks.append({"dataset": DATASET_NAMES[dataset]} | _ranks(means, published, standard))
    if not blocks:
        return None
    flipped, pairs = (sum(block[name] for block in blocks) for name in ("flipped", "pairs"))
    return {"published": published, "standard": standard, "blocks": blocks, "flipped": flipped, "pairs": pairs}


def _ranks(means: Mapping[Key, tuple[float, float]], published: str, standard: str) -> dict[str, Any]:
    """Ranks by both forms; a pair of rows flips when one form puts the one first and the other form the other."""
    signs = [1 if definition(name).direction == "lower" else -1 for name in (published, standard)]
    rows = list(means)
    keys = [[sign * means[row][i] for row in rows] for i, sign in enumerate(signs)]
    ranks = [stats.rankdata(values).tolist() for values in keys]
    flips = dict.fromkeys(range(len(rows)), 0)
    for i, j in combinations(range(len(rows)), 2):
        if (ranks[0][i] - ranks[0][j]) * (ranks[1][i] - ranks[1][j]) < 0:
            flips[i] += 1
            flips[j] += 1
    scales = [definition(name).display_scale for name in (published, standard)]
    lines = [
        {
            "row": row_label(row),
            "published": show_number(means[row][0] * scales[0], 4),
            "published_rank": f"{ranks[0][i]:g}",
            "standard": show_number(means[row][1] * scales[1], 4),
            "standard_rank": f"{ranks[1][i]:g}",
            "flips": flips[i],
        }
        for i, row in sorted(enumerate(rows), key=lambda found: ranks[0][found[0]])
    ]
    return {"lines": lines, "flipped": sum(flips.values()) // 2, "pairs": len(rows) * (len(rows) - 1) // 2}


def chosen_weights(results: Sequence[Result], metric: str) -> list[dict[str, str]]:
    """A4: per row and data set the chosen r, its published value, and what r = 0 gives."""
    means: dict[tuple[Key, str], dict[float, float]] = {}
    for result in results:
        value = result.value(metric)
        if value is not None and math.isfinite(value):
            weights = means.setdefault((family(result), result.cell.dataset), {})
            weights.setdefault(result.cell.regularizer_spec.responsibility, []).append(value)
    lines = []
    for (row, dataset), weights in means.items():
        if len(weights) < 2:
            continue
        average = {weight: sum(values) / len(values) for weight, values in weights.items()}
        best = min(average, key=average.get)
        lines.append({
            "row": row_label(row), "dataset": DATASET_NAMES[dataset], "chosen": f"{best:g}",
            "value": show_number(average[best], 4), "others": ", ".join(
                f"r = {w:g}: {show_number(m, 4)}" for w, m in sorted(average.items()) if w != best),
        })  # fmt: skip
    return lines


def spread_ratio(table: Table) -> str:
    """A9: how many times wider the 95% t interval is than what is published, for the seeds these runs have."""
    ratios: dict[int, float] = {}
    for entry in table.entries.values():
        for summary in entry.summaries.values():
            if summary.n > 1 and summary.published and summary.t95:
                ratios[summary.n] = summary.t95 / summary.published
    return "; ".join(f"n = {n}: {ratio:.2f} times as wide" for n, ratio in sorted(ratios.items()))


def at_the_seed_of_the_search(table: Table, metric: str = "kl_published", seed: int = 0) -> str:
    """A12: a metric at the seed by which hyper-parameters were chosen, against the seeds that had no say."""
    chosen, others = [], []
    for entry in table.entries.values():
        values = {k: v for k, v in entry.values(metric).items() if math.isfinite(v)}
        if seed in values and len(values) > 1:
            chosen.append(values[seed])
            others.append(sum(v for k, v in values.items() if k != seed) / (len(values) - 1))
    if not chosen:
        return ""
    means = [show_number(sum(found) / len(found), 4) for found in (chosen, others)]
    return f"mean {metric} over {len(chosen)} rows: {means[0]} at seed {seed}, {means[1]} at the other seeds"


def settings_seen(results: Sequence[Result], name: str, dataset: str | None = None) -> str:
    """A6, A11: the values of a hyper-parameter among the cells, with how many cells have each."""
    counts: dict[str, int] = {}
    for result in results:
        stored = {} if result.state == OTHER else result.record.get("settings")
        if isinstance(stored, Mapping) and stored.get(name) is not None and dataset in (None, result.cell.dataset):
            counts[str(stored[name])[:40]] = counts.get(str(stored[name])[:40], 0) + 1
    return ", ".join(f"{value} in {count} cells" for value, count in sorted(counts.items()))


def adam_seen(results: Sequence[Result]) -> str:
    """A22: with what Adam's state the introspective phases of these cells began, and in how many cells each."""
    counts: dict[str, int] = {}
    for result in results:
        try:
            settings = Settings.model_validate(result.record.get("settings"))
        except ValidationError:
            continue
        if 0 < settings.warmup < settings.iterations:
            word = str(in_words(settings)["adam_at_introspection"])
            counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{word} in {plural(count, 'cell')}" for word, count in sorted(counts.items()))


def _origin(result: Result) -> str:
    """Where a cell's betas come from, as its cell.json says."""
    told = result.record.get("sources")
    return str(told.get("beta_rec", "")) if isinstance(told, Mapping) else ""


def audit(studies: Sequence[tuple[str, Sequence[Result], Sequence[Table]]]) -> list[dict[str, Any]]:
    """The audit page's content: every item, and per study what it changes there."""
    views = []
    for item in AUDIT_ITEMS:
        found = []
        for name, results, tables in studies:
            shown = _in_study(item, results, tables)
            if shown["blocks"] or shown["weights"] or shown["text"]:
                found.append({"study": name} | shown)
        views.append({"item": item, "studies": found})
    return views


def _in_study(item: AuditItem, results: Sequence[Result], tables: Sequence[Table]) -> dict[str, Any]:
    shown: dict[str, Any] = {"blocks": [], "weights": [], "text": ""}
    last = tables[-1:]  # Table 5 holds every cell, Table 2 a selection of them
    for published, standard in item.pairs:
        shown["blocks"] += [found for table in last if (found := both_forms(table, published, standard))]
    if item.name == "A4":
        metric = "fid_published" if any("fid_published" in r.metrics for r in results) else "cfid_published"
        shown["weights"] = chosen_weights(results, metric)
    elif item.name == "A6":
        shown["text"] = settings_seen(results, "logits_at_conversion")
    elif item.name == "A9" and last:
        shown["text"] = spread_ratio(last[0])
    elif item.name == "A12" and last and any("chosen" in _origin(result) for result in results):
        shown["text"] = at_the_seed_of_the_search(last[0])
    elif item.name == "A11":
        shown["text"] = settings_seen(results, "beta_neg", "mnist")
    elif item.name == "A22":
        shown["text"] = adam_seen(results)
    return shown

"""The audit: what each published convention changes in the runs that are there.

For every item: what is published, what is standard, both forms side by side, and the rows whose rank flips.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from sintro.cells import components, search_results
from sintro.cells.components import UnknownComponent
from sintro.cells.origins import applies, in_words
from sintro.cells.settings import Settings
from sintro.data.folders import RELEASED
from sintro.metrics import definition
from sintro.report.numbers.audit_items import AUDIT_ITEMS, AuditItem
from sintro.report.numbers.ranks import by_weight, mean_by_weight, rank
from sintro.report.numbers.results import Result
from sintro.report.numbers.statistics import best_of, summarise
from sintro.report.numbers.tables import Entry, Key, Table
from sintro.report.numbers.words import dataset_name, plural, row_label, show_number
from sintro.runs.results import OTHER

MOST_ROWS = 40
LONGEST = 40  # characters of a setting's value


def audit(studies: Sequence[tuple[str, Sequence[Result], Sequence[Table]]]) -> list[dict[str, Any]]:
    """Fill the audit page: every item, and per study what it changes there."""
    views = []
    for item in AUDIT_ITEMS:
        found = []
        for name, results, tables in studies:
            shown = _in_study(item, results, tables)
            if any(shown.values()):
                found.append({"study": name} | shown)
        views.append({"item": item, "studies": found})
    return views


def _in_study(item: AuditItem, results: Sequence[Result], tables: Sequence[Table]) -> dict[str, Any]:
    """Find what an item changes in a study: blocks of ranks, chosen weights and a text; each may be empty."""
    whole = [table for table in tables if table.name != "table2"]  # which is a selection of Table 5's cells
    blocks = [both_forms(table, *pair) for table in whole for pair in item.pairs]
    shown: dict[str, Any] = {"blocks": [block for block in blocks if block], "weights": [], "text": ""}
    if item.name == "A4":
        has_fid = any("fid_published" in result.metrics for result in results)
        shown["weights"] = chosen_weights(results, "fid_published" if has_fid else "cfid_published")
    else:
        shown["text"] = _text(item.name, results, whole)
    return shown


def _text(item: str, results: Sequence[Result], tables: Sequence[Table]) -> str:
    """Say what an item changes in a study, of the items that a sentence answers; "" for the others."""
    if item == "A6":
        return settings_seen(results, "logits_at_conversion")
    if item == "A11":
        return settings_seen(results, "beta_neg", "mnist")
    if item == "A13":
        at_256 = {name for name in RELEASED if name.endswith("-256")}
        own = [result for result in results if result.cell.dataset in at_256]
        seen = settings_seen(own, "beta_rec")
        return f"reconstruction beta {seen}" if seen else ""
    if item == "A22":
        return adam_seen(results)
    if item == "A9":
        return spread_ratio(tables)
    was_searched = any("chosen" in _origin(result) for result in results)
    if item == "A12" and was_searched:
        return at_the_seed_of_the_search(tables)
    return ""


# --- both forms, rank by rank


def both_forms(table: Table, published: str, standard: str) -> dict[str, Any] | None:
    """Rank the peers by both forms, per data set -> the ranks, and the pairs of rows whose order flips."""
    if len(table.rows) > MOST_ROWS:
        return None
    blocks = []
    for dataset in table.datasets:
        both = {row: (_mean(e, published), _mean(e, standard)) for row, e in table.peers(dataset).items()}
        means = {row: pair for row, pair in both.items() if all(map(math.isfinite, pair))}
        if len(means) > 1:
            blocks.append({"dataset": dataset_name(dataset)} | _ranks(means, published, standard))
    if not blocks:
        return None
    return {
        "published": published,
        "standard": standard,
        "blocks": blocks,
        "flipped": sum(block["flipped"] for block in blocks),
        "pairs": sum(block["pairs"] for block in blocks),
    }


def _mean(entry: Entry, metric: str) -> float:
    """Average a metric over the seeds of an entry; NaN where none has it."""
    values = entry.values(metric)
    return summarise(list(values.values())).mean


def _ranks(means: Mapping[Key, tuple[float, float]], published: str, standard: str) -> dict[str, Any]:
    """Rank by both forms; a pair of rows flips when one form puts the one first and the other form the other."""
    of_published = {row: pair[0] for row, pair in means.items()}
    of_standard = {row: pair[1] for row, pair in means.items()}
    by_published = rank(of_published, definition(published).direction == "lower")
    by_standard = rank(of_standard, definition(standard).direction == "lower")
    flips = Counter()
    for one, other in combinations(means, 2):
        before = by_published[one] - by_published[other]
        after = by_standard[one] - by_standard[other]
        if before * after < 0:
            flips.update((one, other))
    lines = [
        {
            "row": row_label(row),
            "published": _shown(published, of_published[row]),
            "published_rank": f"{by_published[row]:g}",
            "standard": _shown(standard, of_standard[row]),
            "standard_rank": f"{by_standard[row]:g}",
            "flips": flips[row],
        }
        for row in sorted(means, key=by_published.get)
    ]
    return {"lines": lines, "flipped": flips.total() // 2, "pairs": math.comb(len(means), 2)}


def _shown(metric: str, value: float) -> str:
    """Show a stored value in the metric's unit."""
    return show_number(value * definition(metric).display_scale, 4)


# --- single items


def chosen_weights(results: Sequence[Result], metric: str) -> list[dict[str, str]]:
    """A4: list per row and data set the r that Table 2 chooses, its published value, and what the others give."""
    lines = []
    for (row, dataset), weights in by_weight(results).items():
        means = mean_by_weight(weights, metric)
        if len(means) < 2:
            continue
        best = best_of(means, lower_is_better=True)
        others = [f"r = {weight:g}: {show_number(mean, 4)}" for weight, mean in sorted(means.items()) if weight != best]
        line = {
            "row": row_label(row),
            "dataset": dataset_name(dataset),
            "chosen": f"{best:g}",
            "value": show_number(means[best], 4),
            "others": ", ".join(others),
        }
        lines.append(line)
    return lines


def spread_ratio(tables: Sequence[Table]) -> str:
    """A9: say how many times wider the 95% t interval is than what is published, for the seeds these runs have."""
    ratios: dict[int, float] = {}
    for entry in _entries(tables):
        for summary in entry.summaries.values():
            if summary.n > 1 and math.isfinite(summary.mean) and summary.published:
                ratios[summary.n] = summary.t95 / summary.published
    return "; ".join(f"n = {n}: {ratio:.2f} times as wide" for n, ratio in sorted(ratios.items()))


def at_the_seed_of_the_search(tables: Sequence[Table]) -> str:
    """A12: compare a metric at the seed by which hyper-parameters were chosen with the seeds that had no say."""
    metric, seed = search_results.METRIC, search_results.SEED
    chosen, others = [], []
    for entry in _entries(tables):
        values = {k: value for k, value in entry.values(metric).items() if math.isfinite(value)}
        if seed in values and len(values) > 1:
            chosen.append(values.pop(seed))
            others.append(sum(values.values()) / len(values))
    if not chosen:
        return ""
    at_seed = show_number(sum(chosen) / len(chosen), 4)
    elsewhere = show_number(sum(others) / len(others), 4)
    rows = plural(len(chosen), "row")
    return f"mean {metric} over {rows}: {at_seed} at seed {seed}, {elsewhere} at the other seeds"


def _entries(tables: Sequence[Table]) -> list[Entry]:
    """List what all tables hold, row by row and data set by data set."""
    return [entry for table in tables for entry in table.entries.values()]


def settings_seen(results: Sequence[Result], name: str, dataset: str | None = None) -> str:
    """A6, A11: list the values of a hyper-parameter among the cells, with how many cells have each."""
    counts = Counter()
    for result in results:
        stored = None if result.state == OTHER else result.record.get("settings")
        value = stored.get(name) if isinstance(stored, Mapping) else None
        if value is not None and dataset in (None, result.cell.dataset):
            counts[str(value)[:LONGEST]] += 1
    return _counted(counts)


def adam_seen(results: Sequence[Result]) -> str:
    """A22: say in how many cells Adam's state was carried into the introspective phase, and in how many restarted."""
    name, counts = "adam_at_introspection", Counter()
    for result in results:
        try:
            settings = Settings.model_validate(result.record.get("settings"))
            is_introspective = components.objective(settings.objective).introspective
        except (ValidationError, UnknownComponent):
            continue
        if is_introspective and applies(name, settings):
            counts[str(in_words(settings)[name])] += 1
    return _counted(counts)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} in {plural(count, 'cell')}" for value, count in sorted(counts.items()))


def _origin(result: Result) -> str:
    """Say where a cell's betas come from, as its cell.json does."""
    told = result.record.get("sources")
    return str(told.get("beta_rec", "")) if isinstance(told, Mapping) else ""

"""The pages over all studies: the index, the claims, the audit and the ledger of reported numbers."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sintro import studies
from sintro.report.figures.study import draw_contrasts
from sintro.report.numbers import audit, claims, ledger
from sintro.report.numbers.tables import Table
from sintro.report.numbers.words import DATASET_NAMES, plural, row_label
from sintro.report.pages.writer import render
from sintro.runs import write_atomic


def build(
    reports_read: Sequence[Any],
    tables: Mapping[str, Sequence[Table]],
    reports: Path,
    games: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `index.html`, `claims.html`, `audit.html` and `ledger.html` -> the path of the first.

    ``reports_read`` are the studies that were read (site.StudyReport), ``tables`` theirs by name; ``games`` what
    theory.build found of the exact equilibrium.
    """
    own = sorted((r for r in reports_read if not r.parts), key=lambda r: (not r.comparable, r.name))
    judged = sorted([*claims_view(own), *exact_view(games)], key=lambda view: (len(view["name"]), view["name"]))
    entries = ledger.load()
    comparable = [result for report in own if report.comparable for result in report.results]
    pages = {
        "claims.html": {"claims": judged},
        "audit.html": {"audit_items": audit.audit([(r.name, r.results, tables[r.name]) for r in own])},
        "ledger.html": {
            "entries": [{"reported": entry} | ledger.compare(entry, comparable) for entry in entries],
            "tables": [table_view(r.name, table, entries) for r in own if r.comparable for table in tables[r.name]
                       if len(table.rows) <= audit.MOST_ROWS],
        },
        "index.html": {
            "studies": sorted(reports_read, key=lambda r: (not r.comparable, r.name)),
            "ready": {r.name: (reports / r.name / "index.html").is_file() for r in reports_read},
            "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "idle": [name for name in studies.names() if name not in {r.name for r in reports_read}],
            "claims": judged,
            "judged": [r.name for r in own],
            "transcribed": len(entries),
            "games": games,
        },
    }  # fmt: skip
    for page, context in pages.items():
        write_atomic(reports / page, render(page, page, **context))
    return reports / "index.html"


def claims_view(own: Sequence[Any]) -> list[dict[str, Any]]:
    """Every claim, and its verdict in each study that has cells for it."""
    views = []
    for name, claim in claims.load().items():
        found = []
        for report in own:
            verdict = claims.judge(claim, report.results)
            standard = claims.judge(claim.in_standard_form(), report.results)
            if verdict.verdict != "not run":
                few, many = verdict.seeds
                found.append({
                    "study": report.name, "comparable": report.comparable, "verdict": verdict.verdict,
                    "standard": standard.verdict if standard.claim != claim else "",
                    "seeds": plural(many, "seed") if few == many else f"{few} to {many} seeds",
                    "summary": ", ".join(f"{count} {state}" for state, count in verdict.counts.items()),
                    "lines": [contrast_view(*both) for both in zip(verdict.outcomes, standard.outcomes, strict=True)],
                    "svg": contrast_plot(name, report.name, verdict),
                })  # fmt: skip
        views.append(
            {"name": name, "claim": claim, "studies": found, "by": {s["study"]: s for s in found}, "games": None}
        )
    return views


def exact_view(games: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The claims on the exact equilibrium, each judged on every game that ``sintro theory`` has solved."""
    exact = claims.load_exact().items()
    return [{"name": name, "claim": claim, "studies": [], "by": {}, "games": games} for name, claim in exact]


def contrast_view(outcome: claims.Outcome, standard: claims.Outcome) -> dict[str, str]:
    """One contrast as a table line; ``standard`` is the same one by its metric's standard form."""
    p = outcome.adjusted
    switched = standard.contrast != outcome.contrast
    return {
        "name": outcome.contrast.name,
        "metric": outcome.contrast.metric,
        "state": outcome.state,
        "strata": str(len(outcome.strata)),
        "pairs": str(outcome.pairs),
        "lost": str(outcome.lost),
        "difference": mean_difference(outcome),
        "p": "–" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
        "standard": f"{standard.state} ({mean_difference(standard)})" if switched else "the same metric",
    }


def mean_difference(outcome: claims.Outcome) -> str:
    """The mean over the strata of the difference as claimed, in percent of B."""
    relative = [s.relative[0] for s in outcome.strata if s.pairs and math.isfinite(s.relative[0])]
    return f"{sum(relative) / len(relative):+.1f}%" if relative else "–"


def contrast_plot(name: str, study: str, verdict: claims.Verdict, most: int = 40) -> str:
    """A forest plot of the strata: difference as the claim says, in percent of B, with its 95% interval."""
    lines = []
    for outcome in verdict.outcomes:
        for stratum in outcome.strata:
            effect, low, high = stratum.relative
            if math.isfinite(effect):
                lines.append((f"{outcome.contrast.name}: {stratum.label}", effect, low, high))
    if not lines:
        return ""
    described = f"{name} in {study}: {len(lines)} differences in percent of B, positive is as claimed"
    return draw_contrasts(lines[:most], "difference in % of B, positive is as claimed", described)


def table_view(study: str, table: Table, entries: Sequence[ledger.Reported]) -> dict[str, Any]:
    """A table of the papers with the transcribed numbers and ours, and where there is none."""
    known = {(*entry.place, entry.metric): entry for entry in entries if entry.table == table.name}
    rows = []
    for row in table.rows:
        cells = []
        for dataset in table.datasets:
            for measure in table.reported:
                entry = known.get((dataset, *row, measure.published))
                ours = table.text(row, dataset, measure, "published", "published")
                cells.append(ledger.NOT_TRANSCRIBED if entry is None else f"{entry.value:g} (ours {ours})")
        rows.append({"label": row_label(row), "cells": cells})
    heads = [f"{DATASET_NAMES[d]} {m.label('published')}" for d in table.datasets for m in table.reported]
    count, total = ledger.transcribed(table, entries)
    return {"study": study, "title": table.title, "known": count, "total": total, "heads": heads, "rows": rows}

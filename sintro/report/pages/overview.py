"""The pages over all studies: the index, the claims, the audit and the ledger of reported numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from sintro.basics.files import write_atomic
from sintro.cells import studies
from sintro.report.figures.maps import read_grid
from sintro.report.figures.samples import samples_view
from sintro.report.figures.study import ContrastLine, draw_contrasts
from sintro.report.numbers import audit, claim_files, claims, ledger, overall
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.tables import Table
from sintro.report.numbers.words import ABSENT, dataset_name, extent, row_label, show_p
from sintro.report.pages.overall import overall_views
from sintro.report.pages.writer import View, cell_page, render

MOST_DRAWN = 40  # lines of a forest plot


def build(
    reports_read: Sequence[StudyReport],
    tables: Mapping[str, Sequence[Table]],
    reports: Path,
    games: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `index.html`, `claims.html`, `audit.html` and `ledger.html` -> the path of the first.

    ``reports_read``: the studies that were read; ``tables``: the tables of each, by the study's name; ``games``: what
    `theory.build` returned.
    """
    ordered = sorted(reports_read, key=lambda report: (not report.comparable, report.name))
    own = [report for report in ordered if not report.parts]
    views = [*claims_view(own), *exact_view(games)]
    judged = sorted(views, key=lambda view: (len(view["name"]), view["name"]))
    entries = ledger.load()
    read = {report.name for report in reports_read}
    ready = {name: (reports / name / "index.html").is_file() for name in read}
    index = {
        "studies": ordered,
        "ready": ready,
        "shown": pictures([report for report in own if ready[report.name]]),
        "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "idle": [name for name in studies.names() if name not in read],
        "overall": _overall([report for report in own if ready[report.name]], tables),
        "claims": judged,
        "judged": [report.name for report in own if any(report.name in view["by"] for view in views)],
        "transcribed": len(entries),
        "games": games,
    }
    pages = {
        "claims.html": {"claims": judged, "ready": ready},
        "audit.html": {
            "audit_items": audit.audit([(one.name, one.results, tables[one.name]) for one in own]),
            "ready": ready,
        },
        "ledger.html": _ledger(own, tables, entries),
        "index.html": index,
    }
    for page, context in pages.items():
        write_atomic(reports / page, render(page, page, **context))
    return reports / "index.html"


# --- the pictures that the index opens with


def pictures(with_pages: Sequence[StudyReport]) -> View:
    """Take density maps and strips of samples, each from the study that has most finished cells of its kind.

    ``with_pages``: the studies whose pages are there, to which the pictures lead.
    """
    shown: View = {"maps": None, "samples": None}
    for report in _by_finished(with_pages, "2d"):
        grid = read_grid(report.results)
        if grid is not None and grid.has_maps:
            shown |= {"maps": grid.view(cell_page), "maps_from": report.name}
            break
    for report in _by_finished(with_pages, "images"):
        blocks = samples_view(report.results, cell_page)
        if blocks:
            shown |= {"samples": blocks[0], "samples_from": report.name}
            break
    return shown


def _by_finished(reports_read: Iterable[StudyReport], kind: str) -> list[StudyReport]:
    """Sort studies by how many finished cells of a kind of data they have, the most first."""

    def finished(report: StudyReport) -> int:
        return sum(result.state == "done" and result.kind == kind for result in report.results)

    return sorted(reports_read, key=finished, reverse=True)


def _overall(with_pages: Sequence[StudyReport], tables: Mapping[str, Sequence[Table]]) -> list[View]:
    """Lay out the first aggregate over data sets of each study that has several of them."""
    views = []
    for report in with_pages:
        found = [one for one in overall.overall(tables[report.name]) if len(one.datasets) > 1]
        if found:
            views.append({"study": report.name, "title": report.title, "block": overall_views(found[:1])[0]})
    return views


# --- the ledger


def _ledger(
    own: Sequence[StudyReport], tables: Mapping[str, Sequence[Table]], entries: Sequence[ledger.Reported]
) -> View:
    """Lay out the reported numbers beside ours, and the papers' tables of the comparable studies."""
    comparable = [report for report in own if report.comparable]
    by_study = [report.results for report in comparable]
    shown = []
    for report in comparable:
        small = [table for table in tables[report.name] if len(table.rows) <= audit.MOST_ROWS]
        shown += [table_view(report.name, table, entries) for table in small]
    return {
        "entries": [{"reported": one, "compared": ledger.compare_each(one, by_study)} for one in entries],
        "tables": shown,
    }


def table_view(study: str, table: Table, entries: Sequence[ledger.Reported]) -> View:
    """Lay out a table of the papers: each transcribed number beside ours, and a word in place of the others.

    Ours stand beside a number only where they may be compared.
    """
    known = ledger.known_numbers(table, entries, study)
    columns = [(dataset, measure) for dataset in table.datasets for measure in table.reported]
    rows = []
    for row in table.rows:
        cells = []
        for dataset, measure in columns:
            entry = known.get((dataset, *row, measure.published))
            ours = table.text(row, dataset, measure, "published", "published") or ABSENT
            if entry is None:
                cells.append(ledger.NOT_TRANSCRIBED)
            elif ledger.may_compare(entry, study):
                cells.append(f"{entry.value:g} (ours {ours})")
            else:
                cells.append(f"{entry.value:g} (of another form or training)")
        rows.append({"label": row_label(row), "cells": cells})
    texts = [text for row in rows for text in row["cells"]]
    return {
        "study": study,
        "title": table.title,
        "known": len(texts) - texts.count(ledger.NOT_TRANSCRIBED),
        "total": len(texts),
        "heads": [f"{dataset_name(dataset)} {measure.label('published')}" for dataset, measure in columns],
        "rows": rows,
    }


# --- claims


def claims_view(own: Sequence[StudyReport]) -> list[View]:
    """Lay out every claim, and its verdict in each study that has cells for it."""
    views = []
    for name, claim in claim_files.load().items():
        verdicts = [_verdict_view(name, claim, report) for report in own]
        found = [verdict for verdict in verdicts if verdict is not None]
        by_study = {verdict["study"]: verdict for verdict in found}
        views.append({"name": name, "claim": claim, "studies": found, "by": by_study, "games": None})
    return views


def _verdict_view(name: str, claim: claim_files.Claim, report: StudyReport) -> View | None:
    """Lay out a claim's verdict in one study; None where the study has no cells for it."""
    verdict = claims.judge(claim, report.results)
    if verdict.verdict == "not run":
        return None
    standard = claims.judge(claim.in_standard_form(), report.results)
    few, many = verdict.seeds
    both_forms = zip(verdict.outcomes, standard.outcomes, strict=True)
    return {
        "study": report.name,
        "comparable": report.comparable,
        "archived": report.archived,
        "verdict": verdict.verdict,
        "standard": standard.verdict if standard.claim != claim else "",
        "seeds": f"{extent(few, many)} {'seed' if many == 1 else 'seeds'}",
        "summary": ", ".join(f"{count} {state}" for state, count in verdict.counts.items()),
        "lines": [contrast_view(published, other) for published, other in both_forms],
        "svg": contrast_plot(name, report.name, verdict),
    }


def exact_view(games: Sequence[Mapping[str, Any]]) -> list[View]:
    """Lay out the claims on the exact equilibrium, each judged on every game that ``sintro theory`` has solved."""
    no_studies: View = {"studies": [], "by": {}}
    exact = claim_files.load_exact()
    return [{"name": name, "claim": claim, "games": games} | no_studies for name, claim in exact.items()]


def contrast_view(outcome: claims.Outcome, standard: claims.Outcome) -> dict[str, str]:
    """Lay out one contrast as a table line; ``standard`` is the same one by its metric's standard form."""
    other = "the same metric"
    if standard.contrast != outcome.contrast:
        words = difference_in_words(standard)
        other = standard.state if words == ABSENT else f"{standard.state}: {words}"
    return {
        "name": outcome.contrast.name,
        "metric": outcome.contrast.metric,
        "state": outcome.state,
        "strata": str(len(outcome.strata)),
        "pairs": str(outcome.pairs),
        "lost": _lost_in_words(outcome),
        "difference": difference_in_words(outcome),
        "noise": "smaller than the measurement noise on every data set" if outcome.is_noise else "",
        "p": show_p(outcome.adjusted, absent=ABSENT),
        "standard": other,
    }


def _lost_in_words(outcome: claims.Outcome) -> str:
    """Count the lost pairs, and say how many of them one side alone lost: `3 (A alone 2)`."""
    sides = [f"{side} alone {count}" for side, count in zip("AB", outcome.lost_alone, strict=True) if count]
    return f"{outcome.lost} ({', '.join(sides)})" if sides else str(outcome.lost)


def difference_in_words(outcome: claims.Outcome) -> str:
    """Spell the differences as claimed in percent of B: the only one, or the median, the least and the largest.

    Where only "not worse" is claimed they stand in the metric's own unit, beside the allowance.
    """
    allowance = outcome.contrast.allowance
    ran = [stratum for stratum in outcome.strata if stratum.pairs]
    if allowance is not None:
        differences = [stratum.as_claimed.difference for stratum in ran]
        shown, unit = "{:+.3f}".format, f"; {-allowance:g} is allowed"
    else:
        differences = [stratum.relative[0] for stratum in ran]
        shown, unit = "{:+.1f}%".format, ""
    finite = list(filter(math.isfinite, differences))
    if not finite:
        return ABSENT
    spread = f" ({shown(min(finite))} to {shown(max(finite))})" if len(finite) > 1 else ""
    return f"{shown(median(finite))}{spread}{unit}"


def contrast_plot(name: str, study: str, verdict: claims.Verdict) -> str:
    """Draw a forest plot of the data sets: difference as the claim says, in percent of B, with its 95% interval."""
    drawn = [(outcome.contrast, stratum) for outcome in verdict.outcomes for stratum in outcome.strata]
    drawn = [(contrast, stratum) for contrast, stratum in drawn if math.isfinite(stratum.relative[0])][:MOST_DRAWN]
    if not drawn:
        return ""
    panels: dict[str, list[ContrastLine]] = {}
    for contrast, stratum in drawn:
        bound = None if contrast.allowance is None else -contrast.allowance / stratum.percent
        line = ContrastLine(stratum.label, *stratum.relative, stratum.is_noise, bound)
        panels.setdefault(f"{contrast.name}, {contrast.metric}", []).append(line)
    described = f"{name} in {study}: {len(drawn)} differences in percent of B, positive is as claimed"
    return draw_contrasts(panels, "difference in % of B, positive is as claimed", described)

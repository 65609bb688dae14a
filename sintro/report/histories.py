"""Pictures over seeds, over r and over data sets, for the pages of groups and studies."""

import math
from collections.abc import Sequence

from sintro import SintroError
from sintro.report.pictures import draw_against, draw_band, draw_ranks
from sintro.report.results import OTHER, Result, read_history
from sintro.report.tables import Table, family
from sintro.report.words import DATASET_NAMES, row_label

BAND = {"reconstruction": "reconstruction", "kl_real": "KL of real data", "kl_fake": "KL of generated data"}
MOST_RANKED = 16


def band(members: Sequence[Result]) -> str:
    """Histories over the seeds of a group as an SVG; empty when none can be read.

    Cells that were made with other settings are left out.
    """
    found = {}
    for result in members:
        if result.state == OTHER:
            continue
        try:
            history = read_history(result.folder / "history.csv", {"iteration", *BAND})
        except (OSError, SintroError):
            continue
        if len(history.get("iteration", ())) > 1:
            found[result.cell.seed] = history
    if not found:
        return ""
    return draw_band(found, BAND, f"Histories over {len(found)} seeds: mean, and band from the lowest to the highest")


def ranks(table: Table, metric: str) -> dict[str, dict[str, float]]:
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


def study_pictures(made: Sequence[Table]) -> list[dict[str, str]]:
    """The plots of a study's page as SVG, with a heading each."""
    pictures = []
    for table in made:
        metric = next((m.published for m in table.measures if m.published.startswith(("kl", "fid", "cfid"))), None)
        found = ranks(table, metric) if metric and 1 < len(table.rows) <= MOST_RANKED else {}
        if len(found) > 1:
            label = next(m for m in table.measures if m.published == metric).label("published")
            described = f"Ranks by {label} over {len(table.datasets)} data sets; 1 is best. " + "; ".join(
                f"{row}: {', '.join(f'{d} {r:.0f}' for d, r in places.items())}" for row, places in found.items()
            )
            pictures.append({"title": f"Ranks by {label} (published)", "svg": draw_ranks(found, described)})
        if table.name == "table5":
            pictures += against_weight(table, metric)
    return pictures


def against_weight(table: Table, metric: str) -> list[dict[str, str]]:
    """The published metric against the weight r, a line per prior, a plot per data set."""
    pictures = []
    label = next(m for m in table.measures if m.published == metric).label("published")
    for dataset in table.datasets:
        series: dict[str, list[tuple[float, float, float]]] = {}
        for row in table.rows:
            entry = table.entries.get((row, dataset))
            summary = entry.summaries[metric, "published"] if entry else None
            if summary is None or not math.isfinite(summary.mean):
                continue
            weight = entry.results[0].cell.regularizer_spec.responsibility
            name = row_label(family(entry.results[0])[1:])
            series.setdefault(name, []).append((weight, summary.mean, summary.published or 0.0))
        series = {name: sorted(points) for name, points in series.items() if len(points) > 1}
        if series:
            described = f"{label} against r on {DATASET_NAMES[dataset]}, {len(series)} priors"
            svg = draw_against(series, "r, weight of the responsibility regulariser", label, described)
            pictures.append({"title": f"{label} against r, {DATASET_NAMES[dataset]}", "svg": svg})
    return pictures

"""What a cell's page shows, as plain dictionaries: the template only lays it out."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape
from pydantic import ValidationError

from sintro import studies
from sintro.cells import DENSITIES
from sintro.metrics import METRICS, VERSIONS, definition
from sintro.presets import Settings, in_words
from sintro.report.figures.captions import CAPTIONS
from sintro.report.figures.cell import CELL_FIGURES
from sintro.report.figures.style import data_uri
from sintro.report.numbers.results import Result
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.tables import EVALUATE_AGAIN, Floor
from sintro.report.numbers.words import ARROWS, show_bytes, show_duration, show_number, show_setting
from sintro.report.pages.writer import Writer, cell_page, group_page, page_key, render, result_stamp


@lru_cache(maxsize=4096)
def safe(text: str) -> Markup:
    """The text escaped once: the same definitions and sources stand on thousands of pages."""
    return escape(text)


def figure_views(result: Result) -> list[dict[str, Any]]:
    """The cell's pictures, embedded; one that should be there and is not says so."""
    expected = CELL_FIGURES if result.cell.dataset in DENSITIES else ("data.png", "samples.png", "history.png")
    views = []
    for name, described in CAPTIONS.items():
        path = result.folder / name
        if not path.is_file():
            if name in expected and result.state == "done":
                views.append({"name": name, "alt": described, "missing": True})
            continue
        content = path.read_bytes()
        if not content.startswith(b"\x89PNG"):
            views.append({"name": name, "alt": described, "missing": True})
            continue
        if name == "data.png" and result.cell.dataset not in DENSITIES:
            described = "Training images"
        if name == "latent.png" and result.cell.dataset not in DENSITIES:
            described = "Latent space: posterior means along their first two principal components, coloured by label"
        views.append({"name": name, "alt": described, "uri": data_uri(content), "missing": False})
    return views


def metric_views(result: Result, floor: Floor) -> list[dict[str, Any]]:
    """Every metric defined for the cell's kind of data, stored or not, and whatever else metrics.json holds."""
    kind = "2d" if result.cell.dataset in DENSITIES else "images"
    views = []
    for metric in METRICS.values():
        optional = kind == "images" or metric.name.startswith("ood_")  # cells of older versions have no scores
        old = metric.name in result.outdated
        if kind not in metric.datasets or (optional and metric.name not in result.metrics and not old):
            continue
        value = result.value(metric.name)
        absent = EVALUATE_AGAIN if old else "not in metrics.json"
        shown = absent if value is None else show_number(value * metric.display_scale)
        perfect = floor.get(metric.name)
        views.append({
            "label": metric.label, "name": metric.name, "value": shown, "unit": metric.unit, "form": metric.form,
            "definition": safe(metric.definition), "direction": ARROWS[metric.direction],
            "floor": show_number(perfect[0] * metric.display_scale, 3) if perfect else "",
        })  # fmt: skip
    for name in sorted(set(result.metrics) - set(METRICS)):
        metric, value = definition(name), result.metrics[name]
        views.append({
            "label": f"{metric.label}, last checkpoint" if metric else name.replace("_", " "), "name": name,
            "value": show_number(value * metric.display_scale if metric else value), "floor": "",
            "unit": metric.unit if metric else "", "form": metric.form if metric else "",
            "definition": metric.definition if metric else "", "direction": "",
        })  # fmt: skip
    return views


def extra_views(result: Result) -> list[tuple[str, str]]:
    """What metrics.json holds beside numbers, such as the distance at every checkpoint."""
    views = []
    for name, value in sorted(result.extra.items()):
        if name == VERSIONS:
            continue
        if isinstance(value, Mapping):
            items = [f"{key}: {show_setting(each)}" for key, each in list(value.items())[:50]]
            views.append((name.replace("_", " "), ", ".join(items)))
        elif name not in ("status", "digest", "warning", "finished", "model_sha256", "data_sha256"):  # not measured
            views.append((name.replace("_", " "), show_setting(value)))
    return views


def setting_views(result: Result) -> list[dict[str, Any]]:
    """The stored hyper-parameters, each beside the published value where the two differ, and its source."""
    stored = result.record.get("settings")
    if not isinstance(stored, Mapping):
        return []
    preset = in_words(studies.published(result.cell))
    stored = _in_words(stored)
    sources = result.record.get("sources")
    sources = sources if isinstance(sources, Mapping) else {}
    views = []
    for name in sorted(stored, key=list(preset).index if set(stored) <= set(preset) else str):
        differs = name not in preset or stored[name] != preset[name]
        views.append({
            "name": name, "value": show_setting(stored[name]), "source": safe(str(sources.get(name, ""))),
            "differs": differs, "published": show_setting(preset.get(name)) if differs else "",
        })  # fmt: skip
    return views


def _in_words(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Stored settings as a reader sees them; as they stand where they are none of this version's."""
    try:
        return in_words(Settings.model_validate(stored))
    except ValidationError:
        return stored


def data_note(result: Result) -> str:
    """What the page says about data that are not known to be the published ones; "" for all others."""
    for stored in (result.extra, result.provenance):
        if stored.get("data_verified") is False:
            return (
                f"Unverified data, so not comparable: {stored.get('data_unverified') or 'no reason was written down'}"
            )
    return ""


PROVENANCE_FIRST = ("status", "reason", "diverged_at", "commit", "commit_reason", "dirty",
                     "sources_sha256", "version", "started", "finished")  # fmt: skip


def provenance_views(result: Result) -> list[tuple[str, str]]:
    """What provenance.json says, the most asked for first, durations and sizes in readable units."""
    stored = dict(result.provenance)
    names = [name for name in PROVENANCE_FIRST if name in stored] + sorted(set(stored) - set(PROVENANCE_FIRST))
    shown = {"wall_seconds": show_duration, "device_seconds": show_duration}
    shown |= dict.fromkeys(("peak_memory_bytes", "peak_device_memory_bytes"), show_bytes)
    return [(name.replace("_", " "), shown.get(name, show_setting)(stored[name])) for name in names]


def command_of(result: Result) -> str:
    """The command that makes this cell: as stored, else the one that would make it."""
    stored = result.record.get("command")
    return stored if isinstance(stored, str) and stored else f"sintro train {result.cell.path}"


def build_cell(writer: Writer, report: StudyReport, result: Result, siblings: Sequence[Result], floor: Mapping) -> None:
    """The page of one cell."""
    page = cell_page(result)

    def make() -> str:
        return render(
            "cell.html", page, report=report, result=result, siblings=siblings, cell_page=cell_page,
            group=group_page(siblings), command=command_of(result), figures=figure_views(result),
            metrics=metric_views(result, floor), settings=setting_views(result),
            provenance=provenance_views(result), extra=extra_views(result),
            data_note=data_note(result),
        )  # fmt: skip

    beside = [(s.cell.seed, s.state) for s in siblings]
    about = (report.title, report.comparable, report.shortened, sorted(floor.items()), beside)
    writer.page(page, page_key(about, result_stamp(result)), make)

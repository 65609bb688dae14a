"""The page of a cell: its pictures, metrics, hyper-parameters and provenance; the template only lays them out."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape
from pydantic import ValidationError

from sintro.basics.progress import duration_in_words, size_in_words
from sintro.cells import studies
from sintro.cells.origins import in_words
from sintro.cells.settings import Settings
from sintro.metrics import METRICS, NOT_MEASURED, VERSIONS, Metric, definition
from sintro.metrics.definitions_images import FLOORS
from sintro.metrics.noise import NOISE
from sintro.report.numbers.results import Result
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.tables import Floor
from sintro.report.numbers.translation import REFERENCES
from sintro.report.numbers.words import ABSENT, ARROWS, is_number, show_number, show_setting
from sintro.report.pages.pictures import figure_views
from sintro.report.pages.writer import View, Writer, cell_page, group_page, page_key, render, result_stamp

LAST = "The last checkpoint, where an earlier one is published"
# Heading, in the order shown -> how the names of its metrics begin; the longest beginning that fits decides.
HEADINGS = {
    "Translation": ("transfer", "retrieval", "kept", "fid_transfer", "cfid_transfer"),
    "Codes of class and content": ("leakage", "control", "kl_class", "kl_content"),
    "Density against the data's": ("gnelbo", "kl", "jsd", "entropy_published", "out_of_range"),
    "Distances between images": ("fid", "cfid", "kid", "ckid", "fd_", "kd_"),
    "Precision and recall": ("precision", "recall"),
    "Copies, classes and modes": ("authenticity", "class", "mode_purity"),
    "Parts, shapes and coverage": ("modes", "off", "sliced", "energy", "density", "coverage", "one_nna"),
    "Prior": ("responsibility", "inactive"),
    "Bounds and reconstruction": ("elbo", "reconstruction", "kl_posterior", "mse", "drift", "psnr", "ssim", "lpips"),
    "Representation": ("svc", "knn", "linear_probe"),
    "Others": ("",),
    LAST: (),
    "Out-of-distribution detection": ("ood_",),
}
BEGINNINGS = {beginning: title for title, beginnings in HEADINGS.items() for beginning in beginnings}
FOLDED = (LAST, "Out-of-distribution detection")


def build_cell(
    writer: Writer, report: StudyReport, result: Result, siblings: Sequence[Result], floor: Mapping[str, Any]
) -> None:
    """Write the page of one cell; ``siblings`` are the runs of its group, ``floor`` is its data set's."""
    page = cell_page(result)
    shortened = report.shortened_of([result])

    def make() -> str:
        return render(
            "cell.html",
            page,
            report=report,
            shortened=shortened,
            result=result,
            siblings=siblings,
            cell_page=cell_page,
            group=group_page(siblings),
            command=command_of(result),
            figures=figure_views(writer, result),
            is_linked=not writer.self_contained,
            blocks=blocks_of(metric_views(result, floor)),
            settings=setting_views(result),
            provenance=provenance_views(result),
            extra=extra_views(result),
            data_note=data_note(result),
        )

    beside = [(sibling.cell.seed, sibling.state) for sibling in siblings]
    shown_by = "itself" if writer.self_contained else writer.address(result.folder, page)
    about = (report.title, report.comparable, shortened, sorted(floor.items()), beside, shown_by)
    writer.page(page, page_key(about, result_stamp(result)), make)


@lru_cache(maxsize=4096)
def safe(text: str) -> Markup:
    """Escape the text, once: the same definitions and sources stand on thousands of pages."""
    return escape(text)


# --- metrics


def metric_views(result: Result, floor: Floor) -> list[View]:
    """Lay out every metric that is defined for the cell's kind of data, and every other number in metrics.json."""
    views = [_metric_view(metric, result, floor) for metric in METRICS.values() if _is_shown(metric, result)]
    others = sorted(set(result.metrics) - set(METRICS))
    views += [_other_view(name, result) for name in others]
    return views


def _is_shown(metric: Metric, result: Result) -> bool:
    """Tell whether a cell's page has the metric: of optional ones, those that are stored or were."""
    if result.kind not in metric.datasets:
        return False
    return not metric.needs or metric.name in result.metrics or bool(result.why_not(metric.name))


def _metric_view(metric: Metric, result: Result, floor: Floor) -> View:
    """Lay out a metric of today, with its value or the reason why there is none."""
    value = result.value(metric.name)
    if value is not None:
        shown = show_number(value * metric.display_scale)
    else:
        shown = result.why_not(metric.name) or "not in metrics.json"
    own, noise = result.value(FLOORS.get(metric.name, "")), result.noise(metric.name)
    perfect = floor.get(metric.name) if own is None else (own, None)  # what this cell's own evaluation measured
    return {
        "label": metric.label,
        "name": metric.name,
        "value": shown,
        "unit": metric.unit,
        "form": metric.form,
        "definition": safe(metric.definition),
        "direction": ARROWS[metric.direction],
        "floor": show_number(perfect[0] * metric.display_scale, 3) if perfect else "",
        "noise": "" if noise is None else f"± {show_number(noise * metric.display_scale, 2)}",
    }


def _other_view(name: str, result: Result) -> View:
    """Lay out a stored number that has no entry in METRICS: a metric of the last checkpoint, or one nobody defined."""
    metric, value = definition(name), result.metrics[name]
    view = {"name": name, "floor": "", "noise": "", "direction": ""}
    if metric is None:
        label = name.replace("_", " ")
        return view | {"label": label, "value": show_number(value), "unit": "", "form": "", "definition": ""}
    return view | {
        "label": f"{metric.label}, last checkpoint",
        "value": show_number(value * metric.display_scale),
        "unit": metric.unit,
        "form": metric.form,
        "definition": metric.definition,
    }


def blocks_of(views: Sequence[View]) -> list[View]:
    """Group metrics below headings, in the order of HEADINGS; long lists of scores are folded away."""
    found: dict[str, list[View]] = {}
    for view in views:
        title = heading_of(view["name"])
        found.setdefault(title, []).append(view)
    present = [title for title in HEADINGS if title in found]
    return [{"title": title, "metrics": found[title], "folded": title in FOLDED} for title in present]


def heading_of(name: str) -> str:
    """Name the heading that a metric stands below."""
    if name.removesuffix("_published").endswith("_last"):
        return LAST
    return BEGINNINGS[max(filter(name.startswith, BEGINNINGS), key=len)]


NOT_SHOWN = (
    "status", "digest", "warning", "finished", "model_sha256", "data_sha256", VERSIONS, NOT_MEASURED, NOISE, REFERENCES,
)  # fmt: skip
MOST_SHOWN = 50  # of the entries of one mapping


def extra_views(result: Result) -> list[tuple[str, str]]:
    """Spell the entries of metrics.json that are no numbers, such as the distance at every checkpoint."""
    views = []
    for name, value in sorted(result.extra.items()):
        if name in NOT_SHOWN:
            continue
        if isinstance(value, Mapping):
            shown = list(value.items())[:MOST_SHOWN]
            text = ", ".join(f"{key}: {show_setting(each)}" for key, each in shown)
        else:
            text = show_setting(value)
        views.append((name.replace("_", " "), text))
    return views


# --- how it was made


def setting_views(result: Result) -> list[View]:
    """Lay out the stored hyper-parameters, each beside the published value where the two differ, and its source."""
    stored = result.record.get("settings")
    if not isinstance(stored, Mapping):
        return []
    stored = _in_words(stored)
    preset = stored if result.gone else in_words(studies.published(result.cell))  # which no one knows of what is gone
    sources = result.record.get("sources")
    if not isinstance(sources, Mapping):
        sources = {}
    is_todays = set(stored) <= set(preset)
    views = []
    for name in sorted(stored, key=list(preset).index if is_todays else str):
        differs = name not in preset or stored[name] != preset[name]
        view = {
            "name": name,
            "value": show_setting(stored[name]),
            "source": safe(str(sources.get(name, ""))),
            "differs": differs,
            "published": show_setting(preset.get(name)) if differs else "",
        }
        views.append(view)
    return views


def _in_words(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Spell stored settings as a reader sees them; leave those of another version as they are."""
    try:
        return in_words(Settings.model_validate(stored))
    except ValidationError:
        return stored


def data_note(result: Result) -> str:
    """Say that the data are not known to be the published ones; "" where they are."""
    for stored in (result.extra, result.provenance):
        if stored.get("data_verified") is False:
            reason = stored.get("data_unverified") or "no reason was written down"
            return f"Unverified data, so not comparable: {reason}"
    return ""


PROVENANCE_FIRST = (
    "status",
    "reason",
    "diverged_at",
    "commit",
    "commit_reason",
    "dirty",
    "sources_sha256",
    "version",
    "started",
    "finished",
)
IN_UNITS: dict[str, Callable[[float], str]] = {
    "wall_seconds": duration_in_words,
    "device_seconds": duration_in_words,
    "peak_memory_bytes": size_in_words,
    "peak_device_memory_bytes": size_in_words,
}


def provenance_views(result: Result) -> list[tuple[str, str]]:
    """Spell what provenance.json says, the most asked for first, durations and sizes in readable units."""
    stored = dict(result.provenance)
    first = [name for name in PROVENANCE_FIRST if name in stored]
    rest = sorted(set(stored) - set(first))
    views = []
    for name in (*first, *rest):
        value = stored[name]
        if name not in IN_UNITS:
            text = show_setting(value)
        else:
            text = IN_UNITS[name](value) if is_number(value) and math.isfinite(value) else ABSENT
        views.append((name.replace("_", " "), text))
    return views


def command_of(result: Result) -> str:
    """Find the command that made this cell; where none is stored, one that would make it."""
    stored = result.record.get("command")
    return stored if isinstance(stored, str) and stored else f"sintro train {result.cell.path}"

"""The floors of all tables, and the tables of the metrics that the papers do not have: in their standard form only."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from sintro import SintroError
from sintro.cells import components, studies
from sintro.metrics import METRICS
from sintro.metrics.definitions_2d import ERRORS
from sintro.metrics.definitions_images import FLOORS, KERNELS, optimism
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.tables import Floor, Measure, Table, make_table

PLANE = ("sliced_w2", "energy_distance", "density", "coverage", "one_nna")
PLANE_TITLE = "2D densities, a metric for each kind of error: weights of the parts, then shapes (standard form)"
IMAGES_TITLE = "Images: kernel distance, distances to the test split, density and coverage (standard form)"
CHECKS_TITLE = "Images: copies, classes, modes of the prior, reconstructions of test images (standard form)"


SELECTION = "selection-images"
SELECTION_TITLE = "Images: the selected checkpoint, and how much the selection favoured its value"
DINOV2_TITLE = "Photographs: distances and manifolds in features of DINOv2 (standard form)"
DINOV2 = tuple(f"{name}_dinov2" for name in ("fd", "kd", "precision", "recall", "density", "coverage"))


def tables_of(results: Sequence[Result], floors: Mapping[str, Floor]) -> list[Table]:
    """Make a table for each kind of data of which any result has such a metric.

    The cells without a number are counted in it.
    """
    plane = [result for result in results if result.kind == "2d"]
    images = [result for result in results if result.kind == "images"]
    candidates = (
        _table("errors", PLANE_TITLE, plane, PLANE, floors, what_moves()),
        _table("errors-images", IMAGES_TITLE, images, image_metrics(images), floors),
        _table("checks-images", CHECKS_TITLE, images, check_metrics(images), floors),
        _table(SELECTION, SELECTION_TITLE, images, selection_metrics(images), floors),
        _table("dinov2-images", DINOV2_TITLE, images, DINOV2, floors),
    )
    return [table for table in candidates if table is not None]


def _table(
    name: str,
    title: str,
    results: Sequence[Result],
    metrics: Sequence[str],
    floors: Mapping[str, Floor],
    reading: str = "",
) -> Table | None:
    """Make a table of these metrics; None where no result has any of them."""
    stored = {metric for result in results for metric in result.metrics}
    if stored.isdisjoint(metrics):
        return None
    measures = [Measure(metric, metric, ours=True) for metric in metrics]
    return make_table(name, title, results, measures, floors, reading=reading)


def what_moves() -> str:
    """Say in one sentence per kind of error which metrics of the plane it moves."""
    sentences = ["No metric sees every error."]
    for error, moved in ERRORS.items():
        ways = []
        for way in dict.fromkeys(moved.values()):
            labels = [METRICS[metric].label for metric in moved if moved[metric] == way]
            ways.append(f"{way} {' and '.join(labels)}")
        sentences.append(f"{error.capitalize()} {' and '.join(ways)}.")
    return " ".join(sentences)


def image_metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """List the columns for distances of images."""
    frechet = _distance(results)
    kernel = KERNELS[frechet]
    return (kernel, f"{frechet}_test", f"{kernel}_test", f"{frechet}_infinity", "density", "coverage")


def check_metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """List the columns for what is asked of images beside distances."""
    looks = ("lpips_rec",) if any(not result.cell.data.why_no_lpips for result in results) else ()
    return ("authenticity", "class_tv", "mode_purity", "psnr", "ssim", *looks, f"{_distance(results)}_rec_test")


def selection_metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """List the columns for the selection of a checkpoint; none where no result has measured its optimism."""
    frechet = _distance(results)
    is_measured = any(optimism(frechet) in result.metrics for result in results)
    return (f"{frechet}_published", optimism(frechet)) if is_measured else ()


def _distance(results: Sequence[Result]) -> str:
    """Name the distance in Inception features where any of the results has them, else that in the classifier's."""
    has_inception = any(KERNELS["fid"] in result.metrics for result in results)
    return "fid" if has_inception else "cfid"


def floors_of(results: Sequence[Result]) -> dict[str, Floor]:
    """Find what no model beats, save by chance, on each data set of these cells.

    In the plane that is the score of a perfect model, for images that of data against data.
    """
    floors = {}
    for dataset, found in grouped(results, lambda result: result.cell.dataset).items():
        if found[0].kind == "2d" and components.dataset(dataset).is_gone:
            continue  # nobody can draw fresh real data
        is_plane = found[0].kind == "2d"
        floors[dataset] = _plane_floor(found[0]) if is_plane else _image_floor(found)
    return floors


def _plane_floor(result: Result) -> Floor:
    """Score a perfect model with as many points and bins as the study of this cell asks for."""
    from sintro.metrics.floors import floor  # imports torch

    try:
        settings = studies.settings(result.cell)
        asked = {"points": settings.evaluation_points, "bins": settings.evaluation_bins}
    except SintroError:
        asked = {}
    try:
        return floor(result.cell.dataset, **asked)
    except Exception as error:  # in an extension's `sample` or `locate`, which harms its own numbers alone
        said = components.fault(error)
        if said is None:
            raise
        print(f"warning: no floor for {result.cell.dataset}: {said}", file=sys.stderr)
        return {}


def _image_floor(results: Sequence[Result]) -> Floor:
    """Collect the floors that the cells' evaluations measured: mean and sd where their references were not the same."""
    found = {}
    for metric, floor in FLOORS.items():
        stored = {result.value(floor) for result in results} - {None}
        values = sorted(stored)
        if not values:
            continue
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[metric] = (float(np.mean(values)), spread)
    return found

"""The floors of all tables, and the tables of the metrics that the papers do not have: in their standard form only."""

from collections.abc import Mapping, Sequence

import numpy as np

from sintro import SintroError, studies
from sintro.cells import DENSITIES
from sintro.metrics.definitions_images import FLOORS, KERNELS
from sintro.report.numbers.results import Result
from sintro.report.numbers.tables import Floor, Measure, Table, is_density, make_table

PLANE = ("sliced_w2", "energy_distance", "density", "coverage", "one_nna")
PLANE_TITLE = "2D densities, a metric for each kind of error: weights of the parts, then shapes (standard form)"
IMAGES_TITLE = "Images: kernel distance, distances to the test split, density and coverage (standard form)"


def tables_of(results: Sequence[Result], floors: Mapping[str, Floor]) -> list[Table]:
    """A table for each kind of data of which any result has such a metric; cells without a number are counted in it."""
    made = []
    for name, title, held, names in (
        ("errors", PLANE_TITLE, [r for r in results if is_density(r)], PLANE),
        ("errors-images", IMAGES_TITLE, images := [r for r in results if not is_density(r)], image_metrics(images)),
    ):
        if any(metric in result.metrics for result in held for metric in names):
            made.append(make_table(name, title, held, [Measure(each, each, ours=True) for each in names], floors))
    return made


def image_metrics(results: Sequence[Result]) -> tuple[str, ...]:
    """The columns for images: in Inception features where any of the results has them, else in the classifier's."""
    frechet = "fid" if any(KERNELS["fid"] in result.metrics for result in results) else "cfid"
    return (KERNELS[frechet], f"{frechet}_test", f"{KERNELS[frechet]}_test", "density", "coverage")


def floors_of(results: Sequence[Result]) -> dict[str, Floor]:
    """What no model beats, save by chance, on each data set of these cells: a perfect model, or data against data."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.cell.dataset, []).append(result)
    return {d: _plane_floor(found[0]) if d in DENSITIES else _image_floor(found) for d, found in grouped.items()}


def _plane_floor(result: Result) -> Floor:
    """With as many points and bins as the study of this cell asks for."""
    from sintro.metrics.floors import floor  # imports torch

    try:
        settings = studies.settings(result.cell)
    except SintroError:
        return floor(result.cell.dataset)
    return floor(result.cell.dataset, points=settings.evaluation_points, bins=settings.evaluation_bins)


def _image_floor(results: Sequence[Result]) -> Floor:
    """As the cells' evaluations measured it: one number, or mean and sd where their references were not the same."""
    found = {}
    for metric, floor in FLOORS.items():
        values = sorted({value for result in results if (value := result.value(floor)) is not None})
        if values:
            found[metric] = (float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)
    return found

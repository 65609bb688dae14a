"""The grid of density maps: rows are data sets, columns the data and then each objective and prior."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sintro.cells import DENSITIES
from sintro.report.figures import HALF_WIDTH, relative_density
from sintro.report.pictures import data_map, data_uri, draw_grid, load_arrays, map_png
from sintro.report.results import Result
from sintro.report.words import DATASET_NAMES, row_label

MOST_COLUMNS = 16


def chosen(members: Sequence[Result]) -> Result:
    """The seed that is shown: the first that is done, so that nobody picks the prettiest; else the first."""
    return next((r for r in members if r.state == "done"), members[0])


def columns_of(results: Sequence[Result]) -> dict[tuple[str, str, str], dict[str, list[Result]]]:
    """Row of the table -> data set -> its seeds, of the 2D cells with the objective's own betas."""
    columns: dict[tuple[str, str, str], dict[str, list[Result]]] = {}
    for result in results:
        if result.cell.dataset in DENSITIES:
            columns.setdefault(result.row, {}).setdefault(result.cell.dataset, []).append(result)
    return columns


def grid_view(results: Sequence[Result], link: Callable[[Result], str]) -> dict[str, Any] | None:
    """The grid for the study's page: each map an embedded picture that leads to its cell; None without 2D cells.

    A study of very many rows (a search) has no such picture: it would be thousands of maps.
    """
    columns = columns_of(results)
    if not columns or len(columns) > MOST_COLUMNS:
        return None
    rows = []
    for dataset in [d for d in DENSITIES if any(d in found for found in columns.values())]:
        cells = []
        for row, found in columns.items():
            if dataset not in found:
                cells.append({"uri": None, "reason": "not in this study", "href": None, "seed": None})
                continue
            result = chosen(found[dataset])
            cells.append(_map_view(result, row_label(row)) | {"href": link(result), "seed": result.cell.seed})
        data = _data_view([chosen(found[dataset]) for found in columns.values() if dataset in found], dataset)
        rows.append({"label": DATASET_NAMES[dataset], "data": data, "cells": cells})
    heads = [[part for part in row if part != "none"] for row in columns]
    return {"heads": heads, "rows": rows}


def grid_png(results: Sequence[Result]) -> bytes | None:
    """The same grid as one PNG, for a paper or a talk; None where :func:`grid_view` has none, or nothing is done."""
    columns = columns_of(results)
    if not columns or len(columns) > MOST_COLUMNS:
        return None
    panels: dict[tuple[str, str], np.ndarray] = {}
    datasets = [d for d in DENSITIES if any(d in found for found in columns.values())]
    for dataset in datasets:
        shown = [(row, chosen(found[dataset])) for row, found in columns.items() if dataset in found]
        for row, result in shown:
            intensity = _intensity(result)
            if not isinstance(intensity, str):
                panels[DATASET_NAMES[dataset], row_label(row)] = intensity
        points = _points([result for _, result in shown])
        if points is not None:
            panels[DATASET_NAMES[dataset], "data"] = data_map(points, HALF_WIDTH[dataset])
    heads = ["data", *(row_label(row) for row in columns)]
    return draw_grid(panels, [DATASET_NAMES[d] for d in datasets], heads) if panels else None


def _intensity(result: Result) -> np.ndarray | str:
    """A cell's density relative to its peak [G, G], or the reason why there is none."""
    if result.state != "done":
        return result.state
    energy = load_arrays(result.folder, ["energy"]).get("energy")
    if energy is None or energy.ndim != 2 or energy.dtype.kind != "f":
        return "no density stored"
    return relative_density(energy) if np.isfinite(energy).any() else "energy is not finite"


def _map_view(result: Result, label: str) -> dict[str, Any]:
    intensity = _intensity(result)
    if isinstance(intensity, str):
        return {"uri": None, "reason": intensity}
    alt = f"Density map of {label} on {DATASET_NAMES[result.cell.dataset]}, seed {result.cell.seed}"
    return {"uri": data_uri(map_png(intensity)), "alt": alt, "reason": ""}


def _points(candidates: Sequence[Result]) -> np.ndarray | None:
    """The real data [N, 2] that finished cells keep; several cells' points make a smoother picture."""
    points = []
    for result in candidates:
        if result.state == "done":
            data = load_arrays(result.folder, ["data"]).get("data")
            if data is not None and data.ndim == 2 and data.shape[1] == 2:
                points.append(data[np.isfinite(data).all(-1)])
    return np.concatenate(points) if points else None


def _data_view(candidates: Sequence[Result], dataset: str) -> dict[str, Any]:
    points = _points(candidates)
    if points is None:
        return {"uri": None, "reason": "no finished cell"}
    uri = data_uri(map_png(data_map(points, HALF_WIDTH[dataset])))
    return {"uri": uri, "alt": f"Histogram of the real data, {DATASET_NAMES[dataset]}", "reason": ""}

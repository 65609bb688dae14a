"""The grid of density maps: rows are data sets, columns the data and then each objective and prior."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from sintro import SintroError
from sintro.cells import DENSITIES
from sintro.report.figures.style import DENSITY_MAP, HALF_WIDTH, STYLE, data_uri, relative_density, to_png
from sintro.report.numbers.results import Result, read_arrays
from sintro.report.numbers.words import DATASET_NAMES, row_label

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


MAP_PIXELS = 144


PALETTE = bytes((np.array(colormaps[DENSITY_MAP](np.arange(256)))[:, :3] * 255).round().astype(np.uint8).tobytes())


def map_png(intensity: np.ndarray, pixels: int = MAP_PIXELS) -> bytes:
    """A map [G, G] of values in [0, 1], axes (x1, x2) both rising, as an indexed PNG of ``pixels`` x ``pixels``."""
    grey = (np.clip(intensity, 0, 1) * 255).round().astype(np.uint8).T[::-1]
    image = Image.fromarray(grey).resize((pixels, pixels), Image.Resampling.BOX).convert("P")
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_map(points: np.ndarray, half_width: float, bins: int = 128) -> np.ndarray:
    """Real points [N, 2] as a smoothed histogram [bins, bins] in [0, 1], oriented as the maps of models are."""
    edges = np.linspace(-half_width, half_width, bins + 1)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(edges, edges))
    smooth = gaussian_filter(counts, 1.0)
    # A few crowded bins would leave the rest black: white is the level that the fullest 2% of the occupied bins pass.
    occupied = smooth[smooth > 0]
    return np.clip(smooth / np.quantile(occupied, 0.98), 0, 1) if occupied.size else smooth


def draw_grid(panels: Mapping[tuple[str, str], np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> bytes:
    """The study's figure as one PNG: a map [G, G] per (row, column), blank with a dash where there is none."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.25 * len(columns) + 0.4, 1.25 * len(rows) + 0.35))
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                axes = grid[i, j]
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if (row, column) in panels:
                    axes.imshow(panels[row, column].T, origin="lower", cmap=DENSITY_MAP, vmin=0, vmax=1)
                else:
                    axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
                if i == 0:
                    axes.set_title(column.replace(" · ", "\n"), fontsize=8)
                if j == 0:
                    axes.set_ylabel(row, fontsize=8)
        return to_png(figure)


def load_arrays(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of a cell that are there; nothing when the file cannot be read: a picture less, never a page."""
    try:
        return read_arrays(Path(folder) / "arrays.npz", names)
    except SintroError:
        return {}

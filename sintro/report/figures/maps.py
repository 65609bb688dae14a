"""The grid of density maps: rows are data sets, columns the data and then each objective and prior.

On a page a density map is one indexed PNG per cell rather than one big picture, so that each can be a link to its cell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from sintro import SintroError
from sintro.cells import components
from sintro.report.figures.style import DENSITY_MAP, STYLE, data_uri, eight_bits, relative_density, small_png, to_png
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.tables import Key, in_order
from sintro.report.numbers.words import dataset_name, row_label
from sintro.runs.stored import read_arrays

MOST_COLUMNS = 16
MAP_PIXELS = 144
MAP_INCHES = 1.25  # of one map in the grid as one picture


def _palette() -> bytes:
    """List the colours of the density map, three bytes each."""
    colours = np.array(colormaps[DENSITY_MAP](np.arange(256)))[:, :3]
    return eight_bits(colours).tobytes()


PALETTE = _palette()


def shown_of(members: Sequence[Result]) -> Result:
    """Choose the seed that is shown: the first that is done, so that nobody picks the prettiest; else the first."""
    return next((result for result in members if result.state == "done"), members[0])


def shown_by_row(results: Sequence[Result]) -> dict[tuple[str, Key], Result]:
    """Choose the seed that is shown of every data set and row of the table."""
    seeds = grouped(results, lambda result: (result.cell.dataset, result.row))
    return {place: shown_of(members) for place, members in seeds.items()}


@dataclass(frozen=True, eq=False)
class MapGrid:
    """The maps of a study. A place is a data set and a row of the table; ``shown`` lacks what the study lacks."""

    datasets: tuple[str, ...]
    rows: tuple[Key, ...]
    shown: Mapping[tuple[str, Key], Result]
    maps: Mapping[tuple[str, Key], np.ndarray | str]  # density relative to its peak [G, G], or why there is none
    data: Mapping[str, np.ndarray]  # histogram of the real data, of the data sets of which a finished cell keeps it

    @property
    def has_maps(self) -> bool:
        """Whether there is the map of any cell, beside reasons why there is none."""
        return any(not isinstance(found, str) for found in self.maps.values())

    def view(self, link: Callable[[Result], str]) -> dict[str, Any]:
        """Lay out the grid for the study's page: each map an embedded picture that leads to its cell."""
        rows = []
        for dataset in self.datasets:
            cells = [self._cell_view(dataset, row, link) for row in self.rows]
            rows.append({"label": dataset_name(dataset), "data": self._data_view(dataset), "cells": cells})
        heads = [[part for part in row if part != "none"] for row in self.rows]
        return {"heads": heads, "rows": rows}

    def _cell_view(self, dataset: str, row: Key, link: Callable[[Result], str]) -> dict[str, Any]:
        """Lay out the map of one cell, or the reason why there is none."""
        result = self.shown.get((dataset, row))
        if result is None:
            return {"uri": None, "reason": "not in this study", "href": None}
        leads = {"href": link(result)}
        found = self.maps[dataset, row]
        if isinstance(found, str):
            return {"uri": None, "reason": found} | leads
        alt = f"Density map of {row_label(row)} on {dataset_name(dataset)}, seed {result.cell.seed}"
        return {"uri": data_uri(map_png(found)), "alt": alt, "reason": ""} | leads

    def _data_view(self, dataset: str) -> dict[str, Any]:
        """Lay out the map of the real data."""
        if dataset not in self.data:
            is_gone = components.dataset(dataset).is_gone
            return {"uri": None, "reason": "its extension is gone" if is_gone else "no finished cell"}
        alt = f"Histogram of the real data, {dataset_name(dataset)}"
        return {"uri": data_uri(map_png(self.data[dataset])), "alt": alt, "reason": ""}

    def png(self) -> bytes | None:
        """Draw the same grid as one PNG, for a paper or a talk; None where there is no map at all."""
        panels = {(dataset_name(dataset), "data"): found for dataset, found in self.data.items()}
        for (dataset, row), found in self.maps.items():
            if not isinstance(found, str):
                panels[dataset_name(dataset), row_label(row)] = found
        heads = ["data", *map(row_label, self.rows)]
        names = [dataset_name(dataset) for dataset in self.datasets]
        return draw_grid(panels, names, heads) if panels else None


def read_grid(results: Sequence[Result]) -> MapGrid | None:
    """Read the maps of a study's 2D cells; None without such cells.

    A study of very many rows (a search) has no such picture either: it would be thousands of maps.
    """
    shown = shown_by_row([result for result in results if result.kind == "2d"])
    datasets = in_order(dataset for dataset, _ in shown)
    rows = tuple(dict.fromkeys(row for _, row in shown))
    if not rows or len(rows) > MOST_COLUMNS:
        return None
    maps = {place: _map(result) for place, result in shown.items()}
    data = {}
    for dataset, members in grouped(shown.values(), lambda result: result.cell.dataset).items():
        points = _points(members)
        if points is not None and not components.dataset(dataset).is_gone:  # its half-width is not known any more
            data[dataset] = data_map(points, components.dataset(dataset).half_width)
    return MapGrid(datasets, rows, shown, maps, data)


def _map(result: Result) -> np.ndarray | str:
    """Read a cell's density relative to its peak [G, G], or the reason why there is none."""
    if result.state != "done":
        return result.state
    energy = load_arrays(result.folder, ["energy"]).get("energy")
    if energy is None or energy.ndim != 2 or energy.dtype.kind != "f":
        return "no density stored"
    return relative_density(energy) if np.isfinite(energy).any() else "energy is not finite"


def _points(candidates: Sequence[Result]) -> np.ndarray | None:
    """Read the real data [N, 2] that finished cells keep; several cells' points make a smoother picture."""
    points = []
    for result in candidates:
        if result.state != "done":
            continue
        data = load_arrays(result.folder, ["data"]).get("data")
        if data is not None and data.ndim == 2 and data.shape[1] == 2:
            is_finite = np.isfinite(data).all(-1)
            points.append(data[is_finite])
    return np.concatenate(points) if points else None


def load_arrays(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of a cell that are there.

    Nothing comes back from a file that cannot be read: that costs a picture, never a page.
    """
    try:
        return read_arrays(Path(folder) / "arrays.npz", names)
    except SintroError:
        return {}


# --- drawing


def map_png(intensity: np.ndarray, pixels: int = MAP_PIXELS) -> bytes:
    """Draw a map [G, G] of values in [0, 1], axes (x1, x2) both rising, as an indexed PNG of pixels x pixels."""
    grey = eight_bits(np.clip(intensity, 0, 1))
    upright = grey.T[::-1]  # rows from top to bottom: x2 falling
    image = Image.fromarray(upright).resize((pixels, pixels), Image.Resampling.BOX).convert("P")
    image.putpalette(PALETTE)
    return small_png(image)


def data_map(points: np.ndarray, half_width: float, bins: int = 128) -> np.ndarray:
    """Turn real points [N, 2] into a smoothed histogram [bins, bins] in [0, 1], oriented as the maps of models are."""
    edges = np.linspace(-half_width, half_width, bins + 1)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(edges, edges))
    smooth = gaussian_filter(counts, 1.0)
    occupied = smooth[smooth > 0]
    if not occupied.size:
        return smooth
    # A few crowded bins would leave the rest black: white is the level that the fullest 2% of the occupied bins pass.
    return np.clip(smooth / np.quantile(occupied, 0.98), 0, 1)


def draw_grid(panels: Mapping[tuple[str, str], np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> bytes:
    """Draw the study's figure as one PNG: a map [G, G] per (row, column), a dash where there is none."""
    with rc_context(STYLE):
        width, height = MAP_INCHES * len(columns) + 0.4, MAP_INCHES * len(rows) + 0.35
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                _draw_map(grid[i, j], panels.get((row, column)))
        for axes, column in zip(grid[0], columns, strict=True):
            axes.set_title(column.replace(" · ", "\n"), fontsize=8)
        for axes, row in zip(grid[:, 0], rows, strict=True):
            axes.set_ylabel(row, fontsize=8)
        return to_png(figure)


def _draw_map(axes, intensity: np.ndarray | None) -> None:
    """Draw one map without ticks or frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if intensity is None:
        axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
    else:
        axes.imshow(intensity.T, origin="lower", cmap=DENSITY_MAP, vmin=0, vmax=1)

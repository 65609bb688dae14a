"""The pictures of an archived cell, drawn from the little that an archive keeps, in a moment: without matplotlib.

The density map is the one of the study's page, points in the plane are counted on such a map, and images lie side by
side. Every other picture is not packed.
"""

import numpy as np

from sintro.cells import components
from sintro.report.figures.captions import TRANSLATIONS
from sintro.report.figures.maps import data_map, load_arrays, map_png
from sintro.report.figures.samples import are_images, strip_png
from sintro.report.figures.style import relative_density
from sintro.report.figures.translation import GRID, grid_png, is_grid
from sintro.report.numbers.results import Result

MAP_PIXELS = 320
CAPTIONS = {  # by kind of data, of what is drawn otherwise than in a cell's own folder
    "2d": {
        "data.png": "Real data, counted on a grid: bright is where most of the points lie",
        "samples.png": "Samples of the model, from the prior through the decoder, counted on the same grid",
    },
    "images": {"translations.png": TRANSLATIONS},
}
BINS = 64  # on each side of a map of points


def pictures(result: Result) -> dict[str, bytes]:
    """Draw what the archive has the numbers for: PNGs by the name of the file that a cell's own folder has."""
    arrays = load_arrays(result.folder, ["energy", "data", "samples", GRID])
    drawn = {}
    for name in ("data", "samples"):
        png = _of_set(result, arrays[name]) if name in arrays else b""
        if png:
            drawn[f"{name}.png"] = png
    if is_grid(arrays.get(GRID)):
        drawn["translations.png"] = grid_png(arrays[GRID])
    energy = arrays.get("energy")
    if energy is not None and energy.ndim == 2 and np.isfinite(energy).any():
        drawn["density.png"] = map_png(relative_density(energy), MAP_PIXELS)
    return drawn


def _of_set(result: Result, values: np.ndarray) -> bytes:
    """Draw points [N, 2] as a map, images [N, C, H, W] as a strip; nothing for what is neither."""
    if result.kind == "2d" and values.ndim == 2 and values.shape[1] == 2:
        points = np.asarray(values, np.float64)
        is_finite = np.isfinite(points).all(-1)
        return map_png(
            data_map(points[is_finite], components.dataset(result.cell.dataset).half_width, BINS), MAP_PIXELS
        )
    return strip_png(values) if are_images(values) else b""

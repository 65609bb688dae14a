"""The pictures of an archived cell, drawn from the little that an archive keeps; nothing here needs matplotlib's time.

The density map and the strips of images are those of the study's page. Every other picture is not packed.
"""

import numpy as np

from sintro.report.figures.maps import load_arrays, map_png
from sintro.report.figures.samples import strip_png
from sintro.report.figures.style import relative_density
from sintro.report.numbers.results import Result

MAP_PIXELS = 320  # five of the page's for each point of the map


def pictures(result: Result) -> dict[str, bytes]:
    """Draw what the archive has the numbers for: PNGs by the name of the file that a cell's own folder has."""
    arrays = load_arrays(result.folder, ["energy", "data", "samples"])
    drawn = {f"{name}.png": strip_png(arrays[name]) for name in ("data", "samples") if _are_images(arrays.get(name))}
    energy = arrays.get("energy")
    if energy is not None and energy.ndim == 2 and np.isfinite(energy).any():
        drawn["density.png"] = map_png(relative_density(energy), MAP_PIXELS)
    return drawn


def _are_images(values: np.ndarray | None) -> bool:
    """Tell whether an array holds images [N, C, H, W] of one or three channels."""
    return values is not None and values.ndim == 4 and values.size > 0 and values.shape[1] in (1, 3)

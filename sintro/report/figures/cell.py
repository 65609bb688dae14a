"""The pictures of one cell, drawn with matplotlib from what its folder keeps; nothing here imports torch.

They come from ``arrays.npz``, ``history.csv``, ``metrics.json`` and ``cell.json``. Colours are ordered by lightness and
every line has its own dash: the pictures can be read in grey and by colour-blind people.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.cells import components
from sintro.report.figures import image_cell
from sintro.report.figures.captions import figure_paths
from sintro.report.figures.detection import ood_figure
from sintro.report.figures.history import draw_history
from sintro.report.figures.latent import draw_codes, draw_latent
from sintro.report.figures.plane import MOST_POINTS, draw_density, draw_points
from sintro.report.figures.style import LINES, STYLE, label_colours, to_png
from sintro.report.numbers.results import read_history
from sintro.runs import stored
from sintro.runs.stored import read_arrays

CELL_FIGURES = ("data.png", "samples.png", "density.png", "latent.png", "history.png")
SETS = {
    "data": "data",
    "samples": "samples",
    "reconstructions": "reconstructions",
    "mode_images": "the prior's modes, by falling weight",
}

Arrays = Mapping[str, np.ndarray]
Pictures = dict[str, Callable[[], Figure]]  # name of the file -> a function that draws it


def draw_cell(folder: Path) -> list[Path]:
    """Draw every picture a cell's folder has the numbers for, each written whole or not at all -> the paths written.

    A picture whose numbers are gone, as a diverged cell's are, is removed.

    Raises SintroError when ``cell.json``, ``metrics.json``, ``history.csv`` or ``arrays.npz`` cannot be read.
    """
    folder = Path(folder)
    record = stored.read(folder, stored.CellFile)
    dataset = record.cell.get("dataset") if record else None
    try:
        components.dataset(str(dataset))
    except SintroError:
        raise SintroError(f"{folder / 'cell.json'} does not name the cell's data set") from None
    arrays = read_arrays(folder / "arrays.npz") if (folder / "arrays.npz").exists() else {}
    metrics = stored.read(folder, stored.Metrics)
    pictures = _of_sets(arrays, dataset) | _of_latent(arrays)
    pictures |= image_cell.drawn(arrays, record.content(), metrics.content() if metrics else {})
    if any(name.startswith("ood_inside_") for name in arrays):
        pictures["ood.png"] = lambda: ood_figure(arrays)
    if (folder / "history.csv").exists():
        pictures["history.png"] = lambda: draw_history(read_history(folder / "history.csv"))
    written = []
    with rc_context(STYLE):
        for name, draw in pictures.items():
            write_atomic(folder / name, to_png(draw()))
            written.append(folder / name)
    for path in figure_paths(folder):
        if path not in written:
            path.unlink(missing_ok=True)  # of an earlier run that got further
    return written


def _of_sets(arrays: Arrays, dataset: str) -> Pictures:
    """Find the pictures of data, samples and the density."""
    pictures: Pictures = {}
    for name, title in SETS.items():
        if name in arrays:
            pictures[f"{name}.png"] = _of_set(arrays, name, title, dataset)
    if "energy" in arrays:
        pictures["density.png"] = lambda: draw_density(arrays["energy"], components.dataset(dataset).half_width)
    return pictures


def _of_set(arrays: Arrays, name: str, title: str, dataset: str) -> Callable[[], Figure]:
    """Find how one set is drawn: as a sheet of images, or as points in the plane."""
    values = arrays[name]
    if values.ndim == 4:
        return lambda: image_cell.draw_images(values, title)
    colours = LINES[0][0]
    if name == "data" and "labels" in arrays:
        colours = label_colours(arrays["labels"])[:MOST_POINTS]
    return lambda: draw_points(values, colours, components.dataset(dataset).half_width, name)


def _of_latent(arrays: Arrays) -> Pictures:
    """Find the picture of the latent space: with the prior's modes in the plane, by label for images."""
    if "latent" in arrays and "prior_means" in arrays:
        latent = np.asarray(arrays["latent"], np.float64)
        labels = arrays.get("labels", np.zeros(0))
        if len(labels) != len(latent):
            labels = np.zeros(len(latent))
        prior = [np.asarray(arrays[f"prior_{part}"], np.float64) for part in ("means", "log_vars", "weights")]
        return {"latent.png": lambda: draw_latent(latent, labels, *prior)}
    if "codes" in arrays:
        codes = np.asarray(arrays["codes"], np.float64)
        return {"latent.png": lambda: draw_codes(codes, arrays["code_labels"])}
    return {}

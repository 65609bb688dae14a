"""Grids of translated images: the first row gives the content, the first column the class; nothing imports torch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from sintro.report.figures.maps import load_arrays, shown_by_row
from sintro.report.figures.style import data_uri, eight_bits, in_range, show_image, small_png
from sintro.report.numbers.results import Result
from sintro.report.numbers.words import dataset_name, row_label

GRID, TRUTH = "translation_grid", "translation_truth"  # the names of the arrays
GAP = 1  # white pixels between images
BORDER = 3  # white pixels between the given images and the translations


def sheet(grid: np.ndarray) -> np.ndarray:
    """Lay out images [R, K, C, H, W] in [0, 1] on white, the first row and column set apart -> [C, H', W']."""
    images = in_range(np.asarray(grid, np.float32))
    channels = images.shape[2]
    lines = [_joined(list(row), 2, channels) for row in images]
    return _joined(lines, 1, channels)


def _joined(images: Sequence[np.ndarray], axis: int, channels: int) -> np.ndarray:
    """Join images [C, H, W] along an axis, with a wider gap after the first one."""
    parts = []
    for place, image in enumerate(images):
        parts.append(image)
        if place < len(images) - 1:
            shape = list(image.shape)
            shape[axis] = BORDER if place == 0 else GAP
            parts.append(np.ones(shape, np.float32))
    return np.concatenate(parts, axis)


def is_grid(grid: np.ndarray | None) -> bool:
    """Tell whether an array is a grid of grey or coloured images."""
    return grid is not None and grid.ndim == 5 and grid.size > 0 and grid.shape[2] in (1, 3)


def draw_translations(grid: np.ndarray, truth: np.ndarray | None) -> Figure:
    """Draw a grid of translations, and beside it the true images, where they are known."""
    sheets = [("translations: class of the column, content of the row above", grid)]
    if is_grid(truth):
        sheets.append(("the true images", truth))
    figure = Figure(figsize=(4.0 * len(sheets), 4.3))
    for axes, (title, images) in zip(figure.subplots(1, len(sheets), squeeze=False)[0], sheets, strict=True):
        show_image(axes, sheet(images))
        axes.set_title(title)
    return figure


def grid_png(grid: np.ndarray) -> bytes:
    """Draw a grid as a PNG, pixel by pixel."""
    pixels = eight_bits(sheet(grid))
    return small_png(Image.fromarray(pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]))


def grids_view(results: Sequence[Result], link: Callable[[Result], str]) -> list[dict[str, Any]]:
    """Lay out the grid of each row's first finished seed; nothing where no cell keeps one."""
    views = []
    for result in shown_by_row([result for result in results if result.kind == "images"]).values():
        grid = load_arrays(result.folder, [GRID]).get(GRID) if result.state == "done" else None
        if not is_grid(grid):
            continue
        label, dataset = row_label(result.row), dataset_name(result.cell.dataset)
        alt = (
            f"Translations of {label} on {dataset}, seed {result.cell.seed}: class from the first column, content from "
        )
        views.append(
            {
                "label": label,
                "dataset": dataset,
                "href": link(result),
                "uri": data_uri(grid_png(grid)),
                "alt": f"{alt}the first row",
            }
        )
    return views

"""The pictures that only image cells have: pairs, modes with their weights, and what changed from snapshot to snapshot.

Drawn from plain arrays, as the other pictures are; nothing here imports torch.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sintro.report.figures import image_checks
from sintro.report.figures.style import DENSITY_MAP, LINES, in_range, show_image, square
from sintro.report.figures.translation import GRID, TRUTH, draw_translations, is_grid
from sintro.runs.stored import MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS

IN_A_ROW = 8
GAP = 2  # white pixels between the images of a sheet
MOST_IMAGES = 64  # of a sheet
SHEET = 4.0  # inches, as the other square pictures
SHOWN_MODES = 8  # of which samples are drawn; their means are shown of more
DISTANCES = {"fid_over_iterations": "FID (published)", "cfid_over_iterations": "cFID (published)"}


def drawn(
    arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Callable[[], Figure]]:
    """Find the pictures for which the arrays, the cell.json (``record``) and the metrics.json have the numbers."""
    found: dict[str, Callable[[], Figure]] = {}
    stored = arrays.keys()
    if {"data", "reconstructions"} <= stored and arrays["data"].shape == arrays["reconstructions"].shape:
        found["reconstructions.png"] = lambda: draw_reconstructions(arrays["data"], arrays["reconstructions"])
    found |= image_checks.drawn(arrays)
    if {"mode_images", "mode_weights"} <= stored:
        found["mode_images.png"] = lambda: draw_modes(arrays["mode_images"], arrays["mode_weights"])
    if {"mode_samples", "mode_weights"} <= stored:
        found["mode_samples.png"] = lambda: draw_mode_samples(arrays["mode_samples"], arrays["mode_weights"])
    if is_grid(arrays.get(GRID)):
        found["translations.png"] = lambda: draw_translations(arrays[GRID], arrays.get(TRUTH))
    per_epoch = _per_epoch(record.get("settings", {}))
    if {RESPONSIBILITY_ITERATIONS, MEAN_RESPONSIBILITIES} <= stored:
        epochs = arrays[RESPONSIBILITY_ITERATIONS] / per_epoch
        found["responsibilities.png"] = lambda: draw_responsibilities(epochs, arrays[MEAN_RESPONSIBILITIES])
    name = next((name for name in reversed(DISTANCES) if metrics.get(name)), None)
    if name is not None:
        values = {int(after) / per_epoch: float(value) for after, value in metrics[name].items()}
        after = metrics.get("selected_iteration")
        selected = None if after is None else int(after) / per_epoch
        found["distances.png"] = lambda: draw_distances(values, DISTANCES[name], selected)
    return found


def _per_epoch(settings: Mapping[str, Any]) -> float:
    """Find the iterations in an epoch, as a cell's settings say; 1 where they do not."""
    epochs = settings.get("epochs")
    return settings["iterations"] / epochs if epochs else 1.0


def _shape(count: int, most: int = IN_A_ROW) -> tuple[int, int]:
    """Find the rows and columns of a sheet for this many images."""
    columns = min(most, count)
    return math.ceil(count / columns), columns


def _sheet(images: np.ndarray) -> np.ndarray:
    """Lay out images [N, C, H, W] on white, eight in a row -> [C, H', W']."""
    count, channels, height, width = images.shape
    rows, columns = _shape(count)
    tall, wide = height + GAP, width + GAP
    sheet = np.ones((channels, rows * tall, columns * wide), dtype=np.float32)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * tall, column * wide
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def draw_images(images: np.ndarray, title: str) -> Figure:
    """Draw a sheet of images [N, C, H, W] in [0, 1], eight in a row."""
    figure, axes = square(SHEET)
    show_image(axes, _sheet(in_range(images[:MOST_IMAGES])))
    axes.set_title(title)
    return figure


def draw_reconstructions(data: np.ndarray, reconstructions: np.ndarray) -> Figure:
    """Draw images [N, C, H, W], under each its reconstruction and their squared error, summed over the coordinates."""
    data, reconstructions = data[: image_checks.PAIRS], reconstructions[: image_checks.PAIRS]
    errors = np.square(np.asarray(data, np.float64) - reconstructions).sum((1, 2, 3))
    title = "test images, reconstructions, squared errors"
    return image_checks.draw_pairs(data, reconstructions, errors, title)


def draw_modes(images: np.ndarray, weights: np.ndarray) -> Figure:
    """Draw decoded means [K, C, H, W] of the prior's modes, by falling weight, over each its weight [K]."""
    images, weights = in_range(images), np.asarray(weights, np.float64)
    count = min(image_checks.MODES, len(images))
    rows, columns = _shape(count, 5 if count <= 25 else IN_A_ROW)
    figure = Figure(figsize=(SHEET, 0.35 + SHEET * rows / columns * 1.2))
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for index, axes in enumerate(cells):
        if index >= count:
            axes.set_axis_off()
            continue
        show_image(axes, images[index])
        axes.set_title(f"{weights[index]:.3f}", fontsize=8, pad=2)
    rest = f" (the first {count} of {len(images)})" if count < len(images) else ""
    figure.suptitle(f"the prior's modes with their weights{rest}", fontsize=10)
    return figure


def draw_mode_samples(samples: np.ndarray, weights: np.ndarray) -> Figure:
    """Draw samples [K, S, C, H, W] of the prior's heaviest modes: a row per mode, named by its weight."""
    samples = in_range(samples[:SHOWN_MODES])
    modes, each = samples.shape[:2]
    figure = Figure(figsize=(SHEET, 0.35 + SHEET * modes / each))
    for index, row in enumerate(figure.subplots(modes, each, squeeze=False)):
        for axes, image in zip(row, samples[index], strict=True):
            show_image(axes, image)
        row[0].set_ylabel(f"{weights[index]:.3f}", rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle("samples of each mode, by falling weight", fontsize=10)
    return figure


def draw_responsibilities(epochs: np.ndarray, mean_responsibilities: np.ndarray) -> Figure:
    """Draw the mean responsibility a_k [T, K] of each mode over the test images at each snapshot: epochs [T]."""
    finite = np.nan_to_num(np.asarray(mean_responsibilities, np.float64))
    modes = finite.shape[1]
    order = np.argsort(-finite[-1], kind="stable")
    figure = Figure(figsize=(SHEET, SHEET))
    axes = figure.add_subplot()
    picture = axes.imshow(finite[:, order].T, aspect="auto", cmap=DENSITY_MAP, vmin=0, interpolation="nearest")
    figure.colorbar(picture, ax=axes, shrink=0.75, aspect=30, label="mean responsibility")
    dead = (finite < 1 / modes**2).sum(1)
    names = [f"{epoch:.3g}\n{count}" for epoch, count in zip(epochs, dead, strict=True)]
    axes.set_xticks(range(len(epochs)), names, fontsize=8)
    axes.set(xlabel="epoch, and under it the inactive modes", ylabel="mode, by its share in the end")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("responsibilities over time")
    return figure


def draw_distances(values: Mapping[float, float], name: str, selected: float | None) -> Figure:
    """Draw the distance that selects the published checkpoint, {epoch: value}; the selected one is marked."""
    epochs = sorted(values)
    figure = Figure(figsize=(SHEET, 3.0))
    axes = figure.add_subplot()
    axes.plot(epochs, [values[epoch] for epoch in epochs], color=LINES[0][0], marker="o", markersize=4)
    if selected in values:
        label = f"selected: {values[selected]:.4g}"
        axes.plot([selected], [values[selected]], "o", color=LINES[1][0], markersize=9, fillstyle="none", label=label)
    axes.plot([epochs[-1]], [values[epochs[-1]]], "s", color=LINES[3][0], markersize=5, label="the end of training")
    axes.set(xlabel="epoch", ylabel=name, title=f"{name} over the epochs")
    axes.legend()
    return figure

"""The pictures that only image cells have: pairs, modes with their weights, and what changed from snapshot to snapshot.

Drawn from plain arrays as those of :mod:`sintro.report.figures`; nothing here imports torch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sintro.report.figures.style import DENSITY_MAP, LINES
from sintro.results import MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS

IN_A_ROW = 8
SHEET = 4.0  # inches, as the other square pictures
PAIRS = 32
SHOWN_MODES = 8  # of which samples are drawn; their means are shown of more
DISTANCES = {"fid_over_iterations": "FID (published)", "cfid_over_iterations": "cFID (published)"}

# Names of the pictures an image cell can have beside those of figures.SETS.
NAMES = ("mode_samples.png", "responsibilities.png", "distances.png")


def drawn(
    arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Callable[[], Figure]]:
    """The pictures that these arrays, this cell.json and this metrics.json have the numbers for."""
    found: dict[str, Callable[[], Figure]] = {}
    if {"data", "reconstructions"} <= arrays.keys() and arrays["data"].shape == arrays["reconstructions"].shape:
        found["reconstructions.png"] = lambda: draw_pairs(arrays["data"], arrays["reconstructions"])
    if {"mode_images", "mode_weights"} <= arrays.keys():
        found["mode_images.png"] = lambda: draw_modes(arrays["mode_images"], arrays["mode_weights"])
    if {"mode_samples", "mode_weights"} <= arrays.keys():
        found["mode_samples.png"] = lambda: draw_mode_samples(arrays["mode_samples"], arrays["mode_weights"])
    per_epoch = _per_epoch(record.get("settings", {}))
    if {RESPONSIBILITY_ITERATIONS, MEAN_RESPONSIBILITIES} <= arrays.keys():
        epochs = arrays[RESPONSIBILITY_ITERATIONS] / per_epoch
        found["responsibilities.png"] = lambda: draw_responsibilities(epochs, arrays[MEAN_RESPONSIBILITIES])
    for name, label in DISTANCES.items():
        if metrics.get(name):
            values = {int(after) / per_epoch: float(value) for after, value in metrics[name].items()}
            selected = metrics.get("selected_iteration")
            found["distances.png"] = lambda v=values, n=label, s=selected: draw_distances(
                v, n, None if s is None else int(s) / per_epoch
            )
    return found


def _per_epoch(settings: Mapping[str, Any]) -> float:
    """Iterations in an epoch, as a cell's settings say; 1 where they do not."""
    epochs = settings.get("epochs")
    return settings["iterations"] / epochs if epochs else 1.0


def _clean(images: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num(np.asarray(images, dtype=np.float32)), 0, 1)


def _rows(count: int, most: int = IN_A_ROW) -> tuple[int, int]:
    """(rows, columns) of a sheet for `count` images."""
    columns = min(most, count)
    return -(-count // columns), columns


def _show(axes, image: np.ndarray) -> None:
    """One image [C, H, W] in [0, 1]."""
    axes.imshow(
        image.transpose(1, 2, 0) if len(image) == 3 else image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_pairs(data: np.ndarray, reconstructions: np.ndarray) -> Figure:
    """Images [N, C, H, W] and under each its reconstruction, eight pairs in a row."""
    data, reconstructions = _clean(data[:PAIRS]), _clean(reconstructions[:PAIRS])
    count, channels, height, width = data.shape
    rows, columns = _rows(count)
    gap, cell = 3, (2 * height + 1, width + 2)
    sheet = np.ones((rows * (cell[0] + gap), columns * cell[1], channels), dtype=np.float32)
    for index in range(count):
        top, left = index // columns * (cell[0] + gap), index % columns * cell[1]
        sheet[top : top + height, left : left + width] = data[index].transpose(1, 2, 0)
        sheet[top + height + 1 : top + cell[0], left : left + width] = reconstructions[index].transpose(1, 2, 0)
    figure = Figure(figsize=(SHEET, SHEET))
    axes = figure.add_subplot()
    axes.imshow(sheet if channels == 3 else sheet[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title("test images, under each its reconstruction")
    axes.set_axis_off()
    return figure


def draw_modes(images: np.ndarray, weights: np.ndarray, most: int = 40) -> Figure:
    """Decoded means [K, C, H, W] of the prior's modes, by falling weight, over each its weight [K]."""
    images, weights = _clean(images), np.asarray(weights, np.float64)
    count = min(most, len(images))
    rows, columns = _rows(count, 5 if count <= 25 else IN_A_ROW)
    figure = Figure(figsize=(SHEET, 0.35 + SHEET * rows / columns * 1.2))
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for index, axes in enumerate(cells):
        if index >= count:
            axes.set_axis_off()
            continue
        _show(axes, images[index])
        axes.set_title(f"{weights[index]:.3f}", fontsize=8, pad=2)
    rest = f" (the first {count} of {len(images)})" if count < len(images) else ""
    figure.suptitle(f"the prior's modes with their weights{rest}", fontsize=10)
    return figure


def draw_mode_samples(samples: np.ndarray, weights: np.ndarray) -> Figure:
    """Samples [K, S, C, H, W] of the prior's heaviest modes: a row per mode, named by its weight."""
    samples = _clean(samples[:SHOWN_MODES])
    modes, each = samples.shape[:2]
    figure = Figure(figsize=(SHEET, 0.35 + SHEET * modes / each))
    for index, row in enumerate(figure.subplots(modes, each, squeeze=False)):
        for axes, image in zip(row, samples[index], strict=True):
            _show(axes, image)
        row[0].set_ylabel(f"{weights[index]:.3f}", rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle("samples of each mode, by falling weight", fontsize=10)
    return figure


def draw_responsibilities(epochs: np.ndarray, mean_responsibilities: np.ndarray) -> Figure:
    """Mean responsibility a_k [T, K] of each mode over the test images at each snapshot: epochs [T]."""
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
    """The distance by which the published checkpoint is selected, {epoch: value}; the selected one is marked."""
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

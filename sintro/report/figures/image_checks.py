"""The pictures of what is asked of images beside distances: copies, classes, modes, ways between images.

Drawn from plain arrays, as the other pictures are; nothing here imports torch.
"""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from sintro.report.figures.style import DENSITY_MAP, LINES, in_range, show_image

PAIRS, IN_A_ROW = 16, 8
WIDTH = 4.0  # inches
WIDE = 8.2
MODES = 40  # shown at most
WAYS = ("great circle", "straight")

Arrays = Mapping[str, np.ndarray]


def drawn(arrays: Arrays) -> dict[str, Callable[[], Figure]]:
    """Find the pictures for which the arrays have the numbers."""
    found: dict[str, Callable[[], Figure]] = {}
    stored = arrays.keys()
    if {"nearest_samples", "nearest_training", "nearest_ratios"} <= stored:
        found["nearest.png"] = lambda: draw_nearest(arrays)
    if "class_shares" in stored:
        found["class_shares.png"] = lambda: draw_class_shares(arrays["class_shares"])
    if "mode_classes" in stored:
        found["mode_classes.png"] = lambda: draw_mode_classes(arrays["mode_classes"])
    if {"interpolations", "interpolation_elbos"} <= stored:
        found["interpolations.png"] = lambda: draw_interpolations(
            arrays["interpolations"], arrays["interpolation_elbos"]
        )
    return found


def draw_nearest(arrays: Arrays) -> Figure:
    """Draw the samples most like a copy, under each its nearest training image and the ratio of the distances."""
    pictures = [arrays[name] / np.float32(255) for name in ("nearest_samples", "nearest_training")]
    title = "samples, under each the nearest training image"
    return draw_pairs(*pictures, arrays["nearest_ratios"], title)


def draw_pairs(upper: np.ndarray, lower: np.ndarray, numbers: np.ndarray, title: str) -> Figure:
    """Draw pairs of images [N, C, H, W] in [0, 1], one above the other, with a number [N] under each pair."""
    upper, lower = in_range(upper), in_range(lower)
    count, channels, height, width = upper.shape
    columns = min(IN_A_ROW, count)
    rows = -(-count // columns)
    size = (WIDTH, 0.35 + rows * (WIDTH / columns * 2 * height / width + 0.2))
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    gap = np.ones((channels, 1, width), np.float32)
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if index >= count:
            axes.set_axis_off()
            continue
        show_image(axes, np.concatenate([upper[index], gap, lower[index]], 1))
        axes.set_xlabel(f"{numbers[index]:.3g}", fontsize=8, labelpad=1)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_class_shares(shares: np.ndarray) -> Figure:
    """Draw the shares [2, C] of the classes among samples and among training images as bars."""
    figure = Figure(figsize=(WIDTH, 3.0))
    axes = figure.add_subplot()
    places = np.arange(shares.shape[1])
    for row, (name, (colour, _)) in enumerate(zip(("samples", "training images"), LINES[1:3], strict=True)):
        axes.bar(places + 0.4 * (row - 0.5), 100 * shares[row], 0.4, color=colour, label=name)
    axes.set(xlabel="class", ylabel="share, %", title="classes of samples and data", xticks=places)
    axes.legend()
    return figure


def draw_mode_classes(counts: np.ndarray) -> Figure:
    """Draw which share of each mode's samples, counts [K, C], is of each class: a row per mode."""
    shown = counts[:MODES]
    shares = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(WIDTH, WIDTH))
    axes = figure.add_subplot()
    picture = axes.imshow(100 * shares, aspect="auto", cmap=DENSITY_MAP, vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(picture, ax=axes, shrink=0.75, aspect=30, label="share of the mode's samples, %")
    rest = f" (the first {len(shown)} of {len(counts)})" if len(shown) < len(counts) else ""
    axes.set(xlabel="class", ylabel=f"mode, by falling weight{rest}", xticks=range(counts.shape[1]))
    axes.set_title("the classes that each mode makes")
    return figure


def draw_interpolations(images: np.ndarray, elbos: np.ndarray) -> Figure:
    """Draw ways between pairs of images, uint8 [2, P, T, C, H, W], and below them the ELBO [2, P, T] along each."""
    _, pairs, steps, _, height, width = images.shape
    rows = -(-pairs // 2)
    strip = WIDE / 2 / steps * height / width  # inches
    figure = Figure(figsize=(WIDE, 0.4 + rows * (2 * strip + 1.5)))
    blocks = figure.add_gridspec(rows, 2)
    for pair in range(pairs):
        inner = GridSpecFromSubplotSpec(3, 1, blocks[pair // 2, pair % 2], height_ratios=(strip, strip, 1.4))
        axes = figure.add_subplot(inner[2])
        for way, (name, (colour, dash)) in enumerate(zip(WAYS, (LINES[0], LINES[1]), strict=True)):
            row = np.concatenate(list(images[way, pair] / np.float32(255)), 2)  # [C, H, T W]
            show_image(figure.add_subplot(inner[way]), row)
            axes.plot(range(1, steps + 1), elbos[way, pair], color=colour, linestyle=dash, marker=".", label=name)
        axes.set(xlim=(0.5, steps + 0.5), xticks=range(1, steps + 1))
        if pair % 2 == 0:
            axes.set_ylabel("ELBO, nats")
        if pair == 0:
            axes.legend()
    figure.suptitle("between test images: along the great circle, straight, and the ELBO of each image", fontsize=10)
    return figure
